//! Promises about what a lost node leaves behind: orphaned sessions and wills that outboxes owe.

use super::*;

fn orphans(store: &dyn Store) -> Vec<Restored> {
    let orphan = |due| match due {
        Due::Orphan(orphan) => Some(*orphan),
        _ => None,
    };
    given(store, 0).into_iter().filter_map(orphan).collect()
}

fn owed(store: &dyn Store) -> Vec<(SessionKey, OutboxEntry)> {
    let owed = |due| match due {
        Due::Owed { key, entry } => Some((key, entry)),
        _ => None,
    };
    given(store, 0).into_iter().filter_map(owed).collect()
}

/// The next orphans, sorted.
fn next_orphans(store: &dyn Store, count: usize) -> Vec<Restored> {
    let mut found = Vec::new();
    until("the sessions of the lost node are orphans", || {
        found.extend(orphans(store));
        (found.len() >= count).then_some(())
    });
    found.sort_by(|one, other| one.key.cmp(&other.key));
    found
}

fn fire_and_end(generation: u64) -> [SessionOp; 2] {
    [SessionOp::FireWill { generation, fence: None }, SessionOp::End { generation, fence: None }]
}

fn fire(store: &dyn Store, key: &SessionKey, ops: impl IntoIterator<Item = SessionOp>) -> OutboxEntry {
    match ask(store, vec![step(key, ops)]).remove(0).map(|mut outcomes| outcomes.remove(0)) {
        Ok(Outcome::Fired(Some(entry))) => entry,
        other => panic!("not fired: {other:?}"),
    }
}

/// For claims of an hour.
pub fn a_lost_node_s_sessions_are_orphans_each_given_out_once(join: Join) {
    let [a, b, c] = [node("a", 1), node("b", 2), node("c", 3)].map(|node| joined(join, node));
    let home = incarnation(&*a, "a");
    let (clean, kept, left) = (client("clean"), client("kept"), client("left"));
    let of_clean = open(&*a, &clean, Open { persistent: false, ..resuming() }).fence;
    let asked = Open { owner: Some(owner(Some("u"))), will: Some(will("w", 9)), ..resuming() };
    let of_kept = open(&*a, &kept, asked).fence;
    subscribe(&*a, &kept, of_kept, "f").unwrap();
    let fence = open(&*a, &left, resuming()).fence;
    ask_one(&*a, &left, SessionOp::Detach { fence, detach: detach(1, 0, None, None) }).unwrap();
    open(&*b, &client("elsewhere"), resuming());
    assert!(orphans(&*b).is_empty(), "its node lives");
    drop(a);
    let found = next_orphans(&*b, 2);
    assert_eq!(
        found.iter().map(|row| &row.key).collect::<Vec<_>>(),
        [&clean, &kept],
        "a detached one is none"
    );
    assert_eq!((found[0].fence, found[0].persistent, found[0].has_will), (of_clean, false, false));
    let session = &found[1];
    assert_eq!((session.fence, session.persistent, session.home), (of_kept, true, home));
    assert_eq!(session.owner, Some(owner(Some("u"))));
    assert_eq!(session.subscriptions[0].0, filter("f"));
    assert_eq!((session.has_will, session.will_delay_seconds, session.expiry_seconds), (true, 9, 60));
    assert_eq!(session.detached_at, None);
    assert!(orphans(&*b).is_empty() && orphans(&*c).is_empty(), "claimed");
    assert!(incarnation(&*b, "a").is_none());
}

/// For claims of a millisecond.
pub fn an_orphan_comes_again_until_it_is_dealt_with(join: Join) {
    let [a, b, c] = [node("a", 1), node("b", 2), node("c", 3)].map(|node| joined(join, node));
    let key = client("a");
    let fence = open(&*a, &key, resuming()).fence;
    drop(a);
    for store in [&b, &c, &b] {
        assert_eq!(next_orphans(&**store, 1)[0].key, key);
    }
    let dealt = || SessionOp::Detach { fence, detach: detach(1, 0, None, None) };
    assert_eq!(ask_one(&*b, &key, dealt()), Ok(Outcome::Done));
    assert_eq!(ask_one(&*c, &key, dealt()), Ok(Outcome::Done), "who was given it too does no harm");
    assert!(orphans(&*b).is_empty() && orphans(&*c).is_empty());
    assert!(open(&*b, &key, resuming()).present);
}

