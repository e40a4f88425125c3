//! What is known of a peer's interest: takes its frames and says what they change.

use std::collections::HashSet;
use std::sync::Arc;

use weir_model::Filter;

use super::Digest;
use crate::link::InterestChange;
use crate::link::wire::{Violation, proto};
use proto::interest_frame::Frame;

/// Names of realms kept to be shared; a realm beyond has its name once a frame.
const REALMS_SHARED_MAX: usize = 1024;

/// The receiver's side of one link.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    /// The last change applied; 0 when a full set is not whole.
    applied: u64,
    state: State,
    digest: Digest,
    realms: HashSet<Arc<str>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing yet, or something was missed: nothing counts before a full set.
    #[default]
    Lost,
    /// A full set is coming.
    Full,
    /// Changes follow.
    Changes,
}

/// What a frame means for whoever keeps the peer's interest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// Forget all that is not named before the end.
    Full,
    FullEnd,
    Changed(Vec<InterestChange>),
    /// Compare with what is kept.
    Compare(Digest),
    /// All before it is applied.
    Barrier {
        interest: u64,
        mirror: u64,
    },
    /// Something is missing: ask for all; barriers not passed will come again.
    Resync,
    Nothing,
}

impl Follower {
    /// The last change applied; 0 = none.
    pub fn applied(&self) -> u64 {
        if self.state == State::Changes { self.applied } else { 0 }
    }

    /// Whether all that was said is known.
    pub fn is_whole(&self) -> bool {
        self.state == State::Changes
    }

    /// What the changes so far add up to.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// A new connection: a full set that was coming is not, and who has applied nothing is told all.
    pub fn restart(&mut self) {
        if self.applied() == 0 {
            self.state = State::Lost;
        }
    }

    /// What is kept is not what the peer wants.
    pub fn lose(&mut self) {
        self.state = State::Lost;
    }

    /// Takes one frame.
    ///
    /// # Errors
    /// A filter is none, or a realm is not named.
    pub fn take(&mut self, frame: Frame) -> Result<Followed, Violation> {
        match frame {
            Frame::Full(_) => {
                (self.state, self.digest) = (State::Full, Digest::default());
                Ok(Followed::Full)
            }
            Frame::Changes(changes) if changes.first == 0 && self.state == State::Full => {
                Ok(Followed::Changed(self.apply(changes)?))
            }
            Frame::FullEnd(end)
                if self.state == State::Full
                    && self.digest == (Digest { sum: end.sum, filters: end.filters }) =>
            {
                (self.state, self.applied) = (State::Changes, end.version);
                Ok(Followed::FullEnd)
            }
            Frame::Changes(changes) if self.state == State::Changes => self.changes(changes),
            Frame::Changes(changes) if changes.first != 0 && self.state == State::Full => Ok(self.miss()),
            Frame::Digest(theirs) if self.state == State::Changes && theirs.version == self.applied => {
                Ok(Followed::Compare(Digest { sum: theirs.sum, filters: theirs.filters }))
            }
            // It stands behind all it is the sum of.
            Frame::Digest(_) | Frame::FullEnd(_) => Ok(self.miss()),
            Frame::Barrier(proto::Barrier { interest, mirror, version })
                if self.state == State::Changes && version == self.applied =>
            {
                Ok(Followed::Barrier { interest, mirror })
            }
            // It would be passed without what was said before it.
            Frame::Barrier(_) => Ok(self.miss()),
            _ => Ok(Followed::Nothing),
        }
    }

    fn changes(&mut self, changes: proto::Changes) -> Result<Followed, Violation> {
        if changes.first != self.applied + 1 || changes.last < changes.first {
            return Ok(self.miss());
        }
        let last = changes.last;
        let applied = self.apply(changes)?;
        self.applied = last;
        Ok(Followed::Changed(applied))
    }

    fn miss(&mut self) -> Followed {
        self.state = State::Lost;
        Followed::Resync
    }

    fn apply(&mut self, changes: proto::Changes) -> Result<Vec<InterestChange>, Violation> {
        let realms: Vec<_> = changes.realms.iter().map(|realm| self.realm(realm)).collect();
        let mut applied = Vec::with_capacity(changes.changes.len());
        for change in changes.changes {
            let realm = realms.get(change.realm as usize);
            let realm = realm.ok_or(Violation::Message { what: "a realm without a name" })?.clone();
            let filter = Filter::try_from(Arc::<str>::from(change.filter));
            let filter = filter.map_err(|_| Violation::Message { what: "not a filter" })?;
            self.digest.change(&realm, &filter, change.was, change.now);
            applied.push(InterestChange { realm, filter, members: change.now });
        }
        Ok(applied)
    }

    /// The peer names its realms in every frame; their texts are shared.
    fn realm(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.realms.get(name) {
            return known.clone();
        }
        let realm = Arc::<str>::from(name);
        if self.realms.len() < REALMS_SHARED_MAX {
            self.realms.insert(realm.clone());
        }
        realm
    }
}
