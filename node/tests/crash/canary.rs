//! The canary: a broker that lies must be caught by the same traffic and the same checker.

use weir_testkit::Fault;

use super::traffic::{Traffic, node};

/// What is found of a node that tells this lie once.
fn faults_of(lie: &'static str) -> Vec<Fault> {
    assert!(weir_store::canary::LIES.contains(&lie));
    let mut node = node().env("WEIR_CANARY", lie).start();
    let traffic = Traffic::start(&node);
    traffic.wait_for(400);
    node.kill9();
    let _node = node.restart_with(|builder| builder.without_env("WEIR_CANARY"));
    traffic.wait_for(50);
    traffic.finish()
}

#[test]
fn a_broker_that_drops_one_acknowledged_message_is_caught() {
    let faults = faults_of("drop-acknowledged");
    assert!(matches!(faults[..], [Fault::Lost { .. }]), "{faults:?}");
}

#[test]
fn a_broker_that_doubles_one_qos2_message_is_caught() {
    let faults = faults_of("double-qos2");
    assert!(matches!(faults[..], [Fault::Doubled { .. }]), "{faults:?}");
}

#[test]
fn a_broker_that_lets_one_message_overtake_another_is_caught() {
    let faults = faults_of("reorder");
    let is_reordered = |fault: &Fault| matches!(fault, Fault::Reordered { .. });
    assert!(!faults.is_empty() && faults.iter().all(is_reordered), "{faults:?}");
}
