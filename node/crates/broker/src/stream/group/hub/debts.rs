//! What a partition's finished records have brought about: values kept and messages owed, on their way to the store and
//! out of it.
//!
//! An effect is stored in the very step that stores the progress it belongs to. A message is published after that, in
//! order, and the store is told with the next step. Who takes the partition over finds what was not told and publishes it
//! again, under the same ids.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;
use weir_model::{Message, MessageId};
use weir_store::{Outcome, PartitionOp, Refusal};

use crate::stream::group::effects::Kept;

/// Effects that are not stored, and messages that are not published, beyond which nothing new is handed out.
const UNSETTLED_MAX: usize = 4000;

/// Values remembered of those that are stored; and their bytes.
const VALUES_MAX: usize = 8192;
const VALUES_BYTES_MAX: usize = 16 << 20;

/// Messages published that the store has not been told of, in all partitions of a stream together: after a crash they are
/// published again, and the destinations have to know their ids still (`store.dedup_ids_max`, 1024 unless it is set).
const UNTOLD_MAX: usize = 1024;

/// Of these, in one partition: no more with fewer partitions, and no less however many there are.
const UNTOLD_OF_PARTITION: std::ops::RangeInclusive<usize> = 4..=256;

/// A message that the store has as owed.
#[derive(Debug, Clone)]
pub(in super::super) struct Owed {
    pub entry: u64,
    pub id: MessageId,
    pub message: Arc<Message>,
}

#[derive(Debug, Clone)]
enum Effect {
    Keep(Bytes, Option<Bytes>),
    Owe(MessageId, Arc<Message>),
}

#[derive(Debug, Default)]
pub(in super::super) struct Debts {
    /// Most messages published that the store was not told of.
    untold_max: usize,
    /// Of records that are finished, and not on their way to the store.
    fresh: Vec<Effect>,
    /// In the step that is under way.
    storing: Vec<Effect>,
    /// What this node knows the group to keep; it is the only one that changes it.
    values: HashMap<Bytes, Option<Bytes>>,
    values_bytes: usize,
    /// Stored, and to be published.
    owed: VecDeque<Owed>,
    /// The same, behind what the owner before has left and is not known whole yet.
    newer: VecDeque<Owed>,
    is_restored: bool,
    pub is_restoring: bool,
    pub is_publishing: bool,
    /// The partition is to be given back whether it is settled or not.
    pub is_late: bool,
    /// Not to be published before.
    pub publish_at: u64,
    /// Everything up to this entry is published.
    paid: u64,
    /// As far as the store knows, and as far as the step under way says.
    told: u64,
    telling: u64,
    /// Published ones that the store does not know of, and how many of them the step under way tells.
    untold: usize,
    untold_telling: usize,
    /// How often the first message owed was refused by where it goes, and why last.
    refusals: u32,
    refusal: Option<Refusal>,
    /// It is not tried any more.
    is_given_up: bool,
}

impl Debts {
    /// None yet; `partitions`: how many there are beside this one, itself included.
    pub fn new(partitions: u32) -> Debts {
        let (least, most) = UNTOLD_OF_PARTITION.into_inner();
        let untold_max = (UNTOLD_MAX / partitions.max(1) as usize).clamp(least, most);
        Debts { untold_max, ..Debts::default() }
    }

    /// What a finished record has the group keep.
    pub fn keep(&mut self, kept: Vec<(Bytes, Option<Bytes>)>) {
        for (key, value) in kept {
            self.remember(key.clone(), value.clone());
            self.fresh.push(Effect::Keep(key, value));
        }
    }

    /// What a finished record has the group owe.
    pub fn owe(&mut self, owed: impl Iterator<Item = (MessageId, Arc<Message>)>) {
        self.fresh.extend(owed.map(|(id, message)| Effect::Owe(id, message)));
    }

    /// Whether more records may be handed out.
    pub fn has_room(&self) -> bool {
        self.fresh.len() + self.storing.len() + self.owed.len() + self.newer.len() < UNSETTLED_MAX
    }

    /// Nothing is left to be stored, published or told.
    pub fn is_settled(&self) -> bool {
        let has_none = self.fresh.is_empty() && self.storing.is_empty() && self.owed.is_empty();
        has_none && self.is_restored && self.told == self.paid
    }

    /// Something is to be stored that no record's end brings along.
    pub fn wants_telling(&self) -> bool {
        self.told != self.paid
    }

    /// The ops that go with a commit.
    pub fn store(&mut self, group: &Arc<str>, fence: u64, ops: &mut SmallVec<[PartitionOp; 1]>) {
        self.storing = std::mem::take(&mut self.fresh);
        ops.extend(self.storing.iter().map(|effect| match effect.clone() {
            Effect::Keep(key, value) => PartitionOp::Keep { group: group.clone(), fence, key, value },
            Effect::Owe(id, message) => PartitionOp::Owe { group: group.clone(), fence, id, message },
        }));
        (self.telling, self.untold_telling) = (self.paid, self.untold);
        if self.telling != self.told {
            ops.push(PartitionOp::Paid { group: group.clone(), fence, through: self.telling });
        }
    }

    /// The step is stored: one outcome for each op that [`Debts::store`] gave.
    pub fn stored(&mut self, outcomes: &[Outcome]) {
        for (effect, outcome) in std::mem::take(&mut self.storing).into_iter().zip(outcomes) {
            if let (Effect::Owe(id, message), Outcome::Owed { entry }) = (effect, outcome) {
                let owed = if self.is_restored { &mut self.owed } else { &mut self.newer };
                owed.push_back(Owed { entry: *entry, id, message });
            }
        }
        self.told = self.told.max(self.telling);
        self.untold -= std::mem::take(&mut self.untold_telling);
        self.forget_some();
    }

