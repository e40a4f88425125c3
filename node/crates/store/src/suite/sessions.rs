//! Promises about sessions: whose they are, and who acts for them.

use super::*;

pub fn a_session_is_made_once_and_resumed_with_all_it_had(make: Make) {
    let store = make();
    let key = client("a");
    let first = open(&*store, &key, resuming());
    assert!(!first.present);
    let options =
        SubscriptionOptions { qos: Qos::ExactlyOnce, subscription_id: Some(7), ..Default::default() };
    let fence = first.fence;
    let subscribe = |text| SessionOp::Subscribe { fence, filter: filter(text), options };
    assert_eq!(ask_one(&*store, &key, subscribe("a/+")), Ok(Outcome::Done));
    assert_eq!(ask_one(&*store, &key, subscribe("b")), Ok(Outcome::Done));
    let unsubscribe = SessionOp::Unsubscribe { fence, filter: filter("b") };
    assert_eq!(ask_one(&*store, &key, unsubscribe), Ok(Outcome::Done));
    assert_eq!(number(ask_one(&*store, &key, enqueue(fence.generation, message("m1", 10)))), 1);
    let second = open(&*store, &key, resuming());
    assert!(second.present);
    assert_eq!(second.fence.generation, fence.generation);
    assert!(second.fence.fence > fence.fence);
    assert_eq!(second.subscriptions, [(filter("a/+"), options)]);
    assert_eq!(
        (second.queue.head, second.queue.tail, second.queue.messages, second.queue.bytes),
        (1, 1, 1, 10)
    );
}

pub fn the_newest_connection_fences_the_older_ones(make: Make) {
    let store = make();
    let key = client("a");
    let old = open(&*store, &key, resuming()).fence;
    let new = open(&*store, &key, resuming()).fence;
    let fenced = |fence| {
        vec![
            SessionOp::Subscribe { fence, filter: filter("x"), options: SubscriptionOptions::default() },
            SessionOp::Unsubscribe { fence, filter: filter("x") },
            SessionOp::Ack { fence, number: 1 },
            SessionOp::Pubrec { fence, number: 1 },
            SessionOp::Receive { fence, packet_id: 1 },
            SessionOp::Release { fence, packet_id: 1 },
            SessionOp::ClearWill { fence },
            SessionOp::Detach { fence, detach: detach(1, 0, None, None) },
        ]
    };
    for op in fenced(old) {
        assert_eq!(ask_one(&*store, &key, op.clone()), Err(Refusal::Fenced), "{op:?}");
    }
    for op in fenced(new) {
        assert!(ask_one(&*store, &key, op.clone()).is_ok(), "{op:?}");
    }
    let unknown = Fence { generation: new.generation, fence: new.fence + 100 };
    for op in fenced(unknown) {
        assert_eq!(ask_one(&*store, &key, op), Err(Refusal::Fenced));
    }
}

pub fn a_refused_step_does_nothing_at_all(make: Make) {
    let store = make();
    let key = client("a");
    let old = open(&*store, &key, resuming()).fence;
    let fence = open(&*store, &key, resuming()).fence;
    let ops = [enqueue(fence.generation, message("m", 10)), SessionOp::Ack { fence: old, number: 1 }];
    assert_eq!(ask(&*store, vec![step(&key, ops)]), [Err(Refusal::Fenced)]);
    assert!(rows(&*store, &key).is_empty());
    let ops = [SessionOp::Open(resuming()), SessionOp::Ack { fence, number: 1 }];
    assert_eq!(ask(&*store, vec![step(&key, ops)]), [Err(Refusal::Fenced)]);
    assert!(ask_one(&*store, &key, SessionOp::Ack { fence, number: 1 }).is_ok(), "the fence was not raised");
}

