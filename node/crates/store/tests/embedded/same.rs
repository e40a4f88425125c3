//! Random work gives the same answers in memory and embedded, restarts included.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use weir_model::MessageId;
use weir_store::suite::{
    ask, ask_one, client, delivery, detach, due, enqueue, enqueue_with, group, message, owner, restore,
    resuming, retain, texts, will,
};
use weir_store::{
    Account, Due, Enqueue, Fence, Open, Outcome, Refusal, SessionKey, SessionOp, Store, SubscriptionOptions,
    suite,
};

use crate::disk::open_at;

mod streaming;

#[derive(Debug, Clone)]
enum Act {
    Open { who: usize, clean: bool, persistent: bool, will: bool, user: bool },
    Subscribe { who: usize, filter: usize },
    Unsubscribe { who: usize, filter: usize },
    Enqueue { who: usize, bytes: usize, id: Option<u64> },
    Everyone { bytes: usize },
    Group { number: Option<u64> },
    Ack { who: usize, number: u64 },
    Pubrec { who: usize, number: u64 },
    Receive { who: usize, packet_id: u16 },
    Release { who: usize, packet_id: u16 },
    Detach { who: usize, sent: u64, will_at: Option<u64>, expires_at: Option<u64> },
    FireWill { who: usize },
    End { who: usize },
    Retain { topic: usize, set: bool },
    Stream(streaming::Act),
    Reopen,
}

const CLIENTS: usize = 3;

fn act() -> impl Strategy<Value = Act> {
    let who = 0..CLIENTS;
    let far = || prop::option::of((1u64 << 50)..(1 << 50) + 5);
    prop_oneof![
        3 => (who.clone(), prop::bool::weighted(0.2), prop::bool::weighted(0.8), any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(who, clean, persistent, will, user)| Act::Open { who, clean, persistent, will, user }),
        1 => (who.clone(), 0..3usize).prop_map(|(who, filter)| Act::Subscribe { who, filter }),
        1 => (who.clone(), 0..3usize).prop_map(|(who, filter)| Act::Unsubscribe { who, filter }),
        6 => (who.clone(), 10..400usize, prop::option::of(0..6u64))
            .prop_map(|(who, bytes, id)| Act::Enqueue { who, bytes, id }),
        2 => (10..200usize).prop_map(|bytes| Act::Everyone { bytes }),
        2 => prop::option::of(1..12u64).prop_map(|number| Act::Group { number }),
        5 => (who.clone(), 1..12u64).prop_map(|(who, number)| Act::Ack { who, number }),
        2 => (who.clone(), 1..12u64).prop_map(|(who, number)| Act::Pubrec { who, number }),
        2 => (who.clone(), 1..4u16).prop_map(|(who, packet_id)| Act::Receive { who, packet_id }),
        2 => (who.clone(), 1..4u16).prop_map(|(who, packet_id)| Act::Release { who, packet_id }),
        2 => (who.clone(), 0..9u64, far(), far())
            .prop_map(|(who, sent, will_at, expires_at)| Act::Detach { who, sent, will_at, expires_at }),
        1 => who.clone().prop_map(|who| Act::FireWill { who }),
        1 => who.prop_map(|who| Act::End { who }),
        2 => (0..3usize, any::<bool>()).prop_map(|(topic, set)| Act::Retain { topic, set }),
        12 => streaming::act().prop_map(Act::Stream),
        2 => Just(Act::Reopen),
    ]
}

/// One backend with the fences it gave.
struct Side {
    store: Option<Arc<dyn Store>>,
    fences: [Fence; CLIENTS],
    streaming: streaming::Side,
}

fn name(who: usize) -> SessionKey {
    client(&format!("c{who}"))
}

impl Side {
    fn new(store: Arc<dyn Store>) -> Side {
        let fences = [Fence { generation: 0, fence: 0 }; CLIENTS];
        Side { store: Some(store), fences, streaming: streaming::Side::default() }
    }

    /// Carries an act out; what was answered, without the numbers each store chooses for itself.
    fn act(&mut self, act: &Act, turn: usize) -> String {
        let store = self.store.clone().expect("a store between reopenings");
        match act {
            Act::Stream(act) => self.streaming.act(&*store, act, turn),
            Act::Reopen => {
                self.streaming.release_all(&*store);
                String::new()
            }
            Act::Retain { topic, set } => {
                let text = format!("v{turn}");
                retain(&*store, &format!("r{topic}"), set.then_some(text.as_str()));
                String::new()
            }
            Act::Everyone { bytes } => {
                let shared = message(&format!("all{turn}"), *bytes);
                let copies = (0..CLIENTS).map(|who| {
                    let enqueue = Enqueue {
                        generation: self.fences[who].generation,
                        id: None,
                        delivery: delivery(shared.clone()),
                    };
                    suite::step(&name(who), [SessionOp::Enqueue(enqueue)])
                });
                let twice = copies.clone().chain(copies).collect();
                let shapes =
                    ask(&*store, twice).into_iter().map(|answer| shape(answer.map(|mut o| o.remove(0))));
                shapes.collect::<Vec<_>>().join(" ")
            }
            Act::Group { number } => {
                let op = match number {
                    Some(number) => SessionOp::GroupAck { number: *number },
                    None => enqueue(0, message(&format!("g{turn}"), 20)),
                };
                shape(ask_one(&*store, &group("$share/g/t"), op))
            }
            _ => self.act_of_session(&*store, act, turn),
        }
    }

