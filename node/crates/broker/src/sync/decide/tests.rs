use std::collections::VecDeque;

use proptest::prelude::*;
use weir_model::Position;

use super::*;

const HOME: u64 = 1;
const NOW: UnixMillis = UnixMillis(1_000);

fn rules() -> Rules {
    Rules {
        merges: false,
        waiters_max: 100,
        watch_ms: 10_000,
        answers_ms: 5_000,
        guard_bytes_max: 48 << 10,
        home: HOME,
    }
}

fn id(count: u64) -> MessageId {
    MessageId::claimed(7, count)
}

fn holder(client: u8) -> Holder {
    Holder { client_id: format!("c{client}").into(), number: 1, is_stored: false, home: HOME }
}

fn message(payload: &str) -> Arc<Message> {
    Arc::new(Message {
        topic: Topic::new("lock").unwrap(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: Qos::AtLeastOnce,
        retain: true,
        expires_at: None,
        properties: None,
    })
}

/// Takes the lock, or waits for it; it is given back with the session.
fn lock(client: u8, count: u64) -> Ask {
    Ask {
        id: id(count),
        message: message(&format!("\"c{client}\"")),
        holder: holder(client),
        request: Request::Once,
        when: Some(Condition::parse("null").unwrap()),
        watch: true,
        will: Some(Bytes::new()),
        will_id: id(1_000_000 + count),
        repeat: false,
    }
}

fn plain(payload: &str, count: u64) -> Ask {
    Ask { message: message(payload), when: None, watch: false, will: None, ..lock(0, count) }
}

fn cell() -> Cell {
    Cell::new(Topic::new("lock").unwrap(), None, Guard::default())
}

/// The next step begins with what this one has left.
fn settled(mut cell: Cell) -> Cell {
    let at = |at| Position { epoch: 1, ms: 1, seq: at };
    let positions: Vec<Position> = (0..cell.values.len() as u64).map(at).collect();
    let guard = std::mem::take(&mut cell.guard).resolved(&positions);
    let read = guard.encode().map_or_else(Guard::default, |bytes| Guard::decode(&bytes, &[]).unwrap());
    assert_eq!(read, guard, "it reads back as it is written");
    Cell::new(cell.topic, cell.value, guard)
}

fn publish(cell: &mut Cell, ask: Ask) -> Reply {
    cell.decide(Input::Publish(Box::new(ask)), &rules(), NOW)
}

#[derive(Debug, Clone)]
enum Act {
    Lock(u8),
    GiveBack,
    End(u8),
    HandOut,
    Look,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..6u8).prop_map(Act::Lock),
        2 => Just(Act::GiveBack),
        2 => (0..6u8).prop_map(Act::End),
        1 => Just(Act::HandOut),
        1 => Just(Act::Look),
    ]
}

/// A lock as anybody would write it down: who has it, and who waits.
#[derive(Debug, Default)]
struct Model {
    owner: Option<u8>,
    line: VecDeque<(u8, u64)>,
    granted: Vec<u64>,
}

impl Model {
    fn lock(&mut self, client: u8, count: u64) {
        self.line.push_back((client, count));
        self.grant();
    }

    fn end(&mut self, client: u8) {
        self.line.retain(|(waiting, _)| *waiting != client);
        self.owner = self.owner.filter(|owner| *owner != client);
        self.grant();
    }

    fn give_back(&mut self) {
        self.owner = None;
        self.grant();
    }

    fn grant(&mut self) {
        if self.owner.is_none()
            && let Some((client, count)) = self.line.pop_front()
        {
            self.owner = Some(client);
            self.granted.push(count);
        }
    }
}

