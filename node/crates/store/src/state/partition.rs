//! A partition as the writer sees it: what it keeps, which records it has, which ids it has seen, its groups.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use weir_model::{MessageId, Position, UnixMillis};

use super::effects::Outbox;
use super::runs::Runs;
use super::window::Window;
use crate::row::{PlaceRow, SeenRow};
use crate::{GroupPlace, Incarnation, Mark, PartitionEnds, Progress, Retention, Start};

/// Above so many names of keys, those whose record is gone are looked for and forgotten.
const NEWEST_MIN: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Partition {
    /// Its rows lie under this.
    pub id: u64,
    pub retention: Retention,
    pub trimmed: Mark,
    pub tail: Mark,
    pub is_sealed: bool,
    pub runs: Runs,
    pub seen: Seen,
    pub newest: Newest,
    pub groups: BTreeMap<Arc<str>, Group>,
    /// Groups whose row is to be written with this group commit.
    pub changed_groups: Vec<Arc<str>>,
    /// Its row of ends is to be written with this group commit.
    pub is_changed: bool,
}

/// A group's place in the partition.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Its row lies under this.
    pub place: u64,
    pub owner: Option<Incarnation>,
    pub fence: u64,
    pub progress: Progress,
    /// Under which keys it keeps values: about 60 bytes each, and the key. The values are in the rows.
    pub kept: BTreeSet<Bytes>,
    pub outbox: Outbox,
}

impl Group {
    pub fn row(&self, group: &Arc<str>) -> PlaceRow {
        let Group { owner, fence, progress, .. } = self;
        PlaceRow { group: group.clone(), owner: *owner, fence: *fence, progress: progress.clone() }
    }

    pub fn is_held_under(&self, fence: u64) -> bool {
        self.owner.is_some() && self.fence == fence
    }
}

/// How many records were let go, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LetGo {
    pub records: u64,
    pub bytes: u64,
}

impl Partition {
    pub fn ends(&self) -> PartitionEnds {
        let Partition { trimmed, tail, is_sealed, runs, .. } = self;
        PartitionEnds {
            trimmed: *trimmed,
            tail: *tail,
            records: runs.records(),
            bytes: runs.bytes(),
            is_sealed: *is_sealed,
        }
    }

    /// By name.
    pub fn places(&self) -> Vec<GroupPlace> {
        let place = |(group, place): (&Arc<str>, &Group)| GroupPlace {
            group: group.clone(),
            owner: place.owner,
            fence: place.fence,
            progress: place.progress.clone(),
            kept: place.kept.len() as u64,
            owed: place.outbox.len() as u64,
        };
        self.groups.iter().map(place).collect()
    }

    /// The number of the first record a reader is to see, as far as this knows: one below those that are there if it
    /// is not known any more.
    pub fn first_for(&self, start: Start) -> u64 {
        let behind = |mark: Option<Mark>| mark.map_or(0, |mark| mark.number + 1);
        match start {
            Start::Earliest => 0,
            Start::Latest => self.tail.number + 1,
            Start::After(position) => behind(self.runs.last_up_to(position)),
            Start::At(at) => behind(self.runs.last_before(at)),
        }
    }

    /// What a group that starts here has behind it.
    pub fn low_for(&self, start: Start) -> Mark {
        match start {
            Start::Earliest => self.trimmed,
            Start::Latest => self.tail,
            Start::After(position) if position < self.trimmed.position => Mark { position, number: 0 },
            Start::After(position) => self.runs.last_up_to(position).unwrap_or(self.trimmed),
            Start::At(at) => self.runs.last_before(at).unwrap_or(self.trimmed),
        }
    }

