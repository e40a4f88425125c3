//! The account over all shards: each as it was when it last answered.

use parking_lot::Mutex;

use super::decode::{DecodeError, Values, unpacked};
use super::layout::Layout;
use super::shard::Shard;
use crate::Account;

/// The row of a shard, in the order in which the functions answer it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ShardRow {
    pub epoch: u64,
    /// What the next generation, fence or entry is made of.
    pub counter: u64,
    /// How many batches were applied again after rollbacks.
    pub healed: u64,
    /// What it holds, and what has come and gone since the store was made.
    pub account: Account,
    /// Raised by every batch that changes the row.
    pub version: u64,
}

impl ShardRow {
    pub fn of(packed: &[u8]) -> Result<ShardRow, DecodeError> {
        let list = unpacked(packed)?;
        let mut values = Values::of(&list)?;
        let epoch = values.number()?;
        let (counter, _group_base) = (values.number()?, values.number()?);
        let mut next = || values.number();
        let mut account = Account {
            queued_messages: next()?,
            queued_bytes: next()?,
            delayed_messages: next()?,
            delayed_bytes: next()?,
            retained_messages: next()?,
            retained_bytes: next()?,
            added: next()?,
            acknowledged: next()?,
            dropped: next()?,
            ended: next()?,
            not_taken: next()?,
            ..Account::default()
        };
        let (version, healed, _floor) = (next()?, next()?, next()?);
        account.stream_records = next()?;
        account.stream_bytes = next()?;
        account.appended = next()?;
        account.trimmed = next()?;
        account.compacted = next()?;
        account.stream_ended = next()?;
        account.idempotency_keys = next()?;
        account.idempotency_keys_dropped = next()?;
        Ok(ShardRow { epoch, counter, healed, account, version })
    }
}

/// All shards as far as this node was told.
pub(super) struct Accounts {
    layout: Layout,
    known: Mutex<Known>,
}

struct Known {
    rows: Vec<ShardRow>,
    sum: Account,
}

impl Accounts {
    pub fn new(layout: &Layout) -> Accounts {
        let rows = vec![ShardRow::default(); layout.all().count()];
        Accounts { layout: layout.clone(), known: Mutex::new(Known { rows, sum: Account::default() }) }
    }

    /// A shard answered this; the sum over all. An older row than the known one changes nothing.
    pub fn note(&self, shard: Shard, row: ShardRow) -> Account {
        let mut known = self.known.lock();
        let Known { rows, sum } = &mut *known;
        if let Some(old) = rows.get_mut(self.layout.index(shard))
            && (old.epoch, old.version) <= (row.epoch, row.version)
        {
            each(sum, &old.account, |sum, old| sum.wrapping_sub(old));
            each(sum, &row.account, |sum, new| sum.wrapping_add(new));
            *old = row;
        }
        *sum
    }

    pub fn sum(&self) -> Account {
        self.known.lock().sum
    }

    /// What a shard answered last.
    pub fn row(&self, shard: Shard) -> ShardRow {
        self.known.lock().rows.get(self.layout.index(shard)).copied().unwrap_or_default()
    }

    /// What all shards but this one hold.
    pub fn beside(&self, shard: Shard) -> Account {
        let known = self.known.lock();
        let mut sum = known.sum;
        if let Some(row) = known.rows.get(self.layout.index(shard)) {
            each(&mut sum, &row.account, |sum, own| sum.wrapping_sub(own));
        }
        sum
    }
}

fn each(sum: &mut Account, other: &Account, apply: impl Fn(u64, u64) -> u64) {
    for (sum, other) in [
        (&mut sum.queued_messages, other.queued_messages),
        (&mut sum.queued_bytes, other.queued_bytes),
        (&mut sum.delayed_messages, other.delayed_messages),
        (&mut sum.delayed_bytes, other.delayed_bytes),
        (&mut sum.retained_messages, other.retained_messages),
        (&mut sum.retained_bytes, other.retained_bytes),
        (&mut sum.added, other.added),
        (&mut sum.acknowledged, other.acknowledged),
        (&mut sum.dropped, other.dropped),
        (&mut sum.ended, other.ended),
        (&mut sum.not_taken, other.not_taken),
        (&mut sum.stream_records, other.stream_records),
        (&mut sum.stream_bytes, other.stream_bytes),
        (&mut sum.appended, other.appended),
        (&mut sum.trimmed, other.trimmed),
        (&mut sum.compacted, other.compacted),
        (&mut sum.stream_ended, other.stream_ended),
        (&mut sum.idempotency_keys, other.idempotency_keys),
        (&mut sum.idempotency_keys_dropped, other.idempotency_keys_dropped),
    ] {
        *sum = apply(*sum, other);
    }
}
