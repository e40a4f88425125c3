//! Promises about timers of a shared store: each is run by one node at a time.

use super::*;

fn detached(store: &dyn Store, key: &SessionKey) {
    let fence = open(store, key, Open { will: Some(will("w", 5)), ..resuming() }).fence;
    let detach = detach(1, 0, Some(9), Some(6));
    ask_one(store, key, SessionOp::Detach { fence, detach }).unwrap();
}

/// For claims of an hour.
pub fn a_timer_is_given_to_one_node(join: Join) {
    let (a, b) = (joined(join, node("a", 1)), joined(join, node("b", 2)));
    detached(&*a, &client("c"));
    assert_eq!(delay(&*a, 7, None, "m"), Ok(Outcome::Done));
    assert!(given(&*b, 5).is_empty(), "not yet");
    let due = given(&*b, 8);
    assert!(matches!(&due[..], [Due::Will { .. }, Due::Delayed { .. }]), "the oldest first: {due:?}");
    assert!(given(&*a, 8).is_empty() && given(&*b, 8).is_empty(), "claimed");
    let later = given(&*a, 9);
    assert!(matches!(&later[..], [Due::Expiry { .. }]), "what was not due then is not claimed: {later:?}");
}

/// For claims of an hour.
pub fn nodes_that_ask_for_a_few_timers_get_different_ones(join: Join) {
    let (a, b) = (joined(join, node("a", 1)), joined(join, node("b", 2)));
    for due in 1..=4 {
        assert_eq!(delay(&*a, due, None, "m"), Ok(Outcome::Done));
    }
    let few = |store: &dyn Store| wait(store.due(UnixMillis(9), 2)).expect("what is due can be read");
    let mut entries = Vec::new();
    for due in [few(&*a), few(&*b)].into_iter().flatten() {
        let Due::Delayed { entry, .. } = due else { panic!("not a delayed message: {due:?}") };
        entries.push(entry.entry);
    }
    entries.sort_unstable();
    entries.dedup();
    assert_eq!(entries.len(), 4);
    assert!(few(&*a).is_empty());
}

/// For claims of a millisecond.
pub fn a_timer_comes_again_to_any_node_until_it_is_dealt_with(join: Join) {
    let (a, b) = (joined(join, node("a", 1)), joined(join, node("b", 2)));
    assert_eq!(delay(&*a, 10, None, "m"), Ok(Outcome::Done));
    let mut seen = Vec::new();
    for store in [&a, &b, &a] {
        seen.push(until("it is due again", || given(&**store, 10).pop()));
    }
    assert!(seen.iter().all(|due| *due == seen[0]), "under the same id");
    let Some(Due::Delayed { entry, .. }) = seen.pop() else { panic!("not a delayed message") };
    let done = topic_step("later", TopicOp::Delayed { entry: entry.entry });
    assert!(ask(&*b, vec![done]).remove(0).is_ok());
    assert!(given(&*a, 10).is_empty() && given(&*b, 10).is_empty());
    assert_eq!(entry.message, on_topic("later", "m"));
}
