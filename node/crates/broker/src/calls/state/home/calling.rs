//! Calls at their home: found a registration, given to a callee, answered, canceled.

use super::super::{HOPS_MAX, Noted, State};
use super::{Call, Home, Progress};
use crate::calls::config::is_full;
use crate::calls::message::{CallId, Said, Stage};
use crate::calls::{Answer, CancelMode, Offer, Payload, Why};

/// Arguments that follow a call which waits for a callee: further ones end it.
const MORE_MAX: usize = 64;

impl Home {
    pub(super) fn runs_at(&self, call: CallId, lost: u64) -> bool {
        let call = self.calls.get(&call);
        call.is_some_and(|call| matches!(call.state, Progress::Runs { node, .. } if node == lost))
    }
}

impl State {
    /// A call arrives: at the home of its procedure, or at that of the patterns.
    pub(in crate::calls::state) fn dispatch(&mut self, call: CallId, offer: Box<Offer>, at: Stage, hops: u8) {
        if hops > HOPS_MAX {
            return self.answer(call, Answer::failed(Why::Unavailable));
        }
        let home = match at {
            Stage::Exact => self.view.home_of_topic(&self.realm, &offer.topic),
            Stage::Pattern => self.view.home_of_patterns(&self.realm),
        };
        let exact = self.home.exact.get(&offer.topic).copied().filter(|_| at == Stage::Exact);
        let patterns = self.view.home_of_patterns(&self.realm);
        if let Some(group) = exact {
            return self.give(call, group, offer, at, hops);
        }
        if home != self.me() {
            return self.hand_on(call, offer, (home, at), hops);
        }
        // A pattern is not called past an exact registration that may still be told.
        if !self.home.settled {
            return self.hold(call, offer, at, hops);
        }
        if patterns != self.me() {
            return self.hand_on(call, offer, (patterns, Stage::Pattern), hops);
        }
        match self.home.pattern_of(&offer.topic) {
            Some(group) => self.give(call, group, offer, at, hops),
            None => self.answer(call, Answer::failed(Why::NoSuchProcedure)),
        }
    }

    fn hand_on(&mut self, call: CallId, offer: Box<Offer>, (to, at): (u64, Stage), hops: u8) {
        self.home.handed_on.add(call, to);
        self.say(to, Said::Call { call, offer, at, hops: hops + 1 });
    }

    /// Keeps a call until what is registered elsewhere is told.
    fn hold(&mut self, call: CallId, offer: Box<Offer>, at: Stage, hops: u8) {
        if is_full(self.home.held.len(), self.config.queued_max.max(1)) {
            self.note(Noted::Refused);
            return self.answer(call, Answer::failed(Why::Unavailable));
        }
        let state = Progress::Waits { offer, more: Vec::new(), at, hops };
        self.home.calls.insert(call, Call { group: 0, tried: Vec::new(), state });
        self.home.held.push_back(call);
    }

    /// What was held is looked for anew.
    pub(super) fn release_held(&mut self) {
        for call in std::mem::take(&mut self.home.held) {
            self.dispatch_again(call);
        }
    }

    /// A call that waited, and what it waited for is not so any more.
    pub(super) fn dispatch_again(&mut self, call: CallId) {
        let Some(Call { state: Progress::Waits { offer, more, at, hops }, .. }) =
            self.home.calls.remove(&call)
        else {
            return;
        };
        self.dispatch(call, offer, at, hops);
        more.into_iter().for_each(|(payload, last)| self.home_more(call, payload, last));
    }

    /// Gives a call to a callee of the group, or lets it wait for one.
    fn give(&mut self, call: CallId, id: u64, offer: Box<Offer>, at: Stage, hops: u8) {
        let Some(group) = self.home.groups.get_mut(&id) else {
            return self.answer(call, Answer::failed(Why::NoSuchProcedure));
        };
        let waits = !group.queue.is_empty();
        match if waits { None } else { group.pick(&mut self.home.random, &[]) } {
            Some((node, slot)) => {
                let state = Progress::Runs { node, slot, abandoned: false };
                self.home.calls.insert(call, Call { group: id, tried: Vec::new(), state });
                self.say(node, Said::Invoke { call, slot, offer });
            }
            None if is_full(group.queue.len(), self.config.queued_max.max(1)) => {
                self.note(Noted::Refused);
                self.answer(call, Answer::failed(Why::NoAvailableCallee));
            }
            None => {
                group.queue.push_back(call);
                self.note(Noted::Queued);
                let state = Progress::Waits { offer, more: Vec::new(), at, hops };
                self.home.calls.insert(call, Call { group: id, tried: Vec::new(), state });
            }
        }
    }

    /// Somebody may be free: those who wait are next.
    pub(super) fn pump(&mut self, id: u64) {
        loop {
            let Some(group) = self.home.groups.get_mut(&id) else { return };
            if group.queue.is_empty() {
                return;
            }
            let Some((node, slot)) = group.pick(&mut self.home.random, &[]) else { return };
            let Some(call) = group.queue.pop_front() else { return };
            let Some(known) = self.home.calls.get_mut(&call) else {
                group.give_back(node, slot);
                continue;
            };
            let runs = Progress::Runs { node, slot, abandoned: false };
            if let Progress::Waits { offer, more, .. } = std::mem::replace(&mut known.state, runs) {
                self.say(node, Said::Invoke { call, slot, offer });
                for (payload, last) in more {
                    self.say(node, Said::InvokeMore { call, payload, last });
                }
            }
        }
    }

