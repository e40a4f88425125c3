//! Random work on partitions, groups, tables and idempotency keys.

use bytes::Bytes;
use proptest::prelude::*;
use weir_model::{MessageId, Topic, UnixMillis};
use weir_store::suite::{Held, ask, ask_stream, ask_table, info, message, partition, restore};
use weir_store::{
    Append, Expect, Mark, Outcome, Page, PartitionKey, PartitionOp, Progress, Refusal, Retention, Start,
    Step, Store, TableOp, TopicOp,
};

#[derive(Debug, Clone)]
pub enum Act {
    Configure {
        part: usize,
        records_max: u64,
        bytes_max: u64,
        is_compacted: bool,
    },
    Append {
        part: usize,
        key: usize,
        bytes: usize,
        id: Option<u64>,
    },
    /// Many at once.
    Burst {
        part: usize,
        records: usize,
    },
    Trim {
        part: usize,
        number: u64,
    },
    Seal {
        part: usize,
    },
    Drop {
        part: usize,
    },
    Acquire {
        part: usize,
        group: usize,
        start: usize,
    },
    Commit {
        part: usize,
        group: usize,
        low: u64,
        old: bool,
        release: bool,
    },
    Seek {
        part: usize,
        group: usize,
        start: usize,
    },
    Forget {
        part: usize,
        group: usize,
    },
    /// What a handler commits beside its progress.
    Effects {
        part: usize,
        group: usize,
        keeps: Vec<(usize, bool)>,
        owes: Vec<u64>,
        paid: u64,
        old: bool,
    },
    Put {
        key: usize,
        expect: usize,
    },
    Delete {
        key: usize,
        expect: usize,
    },
    Claim {
        key: usize,
        id: u64,
        lasts: bool,
    },
    Settle {
        key: usize,
        id: u64,
    },
}

const PARTS: usize = 2;
const GROUPS: usize = 2;

pub fn act() -> impl Strategy<Value = Act> {
    let part = || 0..PARTS;
    let group = || 0..GROUPS;
    prop_oneof![
        3 => (part(), 0..8u64, prop_oneof![Just(0), 50..400u64], any::<bool>()).prop_map(
            |(part, records_max, bytes_max, is_compacted)| Act::Configure {
                part, records_max, bytes_max, is_compacted
            }
        ),
        10 => (part(), 0..4usize, 5..90usize, prop::option::of(0..6u64))
            .prop_map(|(part, key, bytes, id)| Act::Append { part, key, bytes, id }),
        2 => (part(), 1..100usize).prop_map(|(part, records)| Act::Burst { part, records }),
        2 => (part(), 0..40u64).prop_map(|(part, number)| Act::Trim { part, number }),
        1 => part().prop_map(|part| Act::Seal { part }),
        1 => part().prop_map(|part| Act::Drop { part }),
        3 => (part(), group(), 0..4usize).prop_map(|(part, group, start)| Act::Acquire { part, group, start }),
        4 => (part(), group(), 0..40u64, prop::bool::weighted(0.2), prop::bool::weighted(0.3))
            .prop_map(|(part, group, low, old, release)| Act::Commit { part, group, low, old, release }),
        5 => (
            (part(), group(), prop::bool::weighted(0.1), prop_oneof![Just(0), 0..12u64]),
            prop::collection::vec((0..4usize, any::<bool>()), 0..4),
            prop::collection::vec(0..9u64, 0..4),
        )
            .prop_map(|((part, group, old, paid), keeps, owes)| {
                Act::Effects { part, group, keeps, owes, paid, old }
            }),
        1 => (part(), group(), 0..4usize).prop_map(|(part, group, start)| Act::Seek { part, group, start }),
        1 => (part(), group()).prop_map(|(part, group)| Act::Forget { part, group }),
        2 => (0..2usize, 0..3usize).prop_map(|(key, expect)| Act::Put { key, expect }),
        1 => (0..2usize, 0..3usize).prop_map(|(key, expect)| Act::Delete { key, expect }),
        2 => (0..2usize, 0..3u64, any::<bool>()).prop_map(|(key, id, lasts)| Act::Claim { key, id, lasts }),
        1 => (0..2usize, 0..3u64).prop_map(|(key, id)| Act::Settle { key, id }),
    ]
}

/// What one backend gave: marks of each partition, fences of each place, versions of each row.
#[derive(Default)]
pub struct Side {
    marks: [Vec<Mark>; PARTS],
    fences: [[u64; GROUPS]; PARTS],
    versions: [u64; 2],
}

fn key(part: usize) -> PartitionKey {
    partition(&format!("p{part}"))
}

fn group(group: usize) -> std::sync::Arc<str> {
    format!("g{group}").into()
}

