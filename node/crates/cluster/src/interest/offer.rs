//! What one peer has been told of this node's interest, and what comes next.

use std::collections::VecDeque;

use weir_model::Filter;

use super::{Digest, LoggedChange, PARTS, Set, part_of, told};
use crate::link::wire::proto;
use proto::interest_frame::Frame;

/// Changes in one frame.
const CHANGES_MAX: usize = 1024;
/// Bytes of changes after which a frame is long enough.
const FRAME_BYTES: usize = 64 << 10;
/// What a change takes beside its filter, about.
const CHANGE_BYTES: usize = 8;

/// The sender's side of one link.
#[derive(Debug, Default)]
pub(crate) struct Offer {
    state: State,
    /// At which version each part of the set was read for the last full set, until changes are past all of them.
    read_at: Vec<u64>,
    /// The last of them. A peer that is not that far yet knows changes it has not counted.
    read_until: u64,
    /// Of the part that was read last.
    unsaid: VecDeque<proto::Changes>,
    /// What the full set that is being said has named.
    named: Digest,
}

#[derive(Debug, Default)]
enum State {
    /// Not connected.
    #[default]
    Idle,
    /// All is to be said.
    Begin,
    /// Parts before this one are said; changes follow from `version`.
    Full { next_part: usize, version: u64 },
    /// Changes up to this one are said.
    Changes { said: u64 },
}

impl Offer {
    /// A connection is there; the peer has applied everything up to `applied`, or nothing (0).
    pub fn begin(&mut self, applied: u64, set: &Set) {
        let goes_on = self.knows_all_since(applied, set);
        self.unsaid.clear();
        self.state = if goes_on { State::Changes { said: applied } } else { State::Begin };
    }

    /// A set that nobody ever wanted anything of has version 0: nothing to say, nothing to go on from.
    fn knows_all_since(&self, applied: u64, set: &Set) -> bool {
        let counted = applied >= self.read_until;
        applied != 0 && counted && (set.forgotten()..=set.version).contains(&applied)
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// The peer knows something else than it should.
    pub fn say_all(&mut self) {
        if !self.is_idle() {
            self.unsaid.clear();
            self.state = State::Begin;
        }
    }

    /// Whether the peer has been told all there is.
    pub fn is_through(&self, set: &Set) -> bool {
        matches!(self.state, State::Changes { said } if said == set.version)
    }

    /// A barrier behind all that was said; to be asked for when nothing is left to say.
    pub fn barrier(&self, (interest, mirror): (u64, u64)) -> Frame {
        let version = if let State::Changes { said } = self.state { said } else { 0 };
        Frame::Barrier(proto::Barrier { interest, mirror, version })
    }

    /// What to compare when it is through.
    pub fn digest(&self, set: &Set) -> Option<Frame> {
        let Digest { sum, filters } = set.digest;
        self.is_through(set).then_some(Frame::Digest(proto::Digest { version: set.version, sum, filters }))
    }

    /// The next frame; `None` when it is through.
    pub fn next_frame(&mut self, set: &Set) -> Option<Frame> {
        if let Some(changes) = self.unsaid.pop_front() {
            return Some(Frame::Changes(changes));
        }
        match self.state {
            State::Idle => None,
            State::Begin => {
                (self.read_at, self.named) = (vec![0; PARTS], Digest::default());
                self.state = State::Full { next_part: 0, version: set.version };
                Some(Frame::Full(proto::Full {}))
            }
            State::Full { next_part: PARTS, version } => {
                self.state = State::Changes { said: version };
                let Digest { sum, filters } = self.named;
                Some(Frame::FullEnd(proto::FullEnd { version, filters, sum }))
            }
            State::Full { next_part, version } => {
                let next_part = self.read_parts(set, next_part);
                self.state = State::Full { next_part, version };
                self.next_frame(set)
            }
            State::Changes { said } if said < set.forgotten() => {
                self.state = State::Begin;
                self.next_frame(set)
            }
            State::Changes { said } => self.changes_since(said, set).map(Frame::Changes),
        }
    }

    /// Reads parts of the set until they fill a frame; returns the first that was not read.
    fn read_parts(&mut self, set: &Set, mut part: usize) -> usize {
        let mut saying = Saying::default();
        while part < PARTS && self.unsaid.is_empty() {
            self.read_at[part] = set.version;
            self.read_until = set.version;
            for ((realm, filter), subscribers) in &set.parts[part] {
                let members = told(filter, *subscribers);
                self.named.change(&set.realms[*realm as usize], filter, 0, members);
                saying.change(*realm, filter, 0, members);
                if saying.bytes >= FRAME_BYTES {
                    self.unsaid.push_back(std::mem::take(&mut saying).frame(set, 0, 0));
                }
            }
            part += 1;
        }
        if !saying.changes.is_empty() {
            self.unsaid.push_back(saying.frame(set, 0, 0));
        }
        part
    }

    fn changes_since(&mut self, said: u64, set: &Set) -> Option<proto::Changes> {
        let skip = (said - set.forgotten()) as usize;
        let mut last = said;
        let mut saying = Saying::default();
        for change in set.log.range(skip..).take(CHANGES_MAX) {
            last += 1;
            if !self.was_read(last, change, set) {
                saying.change(change.realm, &change.filter, change.was, change.now);
            }
            if saying.bytes >= FRAME_BYTES {
                break;
            }
        }
        if last == said {
            return None;
        }
        self.state = State::Changes { said: last };
        if self.read_until <= last {
            self.read_at = Vec::new();
        }
        Some(saying.frame(set, said + 1, last))
    }

    /// Whether the full set had this change already, in the part it belongs to.
    fn was_read(&self, number: u64, change: &LoggedChange, set: &Set) -> bool {
        let realm = &set.realms[change.realm as usize];
        !self.read_at.is_empty() && self.read_at[part_of(realm, change.filter.as_str())] >= number
    }
}

/// A frame in the making: it names the realms it needs.
#[derive(Default)]
struct Saying {
    realms: Vec<u32>,
    changes: Vec<proto::Change>,
    bytes: usize,
}

impl Saying {
    fn change(&mut self, realm: u32, filter: &Filter, was: u32, now: u32) {
        let at = self.realms.iter().rposition(|known| *known == realm).unwrap_or_else(|| {
            self.realms.push(realm);
            self.realms.len() - 1
        });
        let filter = filter.as_str().to_owned();
        self.bytes += filter.len() + CHANGE_BYTES;
        self.changes.push(proto::Change { realm: at as u32, filter, was, now });
    }

    fn frame(self, set: &Set, first: u64, last: u64) -> proto::Changes {
        let realms = self.realms.iter().map(|realm| set.realms[*realm as usize].to_string()).collect();
        proto::Changes { first, last, realms, changes: self.changes }
    }
}
