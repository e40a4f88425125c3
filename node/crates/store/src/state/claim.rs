//! Idempotency keys: which publish a key stands for, and whether that is done.

use std::collections::VecDeque;
use std::sync::Arc;

use weir_model::{MessageId, Position, Topic, UnixMillis};
use xxhash_rust::xxh3::Xxh3;

use super::{Batch, Effects, State};
use crate::row::{ClaimRow, Kind, Row, id_key};
use crate::{Outcome, Refusal};

/// How many of the oldest keys one claim looks at to let go those whose time is over.
const SWEPT_PER_CLAIM: usize = 4;

/// How many keys that were replaced may stand in the line beside as many as there are.
const REPLACED_MAX: usize = 1024;

/// All keys, the oldest first. One is known by 128 bits of a seeded hash; its text stands in its row. Bounded by
/// `idempotency_keys_max`: then the oldest go before their time.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    by_key: hashbrown::HashMap<u128, Claim>,
    /// With those that were replaced since, until their turn comes.
    oldest: VecDeque<(u64, u128)>,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    /// Its row lies under this.
    entry: u64,
    id: MessageId,
    position: Position,
    until: UnixMillis,
    settled: bool,
}

/// A key with what it is scoped to.
pub(super) struct Scoped<'a> {
    pub realm: &'a Arc<str>,
    pub topic: &'a Topic,
    pub key: &'a Arc<str>,
}

impl Scoped<'_> {
    fn hash(&self, seed: u64) -> u128 {
        let mut hasher = Xxh3::with_seed(seed);
        for text in [self.realm, self.topic.as_str(), self.key] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.digest128()
    }

    fn row(&self, claim: Claim) -> Row {
        let Claim { id, position, until, settled, .. } = claim;
        let (realm, topic, key) = (self.realm.clone(), self.topic.clone(), self.key.clone());
        Row::Claim(Box::new(ClaimRow { realm, topic, key, id, position, until, settled }))
    }
}

impl State {
    pub(super) fn claim(
        &mut self,
        scoped: &Scoped<'_>,
        id: MessageId,
        until: UnixMillis,
        batch: &Batch,
        out: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let hash = scoped.hash(self.seed);
        if let Some(claim) = self.claims.by_key.get(&hash).filter(|claim| claim.until > batch.wall) {
            let Claim { id, position, settled, .. } = *claim;
            return Ok(Outcome::Claimed { id, position, settled });
        }
        if !batch.may_grow {
            return Err(Refusal::DiskFull);
        }
        self.forget_claims(batch.wall, out);
        self.position = self.position.next(batch.now.0);
        let (entry, position) = (self.next_number(), self.position);
        let claim = Claim { entry, id, position, until, settled: false };
        if let Some(old) = self.claims.insert(hash, claim) {
            out.delete(id_key(Kind::Claim, old));
        }
        self.account.idempotency_keys = self.claims.by_key.len() as u64;
        out.fresh(id_key(Kind::Claim, entry), scoped.row(claim));
        Ok(Outcome::Claimed { id, position, settled: false })
    }

    pub(super) fn settle_claim(&mut self, scoped: &Scoped<'_>, id: MessageId, out: &mut Effects) -> Outcome {
        let hash = scoped.hash(self.seed);
        if let Some(claim) =
            self.claims.by_key.get_mut(&hash).filter(|claim| claim.id == id && !claim.settled)
        {
            claim.settled = true;
            out.put(id_key(Kind::Claim, claim.entry), scoped.row(*claim));
        }
        Outcome::Done
    }

    /// Makes room for one more, and lets a few go whose time is over.
    fn forget_claims(&mut self, now: UnixMillis, out: &mut Effects) {
        let mut looked = 0;
        while let Some((entry, hash)) = self.claims.oldest.front().copied() {
            let full = self.claims.by_key.len() >= self.rules.idempotency_keys_max;
            let claim = self.claims.by_key.get(&hash).filter(|claim| claim.entry == entry);
            let is_over = claim.is_none_or(|claim| claim.until <= now);
            if !full && (!is_over || looked >= SWEPT_PER_CLAIM) {
                return;
            }
            looked += 1;
            if claim.is_some() {
                self.claims.by_key.remove(&hash);
                out.delete(id_key(Kind::Claim, entry));
                self.account.idempotency_keys_dropped += u64::from(!is_over);
            }
            self.claims.oldest.pop_front();
        }
    }

    /// A key that was found in the tables; they come in order of their entries.
    pub(super) fn restore_claim(&mut self, entry: u64, row: &ClaimRow) {
        let ClaimRow { realm, topic, key, id, position, until, settled } = row;
        let hash = Scoped { realm, topic, key }.hash(self.seed);
        let claim = Claim { entry, id: *id, position: *position, until: *until, settled: *settled };
        self.claims.insert(hash, claim);
        self.account.idempotency_keys = self.claims.by_key.len() as u64;
    }
}

impl Claims {
    /// Puts a key in the place of an older one, whose entry it returns.
    fn insert(&mut self, hash: u128, claim: Claim) -> Option<u64> {
        self.oldest.push_back((claim.entry, hash));
        let old = self.by_key.insert(hash, claim).map(|old| old.entry);
        if self.oldest.len() > 2 * self.by_key.len() + REPLACED_MAX {
            let by_key = &self.by_key;
            self.oldest.retain(|(entry, hash)| by_key.get(hash).is_some_and(|claim| claim.entry == *entry));
        }
        old
    }
}
