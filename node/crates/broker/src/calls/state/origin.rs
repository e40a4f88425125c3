//! The caller's node: which of its sessions waits for which call, until when, and who sees to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

use super::{Noted, State};
use crate::calls::config::is_full;
use crate::calls::mailbox::Delivery;
use crate::calls::message::{CallId, Said, Stage};
use crate::calls::{Answer, CallOptions, Caller, CancelMode, Misfit, Offer, Payload, Why};

/// The calls of this node's sessions.
#[derive(Default)]
pub(super) struct Origin {
    calls: HashMap<u64, Placed>,
    /// When each that has an end is over, in milliseconds of the broker's clock.
    deadlines: BTreeSet<(u64, u64)>,
    next: u64,
}

struct Placed {
    endpoint: u64,
    request: u64,
    /// The node that sees to it.
    at: u64,
    /// From how many homes it came there.
    hops: u8,
    deadline_ms: Option<u64>,
    /// Whether further arguments may follow.
    open: bool,
}

impl Origin {
    /// Numbers begin after `first`.
    pub fn new(first: u64) -> Origin {
        Origin { next: first, ..Origin::default() }
    }
}

impl State {
    /// A session calls. Further arguments of a call come under the same number.
    ///
    /// # Errors
    /// The number is another call's.
    pub fn call(
        &mut self,
        endpoint: u64,
        request: u64,
        (topic, payload): (Arc<str>, Payload),
        options: CallOptions,
        who: (Option<Arc<str>>, Option<Arc<str>>),
        now_ms: u64,
    ) -> Result<(), Misfit> {
        let Some(member) = self.members.get(&endpoint) else { return Ok(()) };
        if let Some(number) = member.requests.get(&request) {
            return self.call_more(*number, payload, !options.progress);
        }
        let (session, calls) = (member.endpoint.session(), member.requests.len());
        if is_full(calls, self.config.calls_max) || !member.endpoint.has_room() {
            self.note(Noted::Refused);
            self.deliver(
                endpoint,
                Delivery::Failed { request, why: Why::TooMany, payload: Payload::default() },
            );
            return Ok(());
        }
        self.origin.next += 1;
        let call = CallId { node: self.me(), number: self.origin.next };
        let at = self.view.home_of_topic(&self.realm, &topic);
        let deadline_ms = self.deadline(options.timeout_ms, now_ms);
        self.origin.deadlines.extend(deadline_ms.map(|at| (at, call.number)));
        let placed = Placed { endpoint, request, at, hops: 0, deadline_ms, open: options.progress };
        self.origin.calls.insert(call.number, placed);
        if let Some(member) = self.members.get_mut(&endpoint) {
            member.requests.insert(request, call.number);
        }
        self.note(Noted::Called);
        let offer = Box::new(Offer {
            topic,
            payload,
            receive_progress: options.receive_progress,
            progress: options.progress,
            caller: Caller { session, user: who.0, role: who.1 },
            disclose_me: options.disclose_me,
        });
        self.say(at, Said::Call { call, offer, at: Stage::Exact, hops: 0 });
        Ok(())
    }

    fn deadline(&self, timeout_ms: u64, now_ms: u64) -> Option<u64> {
        let most = self.config.timeout_max_ms;
        let timeout = match (timeout_ms, most) {
            (0, 0) => return None,
            (0, most) => most,
            (asked, 0) => asked,
            (asked, most) => asked.min(most),
        };
        Some(now_ms.saturating_add(timeout))
    }

    fn call_more(&mut self, number: u64, payload: Payload, last: bool) -> Result<(), Misfit> {
        let me = self.me();
        let placed = self.origin.calls.get_mut(&number).filter(|placed| placed.open);
        let placed = placed.ok_or(Misfit::RequestInUse)?;
        placed.open = !last;
        let at = placed.at;
        self.say(at, Said::More { call: CallId { node: me, number }, payload, last });
        Ok(())
    }

