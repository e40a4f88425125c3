//! Members that do what they like, nodes that die at any moment: nothing is lost, and keys stay in order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const KEYS: [&str; 5] = ["", "a", "b", "c", "d"];
const MEMBERS: u32 = 3;

#[derive(Debug, Clone)]
enum Do {
    Append(Vec<u8>),
    Read(usize),
    Take {
        member: u32,
        records: u32,
    },
    Ack {
        nth: usize,
    },
    /// As another member, or a second time.
    AckWrongly {
        nth: usize,
    },
    Nack {
        nth: usize,
        delay: u64,
    },
    Pass(u64),
    Leave(u32),
    Commit,
    /// The node dies: what was not committed comes again.
    Die,
}

fn what() -> impl Strategy<Value = Do> {
    prop_oneof![
        4 => prop::collection::vec(0..5_u8, 1..20).prop_map(Do::Append),
        4 => (1..30_usize).prop_map(Do::Read),
        6 => (0..MEMBERS, 1..12_u32).prop_map(|(member, records)| Do::Take { member, records }),
        12 => (0..1000_usize).prop_map(|nth| Do::Ack { nth }),
        2 => (0..1000_usize).prop_map(|nth| Do::AckWrongly { nth }),
        4 => (0..1000_usize, prop_oneof![Just(0), 1..300_u64]).prop_map(|(nth, delay)| Do::Nack { nth, delay }),
        3 => (1..80_u64).prop_map(Do::Pass),
        1 => (0..MEMBERS).prop_map(Do::Leave),
        2 => Just(Do::Commit),
        1 => Just(Do::Die),
    ]
}

#[derive(Debug, Clone, Copy)]
struct Held {
    member: u32,
    number: u64,
    attempt: u32,
}

struct World {
    place: Place,
    /// By number.
    log: BTreeMap<u64, Record>,
    tail: u64,
    stored: Progress,
    held: Vec<Held>,
    /// Acked since the start, and acked before the last commit.
    acked: BTreeMap<u64, bool>,
    now: u64,
}

impl World {
    fn new() -> World {
        World {
            place: Place::new(Progress::default(), rules()),
            log: BTreeMap::new(),
            tail: 0,
            stored: Progress::default(),
            held: Vec::new(),
            acked: BTreeMap::new(),
            now: 0,
        }
    }

    fn read(&mut self, rows: usize) {
        let Some(Start::After(position)) = self.place.wants() else { return };
        let found = self.log.values().filter(|record| record.mark.position > position).take(rows);
        let records: Vec<_> = found.cloned().collect();
        let tail = if self.tail > 0 { mark(self.tail) } else { Mark::default() };
        let ends = PartitionEnds { tail, ..PartitionEnds::default() };
        let found = self.place.page(StreamPage { records, ends }, self.now, UnixMillis(UNIX.0 + self.now));
        assert_eq!(found, Found::default());
    }

    fn take(&mut self, member: u32, records: u32) {
        let mut room = Room { records, bytes: u64::MAX, is_empty: true };
        let mut out = Vec::new();
        self.place.deliver(member, &mut room, self.now, &mut out);
        for handed in out {
            let number = handed.record.mark.number;
            assert!(!self.held.iter().any(|held| held.number == number), "{number} is out twice");
            assert!(self.acked.get(&number) != Some(&true), "{number} was acked and committed");
            self.is_in_order(member, &handed.record);
            self.held.push(Held { member, number, attempt: handed.deliveries });
        }
    }

    /// Every earlier record of its key is finished, or with the same member.
    fn is_in_order(&self, member: u32, record: &Record) {
        let earlier = self.log.range(..record.mark.number).map(|(_, earlier)| earlier);
        for earlier in earlier.filter(|earlier| !record.key.is_empty() && earlier.key == record.key) {
            let number = earlier.mark.number;
            let is_here = self.held.iter().any(|held| held.number == number && held.member == member);
            let is_finished = self.acked.contains_key(&number);
            assert!(is_here || is_finished, "{} before {number}", record.mark.number);
        }
        for held in self.held.iter().filter(|held| held.member != member) {
            let key = self.log.get(&held.number).map(|record| record.key.clone()).unwrap_or_default();
            assert!(key.is_empty() || key != record.key, "a key is with two members");
        }
    }

    fn nth(&mut self, nth: usize) -> Option<Held> {
        let len = self.held.len();
        (len > 0).then(|| self.held.swap_remove(nth % len))
    }

    fn lose(&mut self, taken: &[Taken]) {
        self.held.retain(|held| !taken.iter().any(|taken| taken.mark.number == held.number));
    }

    fn act(&mut self, what: Do) {
        match what {
            Do::Append(keys) => {
                for key in keys {
                    self.tail += 1;
                    self.log.insert(self.tail, record(self.tail, KEYS[usize::from(key)]));
                }
                self.place.grown(mark(self.tail));
            }
            Do::Read(rows) => self.read(rows),
            Do::Take { member, records } => self.take(member, records),
            Do::Ack { nth } => {
                if let Some(held) = self.nth(nth) {
                    self.place.ack(held.member, mark(held.number), held.attempt).unwrap();
                    self.acked.entry(held.number).or_insert(false);
                }
            }
            Do::AckWrongly { nth } => {
                if let Some(Held { member, number, attempt }) = self.held.get(nth % self.held.len().max(1)) {
                    assert_eq!(self.place.ack(member + 1, mark(*number), *attempt), Err(NotYours::Others));
                    assert!(self.place.ack(*member, mark(*number), attempt + 1).is_err());
                }
            }
            Do::Nack { nth, delay } => {
                if let Some(held) = self.nth(nth) {
                    let (member, number, attempt) = (held.member, held.number, held.attempt);
                    self.place.nack(member, mark(number), attempt, Some(delay), self.now).unwrap();
                }
            }
            Do::Pass(ms) => self.pass(ms),
            Do::Leave(member) => {
                let mut taken = Vec::new();
                self.place.recall(self.now, |held| held == member, &mut taken);
                self.lose(&taken);
                assert!(self.held.iter().all(|held| held.member != member));
            }
            Do::Commit => {
                self.stored = self.place.progress(self.now, UnixMillis(UNIX.0 + self.now));
                self.acked.values_mut().for_each(|committed| *committed = true);
            }
            Do::Die => {
                self.held.clear();
                self.acked.retain(|_, committed| *committed);
                self.place = Place::new(self.stored.clone(), rules());
                self.place.grown(mark(self.tail));
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        let mut taken = Vec::new();
        self.place.tick(self.now, &mut taken);
        self.lose(&taken);
    }

    /// One good member finishes what is left.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            if self.place.low().number == self.tail {
                return;
            }
            self.read(50);
            self.take(9, 50);
            while let Some(held) = self.nth(0) {
                self.place.ack(held.member, mark(held.number), held.attempt).unwrap();
                self.acked.entry(held.number).or_insert(false);
            }
            self.pass(20);
        }
        panic!("it does not come to its end");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_keys_stay_in_order_whatever_members_and_nodes_do(
        whats in prop::collection::vec(what(), 1..200),
    ) {
        let mut world = World::new();
        for what in whats {
            world.act(what);
        }
        world.drain();
        prop_assert!((1..=world.tail).all(|number| world.acked.contains_key(&number)));
        prop_assert_eq!(world.place.progress(0, UNIX).done.len(), 0);
        prop_assert!(world.place.window.is_empty());
        prop_assert_eq!((world.place.out(), world.place.keys.held()), (0, 0));
    }
}
