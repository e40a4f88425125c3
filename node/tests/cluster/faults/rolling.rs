//! Every node is replaced while clients work: by draining, one after the other.

use std::process::Command;

use weir_testkit::Traffic;
use weir_testkit::history::Habit;

use super::{SOME, scene};
use crate::scene::PROGRAM;

#[test]
fn a_rolling_restart_loses_nothing_and_moves_no_client_more_than_twice() {
    let mut scene = scene();
    let everywhere = [0, 1, 2];
    let traffic = Traffic::over(&scene.cluster)
        .publishers(&everywhere)
        .subscribers(Habit::Stays, &everywhere)
        .subscribers(Habit::Clean, &everywhere)
        .sleepers(&[0])
        .start();
    for number in everywhere {
        traffic.wait_for(SOME);
        traffic.note(format!("node {number} drains"));
        let pid = scene.cluster.node(number).pid().to_string();
        let drained = Command::new(PROGRAM).args(["drain", "--pid", &pid]).output().expect("`weir drain`");
        assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
        scene.cluster.wait_for_end(number);
        traffic.note(format!("node {number} starts again"));
        scene.cluster.restart(number);
        scene.cluster.wait_until_whole();
    }
    traffic.wait_for(SOME);
    let history = traffic.kept_every_promise(&scene.cluster);
    assert!(history.moves_max() <= 2, "{}", history.moves());
}