fn append(key: usize, bytes: usize, id: Option<u64>, turn: usize) -> PartitionOp {
    let key = if key == 0 { Bytes::new() } else { Bytes::from(format!("k{key}")) };
    let id = id.map(|id| MessageId::received(3, 3, id));
    PartitionOp::Append(Append { id, key, message: message(&format!("s{turn}"), bytes) })
}

impl Side {
    /// Carries an act out; what was answered, without what each store chooses for itself.
    pub fn act(&mut self, store: &dyn Store, act: &Act, turn: usize) -> String {
        match act {
            Act::Configure { part, records_max, bytes_max, is_compacted } => {
                let (records_max, bytes_max, is_compacted) = (*records_max, *bytes_max, *is_compacted);
                // Compaction that begins later is made up for at the next start: not the same in memory.
                let had = info(store, &key(*part)).map(|found| found.retention.is_compacted);
                let retention = Retention {
                    records_max,
                    bytes_max,
                    is_compacted: had.unwrap_or(is_compacted),
                    age_max_ms: 0,
                };
                self.ask(store, *part, PartitionOp::Configure { retention })
            }
            Act::Append { part, key, bytes, id } => self.ask(store, *part, append(*key, *bytes, *id, turn)),
            Act::Burst { part, records } => {
                let one = |n| Step::Partition {
                    key: key(*part),
                    ops: [append(n % 3, 10, None, turn)].into_iter().collect(),
                };
                let answer = ask(store, (0..*records).map(one).collect());
                let all = answer.into_iter().map(|a| self.shape(*part, a.map(|mut o| o.remove(0))));
                all.collect::<Vec<_>>().join(" ")
            }
            Act::Trim { part, number } => {
                let before = self.mark(*part, *number).position;
                self.ask(store, *part, PartitionOp::Trim { before: Some(before) })
            }
            Act::Seal { part } => self.ask(store, *part, PartitionOp::Seal),
            Act::Drop { part } => {
                self.marks[*part].clear();
                self.ask(store, *part, PartitionOp::Drop)
            }
            _ => self.act_of_group(store, act, turn),
        }
    }

    fn act_of_group(&mut self, store: &dyn Store, act: &Act, turn: usize) -> String {
        match act {
            Act::Acquire { part, group: of, start } => {
                let start = self.start(*part, *start);
                let answer =
                    ask_stream(store, &key(*part), PartitionOp::Acquire { group: group(*of), start });
                if let Ok(Outcome::Acquired { fence, .. }) = &answer {
                    self.fences[*part][*of] = *fence;
                }
                self.shape(*part, answer)
            }
            Act::Commit { part, group: of, low, old, release } => {
                let fence = self.fences[*part][*of] - u64::from(*old && self.fences[*part][*of] > 0);
                let low = self.mark(*part, *low);
                let progress = Progress { low, done: vec![(low, low)], attempts: vec![] };
                let group = group(*of);
                self.ask(
                    store,
                    *part,
                    match release {
                        true => PartitionOp::Release { group, fence, progress },
                        false => PartitionOp::Commit { group, fence, progress },
                    },
                )
            }
            Act::Effects { part, group: of, keeps, owes, paid, old } => {
                let fence = self.fences[*part][*of] - u64::from(*old && self.fences[*part][*of] > 0);
                let held = Held { key: key(*part), group: group(*of), fence };
                let keeps = keeps.iter().map(|(name, is_kept)| match is_kept {
                    true => held.keep(&format!("k{name}"), &format!("v{turn}")),
                    false => held.forget(&format!("k{name}")),
                });
                let owes = owes.iter().map(|number| held.owe(*number));
                format!("{:?}", held.ask(store, keeps.chain(owes).chain([held.paid(*paid)])))
            }
            Act::Seek { part, group: of, start } => {
                let start = self.start(*part, *start);
                self.ask(store, *part, PartitionOp::Seek { group: group(*of), start })
            }
            Act::Forget { part, group: of } => {
                self.ask(store, *part, PartitionOp::Forget { group: group(*of) })
            }
            _ => self.act_of_table(store, act),
        }
    }

