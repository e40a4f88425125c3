//! Barriers on one link: what this side asks, and what it owes the peer. Ids only grow, so one answer
//! passes all before it; one question of a kind is under way, later ones share the next.

use crate::links::Barrier;

#[derive(Debug, Clone, Copy, Default)]
struct Ask {
    wanted: u64,
    asked: u64,
    passed: u64,
}

/// Barriers this side has asked for.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    interest: Ask,
    mirror: Ask,
}

impl Asks {
    /// Somebody waits for barrier `id`.
    pub fn want(&mut self, kind: Barrier, id: u64) {
        let ask = self.of(kind);
        ask.wanted = ask.wanted.max(id);
    }

    fn of(&mut self, kind: Barrier) -> &mut Ask {
        match kind {
            Barrier::Interest => &mut self.interest,
            Barrier::Mirror => &mut self.mirror,
        }
    }

    /// What to ask now, (interest, mirror); to be called when all changes so far are said.
    pub fn next(&mut self) -> Option<(u64, u64)> {
        let mut asks = false;
        for ask in [&mut self.interest, &mut self.mirror] {
            if ask.wanted > ask.asked && ask.asked == ask.passed {
                ask.asked = ask.wanted;
                asks = true;
            }
        }
        asks.then_some((self.interest.asked, self.mirror.asked))
    }

    /// The peer has passed these; returns whether there is more to ask now.
    pub fn passed(&mut self, interest: u64, mirror: u64) -> bool {
        for (ask, passed) in [(&mut self.interest, interest), (&mut self.mirror, mirror)] {
            // What was asked on an earlier connection may be answered on this one.
            ask.passed = ask.passed.max(passed.min(ask.wanted));
            ask.asked = ask.asked.max(ask.passed);
        }
        [self.interest, self.mirror].iter().any(|ask| ask.wanted > ask.asked && ask.asked == ask.passed)
    }

    /// What was asked and not answered is asked again.
    pub fn restart(&mut self) {
        for ask in [&mut self.interest, &mut self.mirror] {
            ask.asked = ask.passed;
        }
    }

    /// The last barriers passed, (interest, mirror).
    pub fn all_passed(&self) -> (u64, u64) {
        (self.interest.passed, self.mirror.passed)
    }
}

/// Barriers the peer has asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Owed {
    pub interest: u64,
    /// Asked, when the mirror of the store is caught up.
    pub mirror_asked: u64,
    pub mirror: u64,
}

impl Owed {
    /// The peer asks; returns whether the mirror has to catch up.
    pub fn asked(&mut self, interest: u64, mirror: u64) -> bool {
        self.interest = self.interest.max(interest);
        self.mirror_asked = self.mirror_asked.max(mirror);
        self.mirror_asked > self.mirror
    }
}
