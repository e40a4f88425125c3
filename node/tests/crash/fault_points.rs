//! Death at every fault point of the store, each by its name.

use weir_store::fault::POINTS;

use super::traffic::{Traffic, node};

/// All points, with traffic going on from one death to the next.
fn die_everywhere(count: u32) {
    let mut node = node().start();
    let traffic = Traffic::start(&node);
    for point in POINTS {
        traffic.wait_for(10);
        node = node.die_at(point, count);
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