pub fn a_session_belongs_to_its_user(make: Make) {
    let store = make();
    let of = |user: Option<&str>| Open { owner: user.map(|name| owner(Some(name))), ..resuming() };
    let (named, anonymous) = (client("named"), client("anonymous"));
    open(&*store, &named, of(Some("u")));
    open(&*store, &anonymous, of(None));
    for (key, user) in [(&named, Some("v")), (&named, None), (&anonymous, Some("u"))] {
        let clean = Open { clean_start: true, ..of(user) };
        assert_eq!(ask_one(&*store, key, SessionOp::Open(clean)), Err(Refusal::NotOwner));
        assert_eq!(ask_one(&*store, key, SessionOp::Open(of(user))), Err(Refusal::NotOwner));
    }
    assert!(open(&*store, &named, of(Some("u"))).present);
    assert!(open(&*store, &anonymous, of(None)).present);
}

pub fn a_session_s_owner_is_as_its_last_connection_gave_it(make: Make) {
    let store = make();
    let key = client("a");
    let of = |roles: &[&str]| {
        let roles = roles.iter().copied().map(Into::into).collect();
        let principal = Principal { roles, ..Principal::clone(&owner(Some("u")).principal) };
        Arc::new(Owner { principal: Arc::new(principal), grant: Some(Grant::Token { key: 3 }) })
    };
    let kept = || restore(&*store).1[0].owner.clone();
    open(&*store, &key, Open { owner: Some(owner(Some("u"))), ..resuming() });
    let opened = open(&*store, &key, Open { owner: Some(of(&["one"])), ..resuming() });
    assert!(opened.present);
    assert_eq!(kept(), Some(of(&["one"])));
    let renew = |fence, owner| ask_one(&*store, &key, SessionOp::Renew { fence, owner });
    let old = Fence { fence: opened.fence.fence - 1, ..opened.fence };
    assert_eq!(renew(old, of(&["two"])), Err(Refusal::Fenced));
    assert_eq!(renew(opened.fence, owner(Some("v"))), Err(Refusal::NotOwner));
    assert_eq!(kept(), Some(of(&["one"])));
    assert_eq!(renew(opened.fence, of(&["two"])), Ok(Outcome::Done));
    assert_eq!(kept(), Some(of(&["two"])));
}

pub fn a_clean_start_begins_with_nothing(make: Make) {
    let store = make();
    let key = client("a");
    let old = open(&*store, &key, resuming()).fence;
    ask_one(&*store, &key, enqueue(old.generation, message("m", 10))).unwrap();
    ask_one(&*store, &key, SessionOp::Receive { fence: old, packet_id: 3 }).unwrap();
    let clean = open(&*store, &key, Open { clean_start: true, ..resuming() });
    assert!(!clean.present && clean.subscriptions.is_empty() && clean.received.is_empty());
    assert_eq!((clean.queue.head, clean.queue.tail, clean.queue.messages), (1, 0, 0));
    assert_ne!(clean.fence.generation, old.generation);
    assert!(rows(&*store, &key).is_empty());
    assert_eq!(ask_one(&*store, &key, enqueue(old.generation, message("late", 10))), Ok(Outcome::Gone));
    assert_eq!(number(ask_one(&*store, &key, enqueue(clean.fence.generation, message("n", 10)))), 1);
}

pub fn a_session_that_ends_with_its_connection_is_not_resumed(make: Make) {
    let store = make();
    let key = client("a");
    let first = open(&*store, &key, Open { persistent: false, ..resuming() });
    let second = open(&*store, &key, resuming());
    assert!(!second.present);
    assert_ne!(first.fence.generation, second.fence.generation);
}

pub fn an_expired_session_is_not_resumed(make: Make) {
    let store = make();
    let key = client("a");
    let fence = open(&*store, &key, resuming()).fence;
    ask_one(&*store, &key, SessionOp::Detach { fence, detach: detach(1, 0, Some(2), None) }).unwrap();
    assert!(!open(&*store, &key, resuming()).present);
}

pub fn an_expiry_does_not_end_a_session_that_was_opened_again(make: Make) {
    let store = make();
    let key = client("a");
    let far = UnixMillis(u64::MAX - 1);
    let fence = open(&*store, &key, resuming()).fence;
    ask_one(&*store, &key, SessionOp::Detach { fence, detach: detach(1, 0, Some(far.0), None) }).unwrap();
    assert_eq!(due(&*store, far.0), [Due::Expiry { key: key.clone(), fence }]);
    assert_eq!(due(&*store, far.0).len(), 1, "due until dealt with");
    open(&*store, &key, resuming());
    assert!(due(&*store, far.0).is_empty());
    let end = SessionOp::End { generation: fence.generation, fence: Some(fence.fence) };
    assert_eq!(ask_one(&*store, &key, end), Err(Refusal::Fenced));
    assert!(open(&*store, &key, resuming()).present);
}