    /// The step was certainly not stored: all of it goes with the next one.
    pub fn not_stored(&mut self) {
        let fresh = std::mem::take(&mut self.fresh);
        self.fresh = std::mem::take(&mut self.storing);
        self.fresh.extend(fresh);
    }

    /// Whether a step is under way that has effects.
    pub fn is_storing(&self) -> bool {
        !self.storing.is_empty()
    }

    /// Whether the step under way says what is published.
    pub fn is_telling(&self) -> bool {
        self.telling != self.told
    }

    /// Whether what the owner before has left is still to be read.
    pub fn wants_restoring(&self, now: u64) -> bool {
        !self.is_restored && !self.is_restoring && self.publish_at <= now
    }

    /// More of what the owner before has left, in order; `is_all` when nothing follows.
    pub fn restored(&mut self, found: Vec<Owed>, is_all: bool) {
        let known = self.newer.front().map_or(u64::MAX, |first| first.entry);
        self.owed.extend(found.into_iter().filter(|owed| owed.entry < known));
        self.is_restored = is_all;
        if is_all {
            self.owed.append(&mut self.newer);
        }
    }

    /// After which entry to go on restoring.
    pub fn restored_to(&self) -> u64 {
        self.owed.back().map_or(self.paid, |last| last.entry)
    }

    /// What is to be published next; it counts as being published.
    pub fn publish(&mut self, now: u64) -> Option<Vec<Owed>> {
        if self.is_given_up || !self.may_publish(now) {
            return None;
        }
        let room = self.untold_max.saturating_sub(self.untold);
        if room == 0 {
            return None;
        }
        self.is_publishing = true;
        // What comes behind a refused one is not to overtake it.
        let most = if self.refusals > 0 { 1 } else { room };
        Some(self.owed.iter().take(most).cloned().collect())
    }

    fn may_publish(&self, now: u64) -> bool {
        self.is_restored && !self.is_publishing && !self.owed.is_empty() && self.publish_at <= now
    }

    /// Where the first message owed goes refuses it, and would again: it is tried again `after` (by how often it was
    /// refused) milliseconds, or given up when it was refused `refusals_max` times. 0 = no limit.
    pub fn refused(&mut self, why: Refusal, refusals_max: u32, now: u64, after: impl FnOnce(u32) -> u64) {
        self.refusals = self.refusals.saturating_add(1);
        self.refusal = Some(why);
        self.is_given_up = refusals_max > 0 && self.refusals >= refusals_max;
        self.publish_at = if self.is_given_up { now } else { now.saturating_add(after(self.refusals)) };
    }

    /// A message that is not tried any more, how often it was refused and why; it counts as being published until
    /// [`Debts::published`] or [`Debts::not_buried`].
    pub fn give_up(&mut self, now: u64) -> Option<(Owed, u32, Refusal)> {
        if !self.is_given_up || !self.may_publish(now) {
            return None;
        }
        let found = (self.owed.front()?.clone(), self.refusals, self.refusal?);
        self.is_publishing = true;
        Some(found)
    }

    /// What was given up could not be kept as a dead letter: again at this time.
    pub fn not_buried(&mut self, again_at: u64) {
        self.is_publishing = false;
        self.publish_at = again_at;
    }

    /// The first `count` are published, or given up.
    pub fn published(&mut self, count: usize) {
        self.is_publishing = false;
        if count > 0 {
            (self.refusals, self.refusal, self.is_given_up) = (0, None, false);
        }
        for owed in self.owed.drain(..count.min(self.owed.len())) {
            self.paid = owed.entry;
            self.untold += 1;
        }
    }

    /// More is to be published, when the store has been told of what is.
    pub fn has_owed(&self) -> bool {
        !self.owed.is_empty()
    }

    /// What the group keeps under a key.
    pub fn kept(&self, key: &[u8]) -> Kept {
        self.values.get(key).map_or(Kept::Unknown, |value| Kept::Known(value.clone()))
    }

    /// What the store has said the group keeps under a key; what this node knows is newer.
    pub fn found(&mut self, key: Bytes, value: Option<Bytes>) {
        if !self.values.contains_key(&key) {
            self.remember(key, value);
        }
    }

    fn remember(&mut self, key: Bytes, value: Option<Bytes>) {
        let bytes = |key: &Bytes, value: &Option<Bytes>| key.len() + value.as_ref().map_or(0, Bytes::len);
        self.values_bytes += bytes(&key, &value);
        let key_bytes = key.len();
        if let Some(before) = self.values.insert(key, value) {
            self.values_bytes -= key_bytes + before.map_or(0, |before| before.len());
        }
    }

    /// What is stored may be asked for again.
    fn forget_some(&mut self) {
        if self.values.len() <= VALUES_MAX && self.values_bytes <= VALUES_BYTES_MAX {
            return;
        }
        let unstored: HashSet<&Bytes> = self
            .fresh
            .iter()
            .filter_map(|effect| if let Effect::Keep(key, _) = effect { Some(key) } else { None })
            .collect();
        self.values.retain(|key, _| unstored.contains(key));
        let bytes = |(key, value): (&Bytes, &Option<Bytes>)| key.len() + value.as_ref().map_or(0, Bytes::len);
        self.values_bytes = self.values.iter().map(bytes).sum();
    }
}

#[cfg(test)]
mod tests;