    /// A caller takes a call back; one that is over is left alone.
    pub fn cancel(&mut self, endpoint: u64, request: u64, mode: CancelMode) {
        let Some(member) = self.members.get(&endpoint) else { return };
        let Some(number) = member.requests.get(&request).copied() else { return };
        let Some(placed) = self.origin.calls.get(&number) else { return };
        let (at, call) = (placed.at, CallId { node: self.me(), number });
        self.say(at, Said::Cancel { call, mode, why: Why::Canceled });
        if mode != CancelMode::Kill {
            self.origin_answered(call, Answer::failed(Why::Canceled));
        }
    }

    /// Ends the calls whose time is over.
    pub fn expire(&mut self, now_ms: u64) {
        while let Some((at_ms, number)) = self.origin.deadlines.first().copied() {
            if at_ms > now_ms {
                return;
            }
            self.origin.deadlines.pop_first();
            let Some(placed) = self.origin.calls.get(&number) else { continue };
            let (at, call) = (placed.at, CallId { node: self.me(), number });
            self.note(Noted::TimedOut);
            self.say(at, Said::Cancel { call, mode: CancelMode::KillNoWait, why: Why::TimedOut });
            self.origin_answered(call, Answer::failed(Why::TimedOut));
        }
    }

    pub(super) fn origin_moved(&mut self, to: u64, call: CallId, hops: u8) {
        let placed = self.origin.calls.get_mut(&call.number).filter(|placed| placed.hops < hops);
        let Some(placed) = placed else { return };
        (placed.at, placed.hops) = (to, hops);
    }

    /// An answer from the node that sees to the call; another one has lost sight of it.
    pub(super) fn origin_heard(&mut self, from: u64, call: CallId, answer: Answer) {
        let is_there = self.origin.calls.get(&call.number).is_some_and(|placed| placed.at == from);
        match is_there && call.node == self.me() {
            true => self.origin_answered(call, answer),
            false => self.note(Noted::LateAnswer),
        }
    }

    fn origin_answered(&mut self, call: CallId, answer: Answer) {
        let (endpoint, request) = match self.origin.calls.get(&call.number) {
            Some(placed) => (placed.endpoint, placed.request),
            None => return,
        };
        let delivery = match answer {
            Answer::Progress(payload) => {
                let delivery = Delivery::Result { request, progress: true, payload };
                let taken = self.members.get(&endpoint).is_some_and(|member| member.endpoint.offer(delivery));
                if !taken {
                    self.note(Noted::ProgressDropped);
                }
                return;
            }
            Answer::Result(payload) => {
                self.note(Noted::Answered);
                Delivery::Result { request, progress: false, payload }
            }
            Answer::Failed { why, payload } => {
                self.note(Noted::Failed);
                Delivery::Failed { request, why, payload }
            }
        };
        self.origin_forget(call.number);
        if let Some(member) = self.members.get_mut(&endpoint) {
            member.requests.remove(&request);
        }
        self.deliver(endpoint, delivery);
    }

    fn origin_forget(&mut self, number: u64) -> Option<Placed> {
        let placed = self.origin.calls.remove(&number)?;
        if let Some(at_ms) = placed.deadline_ms {
            self.origin.deadlines.remove(&(at_ms, number));
        }
        Some(placed)
    }

    /// Its session has ended.
    pub(super) fn origin_left(&mut self, numbers: impl Iterator<Item = u64>) {
        for number in numbers {
            let Some(placed) = self.origin_forget(number) else { continue };
            let call = CallId { node: self.me(), number };
            let (mode, why) = (CancelMode::KillNoWait, Why::Canceled);
            self.say(placed.at, Said::Cancel { call, mode, why });
        }
    }

    /// A node is gone, and with it the calls it saw to.
    pub(super) fn origin_lost(&mut self, node: u64) {
        let lost: Vec<u64> = self
            .origin
            .calls
            .iter()
            .filter(|(_, placed)| placed.at == node)
            .map(|(number, _)| *number)
            .collect();
        for number in lost {
            let call = CallId { node: self.me(), number };
            self.origin_answered(call, Answer::failed(Why::Canceled));
        }
    }

    pub(super) fn deliver(&self, endpoint: u64, delivery: Delivery) {
        if let Some(member) = self.members.get(&endpoint) {
            member.endpoint.push(delivery);
        }
    }
}