proptest! {
    #[test]
    fn a_lock_has_one_owner_and_goes_to_who_came_first_and_to_nobody_who_is_gone(
        acts in prop::collection::vec(act(), 1..200)
    ) {
        let (mut cell, mut model, mut granted) = (cell(), Model::default(), Vec::new());
        for (count, act) in acts.into_iter().enumerate() {
            let count = count as u64;
            let input = match act {
                Act::Lock(client) => {
                    model.lock(client, count);
                    Input::Publish(Box::new(lock(client, count)))
                }
                Act::GiveBack => {
                    model.give_back();
                    Input::Publish(Box::new(plain("", count)))
                }
                Act::End(client) => {
                    model.end(client);
                    Input::Ended(holder(client))
                }
                Act::HandOut => Input::HandedOut(cell.guard.owed.iter().map(|owed| owed.id).collect()),
                Act::Look => Input::Look,
            };
            let before: Vec<MessageId> = cell.guard.owed.iter().map(|owed| owed.id).collect();
            cell.decide(input, &rules(), NOW);
            let is_new = |owed: &&Owed| !before.contains(&owed.id) && !owed.message.payload.is_empty();
            granted.extend(cell.guard.owed.iter().filter(is_new).map(|owed| owed.id));
            cell = settled(cell);
            let wanted: Vec<MessageId> = model.granted.iter().map(|count| id(*count)).collect();
            prop_assert_eq!(&granted, &wanted);
            let owner = cell.value.as_ref().map(|value| value.payload.clone());
            prop_assert_eq!(owner, model.owner.map(|client| message(&format!("\"c{client}\"")).payload.clone()));
            let will_of = cell.guard.will.as_ref().map(|will| will.holder.clone());
            prop_assert_eq!(will_of, model.owner.map(holder));
            let line: Vec<MessageId> = cell.guard.waiters.iter().map(|waiter| waiter.id).collect();
            prop_assert_eq!(line, model.line.iter().map(|(_, count)| id(*count)).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_condition_that_does_not_hold_refuses_and_leaves_everything_as_it_was() {
    let mut cell = cell();
    assert_eq!(publish(&mut cell, lock(1, 1)), Reply::Accepted { place: Place::With(0) });
    let mut cell = settled(cell);
    let before = cell.clone();
    let no = Ask { watch: false, ..lock(2, 2) };
    assert_eq!(publish(&mut cell, no), Reply::Refused(Reason::ConditionNotMet));
    assert_eq!((cell.guard, cell.values.len()), (before.guard, 0));
}

#[test]
fn a_repeat_keeps_its_place_is_told_that_it_is_under_way_and_then_what_it_was_told() {
    let request = Request::Packet { packet_id: 5, digest: 9 };
    let kept = Holder { is_stored: true, ..holder(2) };
    let first = Ask { request, holder: kept, ..lock(2, 2) };
    let again = Ask { id: id(3), repeat: true, ..first.clone() };
    let mut cell = cell();
    publish(&mut cell, lock(1, 1));
    assert_eq!(publish(&mut cell, first.clone()), Reply::Waits { id: id(2) });
    let elsewhere = Ask { holder: Holder { home: 9, ..again.holder.clone() }, ..again.clone() };
    assert_eq!(publish(&mut cell, elsewhere), Reply::Waits { id: id(2) });
    assert_eq!((cell.guard.waiters.len(), cell.guard.waiters[0].holder.home), (1, 9), "it has moved");
    cell.decide(Input::Ended(holder(1)), &rules(), NOW);
    assert_eq!(publish(&mut cell, again.clone()), Reply::UnderWay { id: id(2) });
    let mut cell = settled(cell);
    cell.decide(Input::HandedOut(vec![id(2)]), &rules(), NOW);
    let Reply::Repeated { place: Place::At(_) } = publish(&mut cell, again.clone()) else {
        panic!("not told")
    };
    let other = Ask { id: id(4), repeat: false, ..again };
    assert_eq!(publish(&mut cell, other), Reply::Waits { id: id(4) }, "its packet id was used again");
}

#[test]
fn who_waits_too_long_leaves_and_nobody_behind_is_held_up() {
    let mut cell = cell();
    publish(&mut cell, lock(1, 1));
    publish(&mut cell, lock(2, 2));
    let later = UnixMillis(NOW.0 + 9_999);
    cell.decide(Input::Publish(Box::new(lock(3, 3))), &rules(), later);
    cell.decide(Input::Ended(holder(1)), &rules(), UnixMillis(NOW.0 + 10_000));
    let will = cell.guard.will.as_ref().expect("it is held");
    assert_eq!(will.holder, holder(3));
    cell.decide(Input::Look, &rules(), UnixMillis(NOW.0 + 10_000));
    assert!(cell.guard.waiters.is_empty());
}

#[test]
fn a_line_and_a_guard_have_their_bounds() {
    let mut cell = cell();
    let small = Rules { waiters_max: 2, ..rules() };
    let mut ask = |ask: Ask| cell.decide(Input::Publish(Box::new(ask)), &small, NOW);
    ask(lock(0, 0));
    assert_eq!(ask(lock(1, 1)), Reply::Waits { id: id(1) });
    assert_eq!(ask(lock(2, 2)), Reply::Waits { id: id(2) });
    assert_eq!(ask(lock(3, 3)), Reply::Refused(Reason::Quota));
    let large = Ask { message: message(&"x".repeat(50 << 10)), ..lock(4, 4) };
    let mut empty = self::cell();
    assert_eq!(publish(&mut empty, large), Reply::Refused(Reason::Quota));
    assert!(empty.values.is_empty() && empty.guard == Guard::default());
}

#[test]
fn a_long_chain_is_granted_in_several_steps() {
    let mut cell = cell();
    publish(&mut cell, plain("{\"n\":0}", 1000));
    for n in 0..50u64 {
        let when = Condition::parse(&format!("{{\"n\":{n}}}")).ok();
        let payload = format!("{{\"n\":{}}}", n + 1);
        let wants = Ask { when, message: message(&payload), will: None, ..lock(9, n) };
        // The first is not waiting: it is met at once.
        publish(&mut cell, wants);
        cell = settled(cell);
    }
    assert_eq!(cell.value.as_ref().map(|value| value.payload.clone()), Some(Bytes::from("{\"n\":50}")));
    let mut waiting = self::cell();
    publish(&mut waiting, plain("{\"n\":99}", 1000));
    for n in 0..50u64 {
        let when = Condition::parse(&format!("{{\"n\":{n}}}")).ok();
        let payload = format!("{{\"n\":{}}}", n + 1);
        publish(&mut waiting, Ask { when, message: message(&payload), will: None, ..lock(9, n) });
    }
    let mut waiting = settled(waiting);
    publish(&mut waiting, plain("{\"n\":0}", 1001));
    assert!(waiting.is_full() && !waiting.guard.waiters.is_empty());
    let mut waiting = settled(waiting);
    waiting.decide(Input::Look, &rules(), NOW);
    assert!(!waiting.is_full() && waiting.guard.waiters.is_empty());
}
