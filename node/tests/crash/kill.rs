//! kill -9 in a loop, at moments nobody chose.

use super::traffic::{Traffic, node};

const ROUNDS: usize = 8;

#[test]
fn nothing_acknowledged_is_lost_nor_qos2_doubled_nor_order_broken_by_kill_9_in_a_loop() {
    let mut node = node().start();
    let traffic = Traffic::start(&node);
    for round in 0..ROUNDS {
        // A different amount each time, so that it dies in different places.
        traffic.wait_for(60 + 37 * round);
        node.kill9();
        node = node.restart();
        traffic.check_retained();
    }
    traffic.wait_for(50);
    assert_eq!(traffic.finish(), []);
    node.balanced();
}

#[test]
fn everything_arrives_once_and_in_order_while_nothing_dies() {
    let node = node().start();
    let traffic = Traffic::start(&node);
    traffic.wait_for(500);
    traffic.check_retained();
    assert_eq!(traffic.finish(), []);
    node.balanced();
}
