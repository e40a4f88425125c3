//! Death at every fault point of the store, each by its name.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;
use weir_store::fault::POINTS;
use weir_testkit::Node;

use super::traffic::{Traffic, node};

/// Lets the node die at `point` when that is reached the `count`th time. Returns one that lives.
fn die_at(node: Node, point: &str, count: u32) -> Node {
    let told = format!("{point}:{count}");
    let (status, node) = match node.try_restart_with(|builder| builder.env("WEIR_FAULT", told)) {
        Ok(mut doomed) => {
            (Some(doomed.wait()), doomed.restart_with(|builder| builder.without_env("WEIR_FAULT")))
        }
        // Some points are passed before the node is ready.
        Err(error) => (error.status, error.builder.without_env("WEIR_FAULT").start()),
    };
    let signal = status.and_then(|status| status.signal());
    assert_eq!(signal, Some(Signal::ABORT.as_raw()), "{point}: {status:?}");
    node
}

/// All points, with traffic going on from one death to the next.
fn die_everywhere(count: u32) {
    let mut node = node().start();
    let traffic = Traffic::start(&node);
    for point in POINTS {
        traffic.wait_for(10);
        node = die_at(node, point, count);
        traffic.check_retained();
    }
    traffic.wait_for(10);
    assert_eq!(traffic.finish(), []);
    node.balanced();
}

#[test]
fn nothing_acknowledged_is_lost_by_death_at_the_first_pass_of_any_fault_point() {
    die_everywhere(1);
}

#[test]
fn nothing_acknowledged_is_lost_by_death_at_a_later_pass_of_any_fault_point() {
    die_everywhere(4);
}