pub fn an_ended_session_leaves_nothing_and_ending_it_again_is_no_error(make: Make) {
    let store = make();
    let key = client("a");
    let fence = open(&*store, &key, resuming()).fence;
    ask_one(&*store, &key, enqueue(fence.generation, message("m", 10))).unwrap();
    ask_one(&*store, &key, SessionOp::Detach { fence, detach: detach(1, 0, Some(5), None) }).unwrap();
    let end = || SessionOp::End { generation: fence.generation, fence: None };
    assert_eq!(ask_one(&*store, &key, end()), Ok(Outcome::Done));
    assert_eq!(ask_one(&*store, &key, end()), Ok(Outcome::Done));
    assert!(rows(&*store, &key).is_empty() && due(&*store, 10).is_empty());
    assert!(!open(&*store, &key, resuming()).present);
    assert_eq!(ask_one(&*store, &key, end()), Ok(Outcome::Done), "an old end leaves the new session alone");
    assert!(open(&*store, &key, resuming()).present);
}

pub fn rows_may_have_been_sent_as_far_as_the_detach_said(make: Make) {
    let store = make();
    let key = client("a");
    let fence = open(&*store, &key, resuming()).fence;
    for text in ["1", "2", "3"] {
        ask_one(&*store, &key, enqueue(fence.generation, message(text, 10))).unwrap();
    }
    ask_one(&*store, &key, SessionOp::Detach { fence, detach: detach(1, 2, None, None) }).unwrap();
    assert_eq!(open(&*store, &key, resuming()).queue.sent, 2);
    assert_eq!(open(&*store, &key, resuming()).queue.sent, 3, "a takeover does not know");
}

pub fn a_restored_session_says_what_it_is(make: Make) {
    let store = make();
    let (kept, owing) = (client("kept"), client("owing"));
    let asked = Open { owner: Some(owner(Some("u"))), will: Some(will("w", 9)), ..resuming() };
    let fence = open(&*store, &kept, asked).fence;
    let options = SubscriptionOptions::default();
    ask_one(&*store, &kept, SessionOp::Subscribe { fence, filter: filter("f"), options }).unwrap();
    ask_one(&*store, &kept, SessionOp::Detach { fence, detach: detach(7, 0, None, Some(8)) }).unwrap();
    let gone = open(&*store, &owing, Open { will: Some(will("owed", 0)), ..resuming() }).fence.generation;
    let ops = [
        SessionOp::FireWill { generation: gone, fence: None },
        SessionOp::End { generation: gone, fence: None },
    ];
    ask(&*store, vec![step(&owing, ops)]);
    let (_, found) = restore(&*store);
    assert_eq!(found.iter().map(|r| &r.key).collect::<Vec<_>>(), [&kept, &owing]);
    let session = &found[0];
    assert_eq!((session.fence, session.persistent), (fence, true));
    assert_eq!(session.owner, Some(owner(Some("u"))));
    assert_eq!(session.subscriptions, [(filter("f"), options)]);
    assert_eq!(
        (session.detached_at, session.has_will, session.will_delay_seconds),
        (Some(UnixMillis(7)), true, 9)
    );
    assert_eq!((session.expiry_seconds, session.outbox.len()), (60, 0));
    assert!(!found[1].persistent && found[1].subscriptions.is_empty());
    assert_eq!(found[1].outbox[0].message, will("owed", 0).message);
}

pub fn a_closed_store_is_unavailable(make: Make) {
    let store = make();
    open(&*store, &client("a"), resuming());
    wait(store.close());
    assert_eq!(ask_one(&*store, &client("a"), SessionOp::Open(resuming())), Err(Refusal::Unavailable));
}