    fn act_of_session(&mut self, store: &dyn Store, act: &Act, turn: usize) -> String {
        let (who, op) = self.session_op(act, turn);
        let answer = ask_one(store, &name(who), op);
        if let Ok(Outcome::Opened(opened)) = &answer {
            self.fences[who] = opened.fence;
        }
        shape(answer)
    }

    fn session_op(&self, act: &Act, turn: usize) -> (usize, SessionOp) {
        let filter = |n: &usize| weir_model::Filter::new(&format!("f/{n}")).unwrap();
        let fence = |who: &usize| self.fences[*who];
        match act {
            Act::Open { who, clean, persistent, will: has_will, user } => {
                let will = (*has_will || !persistent).then(|| will(&format!("w{turn}"), 3));
                let owner = user.then(|| owner(Some("somebody")));
                let open = Open { clean_start: *clean, persistent: *persistent, will, owner, ..resuming() };
                (*who, SessionOp::Open(open))
            }
            Act::Subscribe { who, filter: n } => {
                let options =
                    SubscriptionOptions { subscription_id: Some(turn as u32 + 1), ..Default::default() };
                (*who, SessionOp::Subscribe { fence: fence(who), filter: filter(n), options })
            }
            Act::Unsubscribe { who, filter: n } => {
                (*who, SessionOp::Unsubscribe { fence: fence(who), filter: filter(n) })
            }
            Act::Enqueue { who, bytes, id } => {
                let (generation, message) = (fence(who).generation, message(&format!("m{turn}"), *bytes));
                let op = match id {
                    Some(id) => enqueue_with(generation, MessageId::received(1, 1, *id), message),
                    None => enqueue(generation, message),
                };
                (*who, op)
            }
            Act::Ack { who, number } => (*who, SessionOp::Ack { fence: fence(who), number: *number }),
            Act::Pubrec { who, number } => (*who, SessionOp::Pubrec { fence: fence(who), number: *number }),
            Act::Receive { who, packet_id } => {
                (*who, SessionOp::Receive { fence: fence(who), packet_id: *packet_id })
            }
            Act::Release { who, packet_id } => {
                (*who, SessionOp::Release { fence: fence(who), packet_id: *packet_id })
            }
            Act::Detach { who, sent, will_at, expires_at } => {
                let detach = detach(turn as u64, *sent, *expires_at, *will_at);
                (*who, SessionOp::Detach { fence: fence(who), detach })
            }
            Act::FireWill { who } => {
                (*who, SessionOp::FireWill { generation: fence(who).generation, fence: None })
            }
            Act::End { who } => (*who, SessionOp::End { generation: fence(who).generation, fence: None }),
            _ => unreachable!("not an act of a session"),
        }
    }

    /// Everything there is, without the numbers each store chooses for itself.
    fn look(&self) -> String {
        let store = self.store.as_deref().expect("a store between reopenings");
        let (heard, sessions) = restore(store);
        let mut seen = String::new();
        for session in sessions {
            let owed: Vec<_> = session.outbox.iter().map(|entry| entry.message.payload.clone()).collect();
            seen += &format!(
                "{:?} {:?} {} {:?} {:?} {:?} {} {owed:?} {:?}\n",
                session.key,
                session.owner,
                session.persistent,
                session.subscriptions,
                session.queue,
                session.detached_at,
                session.has_will,
                texts(store, &session.key),
            );
        }
        for (topic, _, payload) in heard.0.lock().unwrap().iter() {
            seen += &format!("{topic} {payload:?}\n");
        }
        let account = store.account();
        assert!(account.is_balanced(), "{account:?}");
        let Account { queued_messages, queued_bytes, retained_messages, retained_bytes, .. } = account;
        seen += &format!("{queued_messages} {queued_bytes} {retained_messages} {retained_bytes}\n");
        seen += &streaming::look(store);
        for due in due(store, u64::MAX) {
            seen += &match due {
                Due::Will { key, .. } => format!("will {key:?}\n"),
                Due::Expiry { key, .. } => format!("expiry {key:?}\n"),
                Due::Delayed { entry, .. } => format!("{:?}\n", entry.message),
                other => panic!("not of a store of one node: {other:?}"),
            };
        }
        seen
    }
}

fn shape(answer: Result<Outcome, Refusal>) -> String {
    match answer {
        Ok(Outcome::Opened(opened)) => {
            let fired = opened.fired.map(|entry| entry.message.payload.clone());
            format!(
                "{} {:?} {:?} {:?} {fired:?}",
                opened.present, opened.subscriptions, opened.queue, opened.received
            )
        }
        Ok(Outcome::Received { first, .. }) => format!("received {first}"),
        Ok(Outcome::Fired(entry)) => format!("fired {:?}", entry.map(|entry| entry.message.payload.clone())),
        other => format!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn memory_and_embedded_give_the_same_answers(
        acts in prop::collection::vec(act(), 1..70),
        log_bytes_max in prop_oneof![Just(u64::MAX), Just(1u64), Just(2000)],
    ) {
        let dir = tempfile::tempdir().unwrap();
        let config = crate::disk::config(log_bytes_max);
        let memory = weir_store::open(&suite::config("memory"), Path::new("unused")).unwrap().0;
        let (mut memory, mut embedded) = (Side::new(memory), Side::new(open_at(&config, dir.path())));
        for (turn, act) in acts.iter().enumerate() {
            prop_assert_eq!(memory.act(act, turn), embedded.act(act, turn), "{:?} in turn {}", act, turn);
            if matches!(act, Act::Reopen) {
                embedded.store = None;
                embedded.store = Some(open_at(&config, dir.path()));
            }
            prop_assert_eq!(memory.look(), embedded.look(), "after {:?} in turn {}", act, turn);
        }
    }
}
