//! Promises about wills: one fate each, and one id at every try.

use super::*;

fn with_will(text: &str, delay_seconds: u32) -> Open {
    Open { will: Some(will(text, delay_seconds)), ..resuming() }
}

fn fired(outcome: Result<Outcome, Refusal>) -> Option<crate::OutboxEntry> {
    match outcome {
        Ok(Outcome::Fired(entry)) => entry,
        other => panic!("not fired: {other:?}"),
    }
}

pub fn a_will_fires_once_under_one_id(make: Make) {
    let store = make();
    let key = client("a");
    let asked = Open { owner: Some(owner(Some("u"))), ..with_will("w", 0) };
    let generation = open(&*store, &key, asked).fence.generation;
    let fire = || fired(ask_one(&*store, &key, SessionOp::FireWill { generation, fence: None }));
    let entry = fire().expect("a will");
    assert_eq!((&entry.message, &entry.owner), (&will("w", 0).message, &Some(owner(Some("u")))));
    assert_eq!(fire(), Some(entry.clone()), "a repeat is answered with the same entry");
    for _ in 0..2 {
        let done = SessionOp::OutboxDone { entry: entry.entry };
        assert_eq!(ask_one(&*store, &key, done), Ok(Outcome::Done));
    }
    assert_eq!(fire(), None);
    assert!(restore(&*store).1[0].outbox.is_empty());
}

pub fn a_will_s_lifetime_begins_when_it_fires(make: Make) {
    let store = make();
    let key = client("a");
    let will = Will { expiry_seconds: Some(60), ..will("w", 0) };
    let fence = open(&*store, &key, Open { will: Some(will), ..resuming() }).fence;
    let before = UnixMillis::from(std::time::SystemTime::now());
    let fire = SessionOp::FireWill { generation: fence.generation, fence: None };
    let entry = fired(ask_one(&*store, &key, fire)).expect("a will");
    assert!(entry.message.expires_at >= Some(before.after(std::time::Duration::from_secs(60))));
}

pub fn a_cleared_will_does_not_fire(make: Make) {
    let store = make();
    let key = client("a");
    let fence = open(&*store, &key, with_will("w", 0)).fence;
    ask_one(&*store, &key, SessionOp::ClearWill { fence }).unwrap();
    let fire = SessionOp::FireWill { generation: fence.generation, fence: None };
    assert_eq!(fired(ask_one(&*store, &key, fire)), None);
}

pub fn a_will_is_due_when_its_delay_is_over(make: Make) {
    let store = make();
    let key = client("a");
    let fence = open(&*store, &key, with_will("w", 5)).fence;
    ask_one(&*store, &key, SessionOp::Detach { fence, detach: detach(1, 0, Some(9), Some(6)) }).unwrap();
    assert!(due(&*store, 5).is_empty());
    assert_eq!(due(&*store, 6), [Due::Will { key: key.clone(), fence }]);
    assert!(fired(ask_one(&*store, &key, fire(fence))).is_some());
    assert!(due(&*store, 6).is_empty());
    assert_eq!(due(&*store, 9), [Due::Expiry { key: key.clone(), fence }]);
}

/// The will of the connection with this fence.
fn fire(fence: Fence) -> SessionOp {
    SessionOp::FireWill { generation: fence.generation, fence: Some(fence.fence) }
}

pub fn a_will_that_is_due_is_not_that_of_who_has_come_since(make: Make) {
    let store = make();
    let key = client("a");
    let before = open(&*store, &key, with_will("old", 5)).fence;
    ask_one(&*store, &key, SessionOp::Detach { fence: before, detach: detach(1, 0, None, Some(6)) }).unwrap();
    assert_eq!(due(&*store, 6), [Due::Will { key: key.clone(), fence: before }]);
    // Its client resumes before that is seen to, which fires what is late.
    let opened = open(&*store, &key, with_will("new", 0));
    let now = opened.fence;
    assert!(opened.present && opened.fired.is_some());
    assert_eq!(fired(ask_one(&*store, &key, fire(before))), opened.fired, "the old will, not the new one");
    let entry = fired(ask_one(&*store, &key, fire(now))).expect("its own will is still there");
    assert_eq!(entry.message, will("new", 0).message);
}

pub fn a_resumed_session_cancels_its_pending_will(make: Make) {
    let store = make();
    let key = client("a");
    let fence = open(&*store, &key, with_will("old", 100)).fence;
    let never = u64::MAX - 1;
    ask_one(&*store, &key, SessionOp::Detach { fence, detach: detach(1, 0, None, Some(never)) }).unwrap();
    let opened = open(&*store, &key, with_will("new", 100));
    assert!(opened.present && opened.fired.is_none());
    assert!(due(&*store, never).is_empty());
    let fire = SessionOp::FireWill { generation: fence.generation, fence: None };
    let entry = fired(ask_one(&*store, &key, fire)).expect("the new will");
    assert_eq!(entry.message, will("new", 0).message);
}

pub fn a_will_without_delay_fires_when_another_connection_takes_over(make: Make) {
    let store = make();
    let key = client("a");
    open(&*store, &key, with_will("w", 0));
    let opened = open(&*store, &key, resuming());
    assert!(opened.present);
    assert_eq!(opened.fired.map(|entry| entry.message), Some(will("w", 0).message));
}

pub fn a_clean_start_fires_the_will_of_the_session_it_ends(make: Make) {
    let store = make();
    let key = client("a");
    let fence = open(&*store, &key, with_will("w", 100)).fence;
    let never = Some(u64::MAX - 1);
    ask_one(&*store, &key, SessionOp::Detach { fence, detach: detach(1, 0, None, never) }).unwrap();
    let opened = open(&*store, &key, Open { clean_start: true, ..resuming() });
    let entry = opened.fired.expect("the will");
    assert_eq!(entry.message, will("w", 0).message);
    assert_eq!(restore(&*store).1[0].outbox, std::slice::from_ref(&entry));
    ask_one(&*store, &key, SessionOp::OutboxDone { entry: entry.entry }).unwrap();
    assert!(restore(&*store).1[0].outbox.is_empty());
}

pub fn an_ended_session_still_owes_its_fired_will(make: Make) {
    let store = make();
    let key = client("a");
    let generation = open(&*store, &key, Open { persistent: false, ..with_will("w", 0) }).fence.generation;
    let ops = [SessionOp::FireWill { generation, fence: None }, SessionOp::End { generation, fence: None }];
    let mut answer = ask(&*store, vec![step(&key, ops)]);
    let entry = fired(answer.remove(0).map(|mut outcomes| outcomes.remove(0))).expect("the will");
    let again = fired(ask_one(&*store, &key, SessionOp::FireWill { generation, fence: None }));
    assert_eq!(again, Some(entry.clone()));
    let (_, found) = restore(&*store);
    assert_eq!((found.len(), &found[0].outbox), (1, &vec![entry.clone()]));
    ask_one(&*store, &key, SessionOp::OutboxDone { entry: entry.entry }).unwrap();
    assert!(restore(&*store).1.is_empty());
}