/// For claims of a millisecond.
pub fn an_orphan_that_was_opened_again_is_left_alone(join: Join) {
    let [a, b, c] = [node("a", 1), node("b", 2), node("c", 3)].map(|node| joined(join, node));
    let key = client("a");
    open(&*a, &key, resuming());
    drop(a);
    let orphan = next_orphans(&*b, 1).remove(0);
    let opened = open(&*c, &key, resuming());
    assert!(opened.present);
    let late = SessionOp::Detach { fence: orphan.fence, detach: detach(1, 0, Some(2), None) };
    assert_eq!(ask_one(&*b, &key, late), Err(Refusal::Fenced));
    assert!(orphans(&*b).is_empty());
    assert!(subscribe(&*c, &key, opened.fence, "f").is_ok());
}

/// For claims of a millisecond.
pub fn the_will_of_a_lost_node_s_clean_session_fires_once(join: Join) {
    let [a, b, c] = [node("a", 1), node("b", 2), node("c", 3)].map(|node| joined(join, node));
    let key = client("a");
    let clean = Open { persistent: false, will: Some(will("w", 0)), ..resuming() };
    open(&*a, &key, clean);
    drop(a);
    let (by_b, by_c) = (next_orphans(&*b, 1).remove(0), next_orphans(&*c, 1).remove(0));
    assert!(!by_b.persistent && by_b.has_will);
    let entry = fire(&*b, &key, fire_and_end(by_b.fence.generation));
    assert_eq!(entry.message, will("w", 0).message);
    assert_eq!(fire(&*c, &key, fire_and_end(by_c.fence.generation)), entry, "the same one under the same id");
    assert!(orphans(&*b).is_empty());
    ask_one(&*b, &key, SessionOp::OutboxDone { entry: entry.entry }).unwrap();
    assert!(!open(&*c, &key, resuming()).present);
}

/// For any claim.
pub fn a_node_that_leaves_leaves_orphans(join: Join) {
    let (a, b) = (joined(join, node("a", 1)), joined(join, node("b", 2)));
    let key = client("a");
    open(&*a, &key, resuming());
    wait(a.leave());
    assert!(!a.stands());
    assert_eq!(next_orphans(&*b, 1)[0].key, key);
    assert!(incarnation(&*b, "a").is_none());
}

/// For any claim.
pub fn a_node_that_comes_back_is_another_one(join: Join) {
    let (a, b) = (joined(join, node("a", 1)), joined(join, node("b", 2)));
    let key = client("a");
    open(&*a, &key, resuming());
    let before = incarnation(&*a, "a").expect("it holds a lease");
    drop(a);
    let again = joined(join, node("a", 3));
    let after = incarnation(&*again, "a").expect("it holds a lease");
    assert!(after > before);
    let mut found = Vec::new();
    until("the session of its life before is an orphan", || {
        found.extend(orphans(&*again));
        found.extend(orphans(&*b));
        (!found.is_empty()).then_some(())
    });
    assert_eq!((&found[0].key, found[0].home), (&key, Some(before)));
}

/// For claims of a millisecond.
pub fn what_an_outbox_owes_comes_to_another_node_until_it_is_done(join: Join) {
    let [a, b, c] = [node("a", 1), node("b", 2), node("c", 3)].map(|node| joined(join, node));
    let key = client("a");
    let generation = open(&*a, &key, Open { will: Some(will("w", 0)), ..resuming() }).fence.generation;
    let entry = fire(&*a, &key, fire_and_end(generation));
    drop(a);
    for store in [&b, &c] {
        let found = until("it is owed", || owed(&**store).pop());
        assert_eq!(found, (key.clone(), entry.clone()), "under the same id");
    }
    ask_one(&*b, &key, SessionOp::OutboxDone { entry: entry.entry }).unwrap();
    assert!(owed(&*b).is_empty() && owed(&*c).is_empty());
}

/// For claims of an hour.
pub fn what_was_just_fired_is_left_to_the_node_that_fired_it(join: Join) {
    let (a, b) = (joined(join, node("a", 1)), joined(join, node("b", 2)));
    let with_will = || Open { will: Some(will("w", 0)), ..resuming() };
    let generation = open(&*a, &client("a"), with_will()).fence.generation;
    fire(&*a, &client("a"), [SessionOp::FireWill { generation, fence: None }]);
    open(&*a, &client("taken"), with_will());
    assert!(open(&*b, &client("taken"), resuming()).fired.is_some());
    assert!(owed(&*a).is_empty() && owed(&*b).is_empty());
}