    fn act_of_table(&mut self, store: &dyn Store, act: &Act) -> String {
        let topic = |op| Step::Topic { realm: "default".into(), topic: Topic::new("c").unwrap(), op };
        let id = |id: &u64| MessageId::received(4, 4, *id);
        match act {
            Act::Put { key, expect } => {
                let value = Bytes::from(format!("v{key}{expect}"));
                self.change(store, *key, TableOp::Put { value, expect: self.expect(*key, *expect) })
            }
            Act::Delete { key, expect } => {
                self.change(store, *key, TableOp::Delete { expect: self.expect(*key, *expect) })
            }
            Act::Claim { key, id: count, lasts } => {
                let until = UnixMillis(if *lasts { 1 << 50 } else { 1 });
                let op = TopicOp::Claim { key: format!("i{key}").into(), id: id(count), until };
                match ask(store, vec![topic(op)]).remove(0).as_deref() {
                    Ok([Outcome::Claimed { id, settled, .. }]) => format!("{id:?} {settled}"),
                    other => panic!("not claimed: {other:?}"),
                }
            }
            Act::Settle { key, id: count } => {
                let op = TopicOp::Settle { key: format!("i{key}").into(), id: id(count) };
                format!("{:?}", ask(store, vec![topic(op)]))
            }
            other => unreachable!("{other:?} is another kind of act"),
        }
    }

    fn change(&mut self, store: &dyn Store, key: usize, op: TableOp) -> String {
        match ask_table(store, &format!("t{key}"), op) {
            Ok(Outcome::Put { version }) => {
                self.versions[key] = version;
                "put".to_owned()
            }
            Ok(Outcome::Differs { version }) => format!("differs {}", version.is_some()),
            other => panic!("{other:?}"),
        }
    }

    fn expect(&self, key: usize, expect: usize) -> Expect {
        [Expect::Anything, Expect::Absent, Expect::Version(self.versions[key])][expect]
    }

    /// The mark that a number got, or one before all.
    fn mark(&self, part: usize, number: u64) -> Mark {
        let found = self.marks[part].iter().find(|mark| mark.number == number);
        found.copied().unwrap_or_default()
    }

    fn start(&self, part: usize, start: usize) -> Start {
        let after = Start::After(self.mark(part, 5).position);
        [Start::Earliest, Start::Latest, after, Start::At(UnixMillis(1))][start]
    }

    /// Every place that is held is given back: a restart would do so.
    pub fn release_all(&mut self, store: &dyn Store) {
        for part in 0..PARTS {
            let places = info(store, &key(part)).map(|found| found.groups).unwrap_or_default();
            for place in places.into_iter().filter(|place| place.owner.is_some()) {
                let (group, fence, progress) = (place.group, place.fence, place.progress);
                ask_stream(store, &key(part), PartitionOp::Release { group, fence, progress }).unwrap();
            }
        }
    }

    fn ask(&mut self, store: &dyn Store, part: usize, op: PartitionOp) -> String {
        let answer = ask_stream(store, &key(part), op);
        self.shape(part, answer)
    }

    fn shape(&mut self, part: usize, answer: Result<Outcome, Refusal>) -> String {
        match answer {
            Ok(Outcome::Appended { mark, first }) => {
                if first {
                    self.marks[part].push(mark);
                }
                format!("{} {first}", mark.number)
            }
            Ok(Outcome::Acquired { progress, .. }) => format!("acquired {}", numbers(&progress)),
            other => format!("{other:?}"),
        }
    }
}

fn numbers(progress: &Progress) -> String {
    let done: Vec<_> = progress.done.iter().map(|(first, last)| (first.number, last.number)).collect();
    format!("{} {done:?}", progress.low.number)
}

/// Everything there is, without what each store chooses for itself.
pub fn look(store: &dyn Store) -> String {
    let mut seen = String::new();
    for part in 0..PARTS {
        let Some(found) = info(store, &key(part)) else { continue };
        let ends = found.ends;
        seen += &format!(
            "{part}: {} {} {} {} {} {:?}\n",
            ends.trimmed.number, ends.tail.number, ends.records, ends.bytes, ends.is_sealed, found.retention
        );
        for place in &found.groups {
            seen += &format!("{} {} {}\n", place.group, place.owner.is_some(), numbers(&place.progress));
            let held = Held { key: key(part), group: place.group.clone(), fence: place.fence };
            let (values, owed) = (held.values(store), held.owed(store, 0, 100));
            assert_eq!((place.kept, place.owed), (values.len() as u64, owed.len() as u64));
            seen += &format!("{values:?} {owed:?}\n");
        }
        let mut start = Start::Earliest;
        let page = Page { rows_max: 20, bytes_max: 300 };
        loop {
            let page = weir_store::suite::wait(store.read_stream(key(part), start, page)).unwrap();
            assert_eq!(page.ends, ends);
            let Some(last) = page.records.last() else { break };
            start = Start::After(last.mark.position);
            for record in &page.records {
                seen += &format!("{} {:?} {:?}\n", record.mark.number, record.key, record.message.payload);
            }
        }
    }
    let mut rows = restore(store).0.table_rows();
    rows.sort();
    rows.into_iter().for_each(|(key, _, value)| seen += &format!("{key} {value:?}\n"));
    let account = store.account();
    seen + &format!("{} {} {}\n", account.stream_records, account.stream_bytes, account.idempotency_keys)
}