    /// Lets go what is over the bounds in number and bytes, and what is older than they allow: of that at most
    /// `aged_max`.
    pub fn trim(&mut self, now: UnixMillis, aged_max: u64) -> LetGo {
        let Retention { records_max, bytes_max, age_max_ms, .. } = self.retention;
        let (mut gone, mut aged) = (LetGo::default(), 0);
        while let Some((oldest, _)) = self.runs.first() {
            let (records, bytes) = (self.runs.records(), self.runs.bytes());
            let too_many = records_max > 0 && records > records_max;
            let too_large = bytes_max > 0 && bytes > bytes_max && records > 1;
            if !too_many && !too_large {
                let is_old = age_max_ms > 0 && oldest.position.ms.saturating_add(age_max_ms) <= now.0;
                if !is_old || aged >= aged_max {
                    break;
                }
                aged += 1;
            }
            self.let_oldest_go(&mut gone);
        }
        gone
    }

    /// Lets go every record up to a position.
    pub fn trim_up_to(&mut self, position: Position) -> LetGo {
        let mut gone = LetGo::default();
        while self.runs.first().is_some_and(|(oldest, _)| oldest.position <= position) {
            self.let_oldest_go(&mut gone);
        }
        gone
    }

    fn let_oldest_go(&mut self, gone: &mut LetGo) {
        if let Some((mark, bytes)) = self.runs.pop_first() {
            self.trimmed = mark;
            gone.records += 1;
            gone.bytes += u64::from(bytes);
        }
    }

    /// Its ends are to be written; whether nothing of it was before.
    pub fn note(&mut self) -> bool {
        !std::mem::replace(&mut self.is_changed, true) && self.changed_groups.is_empty()
    }

    /// The same for the row of a group.
    pub fn note_group(&mut self, group: &Arc<str>) -> bool {
        let is_first = !self.is_changed && self.changed_groups.is_empty();
        if !self.changed_groups.contains(group) {
            self.changed_groups.push(group.clone());
        }
        is_first
    }
}

/// The last so many message ids, each with the place its record got.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    ids: Window,
    marks: VecDeque<Mark>,
}

impl Seen {
    pub fn get(&self, id: &MessageId) -> Option<Mark> {
        self.marks.get(self.ids.index_of(id)?).copied()
    }

    /// Puts in an id that is not here yet; its row lies at `at % capacity`.
    pub fn insert(&mut self, id: MessageId, mark: Mark, capacity: usize) -> SeenRow {
        while self.marks.len() >= capacity.max(1) {
            self.marks.pop_front();
        }
        self.marks.push_back(mark);
        SeenRow { at: self.ids.insert(id, capacity), id, mark }
    }

    /// How many places of a ring of `capacity` are taken.
    pub fn places(&self, capacity: usize) -> u64 {
        self.ids.places(capacity)
    }

    /// What was found in the tables, in any order.
    pub fn restore(mut rows: Vec<SeenRow>, capacity: usize) -> Seen {
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.at));
        let mut found = HashSet::new();
        rows.retain(|row| found.insert(row.id));
        rows.truncate(capacity.max(1));
        rows.reverse();
        let ids = Window::restore(rows.iter().map(|row| (row.at, row.id)).collect(), capacity);
        Seen { ids, marks: rows.iter().map(|row| row.mark).collect() }
    }
}

/// Which record is the newest with its key, in a partition that is compacted: 32 bytes a key. A key is known by 128 bits
/// of a seeded hash.
#[derive(Debug, Default)]
pub(crate) struct Newest(hashbrown::HashMap<u128, u64>);

impl Newest {
    /// A record with this key came; the number of the one before it, if any was known.
    pub fn replace(&mut self, key: u128, number: u64) -> Option<u64> {
        self.0.insert(key, number)
    }

    /// Forgets keys whose record was let go once they are more than half of all.
    pub fn tidy(&mut self, trimmed: u64, records: u64) {
        if self.0.len() > NEWEST_MIN && self.0.len() as u64 > 2 * records {
            self.0.retain(|_, number| *number > trimmed);
        }
    }

    pub fn clear(&mut self) {
        self.0 = hashbrown::HashMap::new();
    }
}