    /// A callee cannot take it: one that was not asked yet, if there is another.
    pub(in crate::calls::state) fn home_refused(
        &mut self,
        from: u64,
        call: CallId,
        slot: u64,
        offer: Box<Offer>,
    ) {
        let Some(known) = self.home.calls.get_mut(&call) else { return };
        let Progress::Runs { abandoned, .. } = known.state else { return };
        known.tried.push((from, slot));
        let id = known.group;
        let next = self.home.groups.get_mut(&id).and_then(|group| {
            group.give_back(from, slot);
            group.pick(&mut self.home.random, &known.tried)
        });
        match next.filter(|_| !abandoned) {
            Some((node, slot)) => {
                known.state = Progress::Runs { node, slot, abandoned: false };
                self.say(node, Said::Invoke { call, slot, offer });
            }
            None => {
                self.home.calls.remove(&call);
                self.note(Noted::Refused);
                if !abandoned {
                    self.answer(call, Answer::failed(Why::NoAvailableCallee));
                }
            }
        }
        self.pump(id);
    }

    pub(in crate::calls::state) fn home_more(&mut self, call: CallId, payload: Payload, last: bool) {
        let Some(known) = self.home.calls.get_mut(&call) else {
            if let Some(to) = self.home.handed_on.to.get(&call).copied() {
                self.say(to, Said::More { call, payload, last });
            }
            return;
        };
        match &mut known.state {
            Progress::Waits { more, .. } if more.len() < MORE_MAX => more.push((payload, last)),
            Progress::Waits { .. } => self.home_end(call, Answer::failed(Why::Unavailable)),
            Progress::Runs { node, abandoned: false, .. } => {
                let node = *node;
                self.say(node, Said::InvokeMore { call, payload, last });
            }
            Progress::Runs { .. } => {}
        }
    }

    pub(in crate::calls::state) fn home_yielded(&mut self, from: u64, call: CallId, answer: Answer) {
        let Some(known) = self.home.calls.get(&call) else { return self.note(Noted::LateAnswer) };
        let (group, Progress::Runs { node, slot, abandoned }) = (known.group, &known.state) else {
            return self.note(Noted::LateAnswer);
        };
        let (slot, abandoned) = (*slot, *abandoned);
        if *node != from {
            return self.note(Noted::LateAnswer);
        }
        if answer.is_final() {
            self.home.calls.remove(&call);
            if let Some(group) = self.home.groups.get_mut(&group) {
                group.give_back(from, slot);
            }
        }
        match abandoned {
            true => self.note(Noted::LateAnswer),
            false => self.answer(call, answer),
        }
        self.pump(group);
    }

    pub(in crate::calls::state) fn home_cancel(&mut self, call: CallId, mode: CancelMode, why: Why) {
        let Some(known) = self.home.calls.get_mut(&call) else {
            if let Some(to) = self.home.handed_on.to.get(&call).copied() {
                self.say(to, Said::Cancel { call, mode, why });
            }
            return;
        };
        let group = known.group;
        match &mut known.state {
            Progress::Waits { .. } => {
                self.home_forget(call);
                if mode == CancelMode::Kill {
                    self.answer(call, Answer::failed(why));
                }
            }
            Progress::Runs { abandoned: true, .. } => {}
            Progress::Runs { node, slot, abandoned } => {
                let (node, slot) = (*node, *slot);
                let callee = self.home.groups.get_mut(&group).and_then(|group| group.callee(node, slot));
                let interrupts = callee.is_none_or(|callee| callee.interruptible);
                let waits = mode == CancelMode::Kill && interrupts;
                *abandoned = !waits;
                if mode != CancelMode::Skip && interrupts {
                    self.say(node, Said::Interrupt { call, mode, why: why.clone() });
                }
                if mode == CancelMode::Kill && !waits {
                    self.answer(call, Answer::failed(why));
                }
            }
        }
    }

    /// Its caller's node is gone.
    pub(super) fn home_caller_gone(&mut self, call: CallId) {
        self.home_cancel(call, CancelMode::KillNoWait, Why::Canceled);
    }

    /// Ends a call for its caller; whoever is at work on it is told.
    pub(in crate::calls::state) fn home_end(&mut self, call: CallId, answer: Answer) {
        let Some(known) = self.home.calls.remove(&call) else { return };
        if let Progress::Runs { node, slot, abandoned } = known.state {
            if let Some(group) = self.home.groups.get_mut(&known.group) {
                group.give_back(node, slot);
            }
            if self.view.has(node) && !abandoned {
                let (mode, why) = (CancelMode::KillNoWait, Why::Canceled);
                self.say(node, Said::Interrupt { call, mode, why });
            }
            if !abandoned {
                self.answer(call, answer);
            }
            return self.pump(known.group);
        }
        self.answer(call, answer);
    }

    /// Takes a call that waits out of its queue.
    pub(in crate::calls::state) fn home_forget(&mut self, call: CallId) {
        let Some(known) = self.home.calls.remove(&call) else { return };
        match self.home.groups.get_mut(&known.group) {
            Some(group) => group.queue.retain(|waiting| *waiting != call),
            None => self.home.held.retain(|waiting| *waiting != call),
        }
    }

    fn answer(&mut self, call: CallId, answer: Answer) {
        self.say(call.node, Said::Answered { call, answer });
    }
}
