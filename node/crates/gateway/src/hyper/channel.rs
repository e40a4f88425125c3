//! The state of one Hyper session, and how the connection loop drives it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Context;

use metrics::counter;
use weir_broker::Session;
use weir_broker::ledger::Loss;
use weir_broker::outbox::{Chunk, Limits};
use weir_model::Reason;
use weir_wire::hyper::{self, Cut, Data, Reply, RequestError, code, id_entry};
use weir_wire::wamp::Id;

use super::form;
use super::traces::Traces;
use crate::connection::{Channel, Flow, Work};
use crate::pace::Pace;
use crate::wamp::channel::Wamp;

/// One client's session after its LOGIN.
pub struct Hyper {
    /// The session as WAMP has it.
    pub wamp: Wamp,
    /// How far the message is known that has begun.
    cut: Cut,
    pub traces: Traces,
    /// By the number of a registration: the REG it is of, and its URI. As many as the broker grants.
    pub registrations: HashMap<u64, (Id, String)>,
    /// REGs without an answer, by their ids; as many as the broker lets wait.
    pub registering: HashMap<u64, String>,
}

impl Hyper {
    pub fn new(wamp: Wamp) -> Hyper {
        Hyper {
            wamp,
            cut: Cut::default(),
            traces: Traces::default(),
            registrations: HashMap::new(),
            registering: HashMap::new(),
        }
    }

    /// Answers with ERR.
    pub fn refuse(&self, id: Option<Id>, code: u64, message: &str, out: &mut Vec<u8>) {
        counter!("weir_gateway_hyper_errors_total").increment(1);
        Reply::Error { id, data: Data::Failed { code, message } }.append(out);
    }

    /// Ends the session for what is no message.
    fn broken(&mut self, what: &str, out: &mut Vec<u8>) -> Flow {
        counter!("weir_gateway_broken_packets_total").increment(1);
        self.refuse(None, code::INVALID_ARGUMENT, what, out);
        self.wamp.ended = Some(Reason::Protocol);
        Flow::End
    }

    fn message(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Option<Flow> {
        match hyper::decode(bytes, &self.wamp.shared.config.wamp.limits()) {
            Ok(request) => self.request(&request, out),
            Err(RequestError::Wrong { id, wrong }) => {
                self.refuse(id, code::INVALID_ARGUMENT, &wrong.to_string(), out);
                None
            }
            Err(error) => Some(self.broken(&error.to_string(), out)),
        }
    }

    /// Writes the first event of `frames` once for each TRACE that it is for; what is behind it.
    pub fn event<'a>(&self, frames: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
        let (taken, behind) = form::take(frames)?;
        for trace in self.traces.wanting(taken.subscription, taken.retained) {
            id_entry(out, trace.id);
            out.extend_from_slice(taken.entries);
        }
        Some(behind)
    }

    /// Waiting events, as this client has asked for them.
    fn events(&mut self, chunks: VecDeque<Chunk>) -> VecDeque<Chunk> {
        let (mut frames, mut unwanted) = (Vec::new(), 0);
        for chunk in &chunks {
            let mut rest = chunk.bytes();
            while !rest.is_empty() {
                let before = frames.len();
                let Some(behind) = self.event(rest, &mut frames) else { break };
                unwanted += u64::from(frames.len() == before);
                rest = behind;
            }
        }
        let publisher = &mut self.wamp.publisher;
        publisher.tally.delivered -= unwanted;
        publisher.broker.ledger().lost_by(publisher.session.client_id(), "", Loss::Offline, unwanted);
        if frames.is_empty() { VecDeque::new() } else { VecDeque::from([Chunk::copied(frames)]) }
    }
}

impl Channel for Hyper {
    fn session(&self) -> &Arc<Session> {
        self.wamp.session()
    }

    fn connection(&self) -> u64 {
        self.wamp.connection
    }

    fn limits(&self) -> &Limits {
        self.wamp.limits()
    }

    fn read(&mut self, bytes: usize) {
        self.wamp.read(bytes);
    }

    fn half_received(&mut self) {
        self.wamp.half_received();
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Flow) {
        let mut at = 0;
        if let Some(pace) = &mut self.wamp.pace {
            pace.half_received(false);
        }
        let limits = self.wamp.shared.config.wamp.limits();
        loop {
            let rest = &bytes[at..];
            if !rest.is_empty() && !self.wamp.may_take() {
                return (at, Flow::Push);
            }
            let end = match self.cut.find(rest, &limits) {
                Ok(Some(end)) => end,
                Ok(None) => return (at, Flow::Continue),
                Err(error) => return (bytes.len(), self.broken(&error.to_string(), out)),
            };
            match self.message(&rest[..end], out) {
                // It was not taken, and comes again.
                Some(Flow::Push) => return (at, self.wamp.long_match().unwrap_or(Flow::Push)),
                Some(flow) => {
                    self.cut = Cut::default();
                    return (at + end, flow);
                }
                None => at += end,
            }
            self.cut = Cut::default();
            if let Some(pace) = &mut self.wamp.pace {
                pace.took_message();
            }
            if out.len() > self.wamp.answer_bytes_max() || self.wamp.publisher.is_full() {
                return (at, Flow::Push);
            }
        }
    }

    fn wants(&self, bytes: &[u8]) -> usize {
        self.cut.wants().max(bytes.len())
    }

    fn wake(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Flow {
        let mut answers = Vec::new();
        // What comes of calls is said in this protocol's own way.
        let rpc = std::mem::take(&mut self.wamp.rpc);
        let has_room = out.len() < self.wamp.answer_bytes_max() / 2;
        let replays = if has_room { VecDeque::new() } else { std::mem::take(&mut self.wamp.replays) };
        let flow = self.wamp.wake(cx, &mut answers);
        self.wamp.replays.extend(replays);
        self.wamp.rpc = rpc;
        self.answer(&answers, out);
        if !matches!(flow, Flow::End) {
            self.deliver(out);
        }
        flow
    }

    fn resume(&mut self, work: Work, out: &mut Vec<u8>) -> Flow {
        let mut answers = Vec::new();
        let flow = self.wamp.resume(work, &mut answers);
        self.answer(&answers, out);
        flow
    }

    fn answer_bytes_max(&self) -> usize {
        self.wamp.answer_bytes_max()
    }

    fn note_limit(&self, answers_wait: bool) -> bool {
        self.wamp.note_limit(answers_wait)
    }

    fn pressed_by(&self) -> Option<Arc<Session>> {
        self.wamp.pressed_by()
    }

    fn push(&mut self) {
        self.wamp.push();
    }

    fn is_full(&self) -> bool {
        self.wamp.is_full()
    }

    fn frames(&mut self) -> VecDeque<Chunk> {
        let chunks = self.wamp.frames();
        if chunks.is_empty() { chunks } else { self.events(chunks) }
    }

    fn pace(&mut self) -> Option<&mut Pace> {
        self.wamp.pace.as_deref_mut()
    }

    fn settle(&mut self) {
        self.wamp.settle();
    }
}
