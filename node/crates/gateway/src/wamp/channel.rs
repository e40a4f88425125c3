//! The state of one WAMP session, and how the connection loop drives it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Context;

use metrics::counter;
use weir_broker::Session;
use weir_broker::outbox::{Bell, Chunk, Limits};
use weir_broker::pressure::Level;
use weir_broker::publish::{LongMatch, Publisher};
use weir_model::Reason;
use weir_wire::wamp::message::{Abort, CloseDetails, Error, ErrorDetails, Goodbye, MessageType};
use weir_wire::wamp::rawsocket::{self, FRAME_HEADER_BYTES, Frame, FrameType};
use weir_wire::wamp::uri::Rules;
use weir_wire::wamp::{Id, Message, Payload, Serialization, batch, decode, encode};

use super::meta::Pending;
use super::publish::Named;
use super::reason::{self, PROTOCOL_VIOLATION};
use super::retained::Replay;
use super::rpc::{REQUEST_IN_USE, Rpc};
use super::subscribe::Held;
use super::testament::Testaments;
use crate::connection::{Channel, Flow, Work};
use crate::limited::Limit;
use crate::mqtt::Shared;
use crate::pace::Pace;

/// One client's session after WELCOME.
pub struct Wamp {
    pub publisher: Publisher,
    pub connection: u64,
    pub id: Id,
    pub serialization: Serialization,
    pub rules: Rules,
    /// The longest message the client takes.
    pub peer_bytes_max: usize,
    /// What it was let in by.
    pub method: &'static str,
    /// What it has subscribed to; only while it has.
    pub held: Option<Box<Held>>,
    /// SUBSCRIBE or UNSUBSCRIBE is under way: events wait until it is answered.
    pub subscribing: bool,
    pub replays: VecDeque<Replay>,
    /// Messages of a batch that are not taken yet: nothing more is read meanwhile.
    pub batch: Vec<u8>,
    /// Publishes that wait for their verdict, by what the door calls them: the request, and the number of the publication
    /// if it is not that of its position. At most `broker.commits_waiting_max`, and
    /// `broker.waiters_per_session_max` that wait for a condition.
    pub asked: HashMap<u16, (Id, Option<Id>)>,
    pub last_asked: u16,
    /// What was published to last; only while it has published.
    pub named: Option<Box<Named>>,
    pub testaments: Testaments,
    /// Calls of the router's procedures that wait for other nodes; only while there are some.
    pub pending: Option<Box<Pending>>,
    pub rpc: Rpc,
    /// Set in the format of what it calls and answers with: see [`super::rpc::WHOLE`].
    pub payload_marks: u8,
    pub pace: Option<Box<Pace>>,
    /// Why it ended, once it has.
    pub ended: Option<Reason>,
    pub shared: Arc<Shared>,
}

impl Wamp {
    /// Appends a message in a frame. One that the client would not take is left out and counted; false then.
    pub fn say(&self, out: &mut Vec<u8>, message: &Message<'_>) -> bool {
        let from = out.len();
        out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        encode(out, message, self.serialization);
        let len = out.len() - from - FRAME_HEADER_BYTES;
        if len > self.peer_bytes_max.min((1 << 24) - 1) {
            counter!("weir_gateway_wamp_messages_too_long_total").increment(1);
            out.truncate(from);
            return false;
        }
        let [_, a, b, c] = (len as u32).to_be_bytes();
        out[from + 1..from + FRAME_HEADER_BYTES].copy_from_slice(&[a, b, c]);
        true
    }

    /// Answers a request with an ERROR that says `why`.
    pub fn refuse(&self, out: &mut Vec<u8>, (kind, request): (MessageType, Id), error: &str, why: &str) {
        counter!("weir_gateway_wamp_errors_total", "request" => kind.name()).increment(1);
        let mut json = Vec::new();
        let _ = serde_json::to_writer(&mut json, &[why]);
        let args = super::publish::json_args(&json);
        let payload = Payload { args: args.filter(|_| !why.is_empty()), kwargs: None };
        let details = ErrorDetails::default();
        let error = Error { request_type: kind, request, details, error: error.into(), payload };
        self.say(out, &Message::Error(error));
    }

    /// Whether the realm's clients are those of fox-wamp.
    pub fn is_fox(&self) -> bool {
        self.rules.fox
    }

    /// Ends the session for what breaks the protocol (WAMP, "Protocol Violations").
    pub fn broken(&mut self, what: &str, out: &mut Vec<u8>) -> Flow {
        counter!("weir_gateway_broken_packets_total").increment(1);
        self.abort(PROTOCOL_VIOLATION, Reason::Protocol, what, out)
    }

    pub fn abort(&mut self, error: &str, reason: Reason, what: &str, out: &mut Vec<u8>) -> Flow {
        tracing::debug!(client_id = %self.publisher.session.client_id(), %reason, what, "ending a session");
        self.ended = Some(reason);
        self.say(out, &Message::Abort(abort(error, what)));
        Flow::End
    }

    /// Ends the session in order, saying why.
    pub fn goodbye(&mut self, uri: &str, reason: Reason, why: &str, out: &mut Vec<u8>) -> Flow {
        self.ended = Some(reason);
        let message = Some(why.into()).filter(|_| !why.is_empty());
        let details = CloseDetails { message };
        self.say(out, &Message::Goodbye(Goodbye { details, reason: uri.into() }));
        Flow::End
    }

    fn bells(&mut self, out: &mut Vec<u8>) -> Option<Flow> {
        let session = self.publisher.session.clone();
        let ends = |this: &mut Wamp, reason: Reason, why: &str, out: &mut Vec<u8>| {
            Some(this.goodbye(reason::uri(reason, false), reason, why, out))
        };
        if !session.is_attached_to(self.connection) || session.outbox.heard(Bell::TakenOver) {
            return ends(self, Reason::TakenOver, "", out);
        }
        if !session.outbox.rang() {
            return None;
        }
        session.outbox.heard(Bell::Progress);
        session.outbox.heard(Bell::Recheck);
        if session.outbox.heard(Bell::Shutdown) {
            let elsewhere = self.shared.drain.reference(&session);
            let why = elsewhere.map_or_else(String::new, |place| format!("use {place}"));
            return ends(self, Reason::ShuttingDown, &why, out);
        }
        for (bell, reason) in [(Bell::KeepAlive, Reason::KeepAlive), (Bell::Overrun, Reason::Quota)] {
            if session.outbox.heard(bell) {
                return ends(self, reason, "", out);
            }
        }
        if session.outbox.heard(Bell::Kick) {
            let farewell = self.publisher.broker.farewell(self.connection);
            let (uri, why) = super::meta::farewell(&farewell.why);
            return Some(self.goodbye(&uri, Reason::Administrative, &why, out));
        }
        assert!(!session.outbox.heard(Bell::Panic), "a fault test asked this connection to panic");
        None
    }

    /// Whether the memory there is, and the pace, let a message be taken.
    pub fn may_take(&mut self) -> bool {
        if self.publisher.broker.pressure().stops_reading() {
            self.pace.get_or_insert_with(Pace::unlimited).hold();
        }
        self.pace.as_ref().is_none_or(|pace| pace.may_take())
    }

    fn keep_pace(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Option<Flow> {
        let Publisher { broker, session, .. } = &self.publisher;
        let (level, wait_max) = (broker.pressure().level(), broker.config().memory_hold_seconds_max);
        let pace = self.pace.as_mut()?;
        if level < Level::StopReading {
            pace.release();
        }
        if level < Level::StopAccepting || !session.has_half_received() {
            pace.half_received(false);
        }
        if wait_max > 0 && pace.waits_for().is_some_and(|waited| waited.as_secs() >= wait_max) {
            let uri = reason::uri(Reason::Busy, false);
            return Some(self.abort(uri, Reason::Busy, "short of memory", out));
        }
        pace.poll(cx);
        if pace.is_over() {
            self.pace = None;
        }
        None
    }

    /// The messages of one frame; `None` = go on with the next.
    fn frame(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Option<Flow> {
        if frame.kind != FrameType::Message {
            if frame.kind == FrameType::Ping {
                let _ = rawsocket::append(out, FrameType::Pong, frame.payload, usize::MAX);
            }
            return None;
        }
        if self.is_batched() {
            self.batch = frame.payload.to_vec();
            return self.go_on_with_batch(out);
        }
        let limits = self.shared.config.wamp.limits();
        match decode(frame.payload, self.serialization.format, &limits) {
            Ok(message) => self.message(&message, out),
            Err(error) => self.undecoded(&error, out),
        }
    }

    /// Takes the messages of a batch, until one must wait.
    fn go_on_with_batch(&mut self, out: &mut Vec<u8>) -> Option<Flow> {
        let frame = std::mem::take(&mut self.batch);
        let limits = self.shared.config.wamp.limits();
        let mut messages = batch::messages(&frame, self.serialization);
        loop {
            let at = messages.at();
            let decoded =
                messages.next()?.and_then(|bytes| decode(bytes, self.serialization.format, &limits));
            let flow = match decoded {
                Ok(message) => self.message(&message, out),
                Err(error) => self.undecoded(&error, out),
            };
            let left = match &flow {
                None => continue,
                // It was not taken.
                Some(Flow::Push) => &frame[at..],
                Some(_) => &frame[messages.at()..],
            };
            self.batch = left.to_vec();
            return match flow {
                Some(Flow::Push) => Some(self.long_match().unwrap_or(Flow::Push)),
                flow => flow,
            };
        }
    }

    /// Takes whole frames from the front of `bytes`; how many bytes they are.
    fn take_frames(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Flow) {
        let mut at = 0;
        if let Some(pace) = &mut self.pace {
            pace.half_received(false);
        }
        loop {
            let rest = &bytes[at..];
            if !rest.is_empty() && !self.may_take() {
                return (at, Flow::Push);
            }
            let bytes_max = self.shared.config.wamp.message_bytes_max;
            let (frame, behind) = match rawsocket::read_frame(rest, bytes_max) {
                Ok(Some(found)) => found,
                Ok(None) => return (at, Flow::Continue),
                Err(error) => return (bytes.len(), self.broken(&error.to_string(), out)),
            };
            let len = rest.len() - behind.len();
            match self.frame(frame, out) {
                // A batch is kept by itself.
                Some(flow) if self.is_batched() => return (at + len, flow),
                Some(Flow::Push) => return (at, self.long_match().unwrap_or(Flow::Push)),
                Some(flow) => return (at + len, flow),
                None => at += len,
            }
            if let Some(pace) = &mut self.pace {
                pace.took_message();
            }
            if out.len() > self.shared.config.answer_bytes_max || self.publisher.is_full() {
                return (at, Flow::Push);
            }
        }
    }

    pub fn is_batched(&self) -> bool {
        self.serialization.batching != weir_wire::wamp::Batching::One
    }
}

/// An ABORT with a sentence for people.
pub fn abort<'a>(error: &'a str, what: &'a str) -> Abort<'a> {
    let message = Some(what.into()).filter(|_| !what.is_empty());
    Abort { details: CloseDetails { message }, reason: error.into(), payload: Payload::default() }
}

impl Channel for Wamp {
    fn session(&self) -> &Arc<Session> {
        &self.publisher.session
    }

    fn connection(&self) -> u64 {
        self.connection
    }

    fn limits(&self) -> &Limits {
        self.publisher.broker.limits()
    }

    fn read(&mut self, bytes: usize) {
        self.publisher.broker.pressure().grew(bytes);
        if let Some(pace) = &mut self.pace {
            pace.read(bytes);
        }
    }

    fn half_received(&mut self) {
        if self.publisher.broker.pressure().stops_accepting() {
            self.pace.get_or_insert_with(Pace::unlimited).half_received(true);
            self.may_take();
        }
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Flow) {
        self.rpc.gather();
        let (taken, flow) = self.take_frames(bytes, out);
        match self.rpc.say_gathered() {
            true => (taken, flow),
            false => (taken, self.broken(REQUEST_IN_USE, out)),
        }
    }

    fn wants(&self, bytes: &[u8]) -> usize {
        match *bytes {
            [_, a, b, c, ..] => FRAME_HEADER_BYTES + u32::from_be_bytes([0, a, b, c]) as usize,
            _ => bytes.len(),
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Flow {
        if let Some(flow) = self.bells(out) {
            return flow;
        }
        if self.pace.is_some()
            && let Some(flow) = self.keep_pace(cx, out)
        {
            return flow;
        }
        while let Some((answering, verdict)) = self.publisher.completed() {
            if let Some(flow) = self.completed(answering, verdict, out) {
                return flow;
            }
        }
        self.replay(cx, out);
        self.meta_wake(out);
        if !self.batch.is_empty() && !self.subscribing && !self.publisher.is_full() {
            cx.waker().wake_by_ref();
            if let Some(flow) = self.go_on_with_batch(out) {
                return flow;
            }
        }
        self.rpc_wake(cx, out).unwrap_or(Flow::Continue)
    }

    fn resume(&mut self, work: Work, out: &mut Vec<u8>) -> Flow {
        match work.downcast::<LongMatch>() {
            Ok(made) => {
                self.publisher.matched(*made);
                Flow::Continue
            }
            Err(work) => self.subscribed(work, out),
        }
    }

    fn answer_bytes_max(&self) -> usize {
        self.shared.config.answer_bytes_max
    }

    fn note_limit(&self, answers_wait: bool) -> bool {
        let line_full = self.publisher.full_by();
        if answers_wait {
            Limit::AnswerBytes.count();
        }
        if let Some(limit) = line_full {
            self.publisher.broker.limited(limit);
        }
        answers_wait || line_full.is_some()
    }

    fn pressed_by(&self) -> Option<Arc<Session>> {
        self.publisher.pressed_by()
    }

    fn push(&mut self) {
        self.publisher.push();
    }

    fn is_full(&self) -> bool {
        self.publisher.is_full()
            || !self.batch.is_empty()
            || self.pace.as_ref().is_some_and(|pace| !pace.may_take())
    }

    /// Events wait while a SUBSCRIBE is under way: clients end a session that tells of a subscription they do not know.
    fn frames(&mut self) -> VecDeque<Chunk> {
        if self.subscribing {
            return VecDeque::new();
        }
        let session = &self.publisher.session;
        let limits = self.publisher.broker.limits();
        let taken = match &mut self.pace {
            None => session.outbox.take_frames(limits),
            Some(pace) => {
                pace.delivered(self.publisher.tally.sent());
                let form = self.publisher.broker.form(session.form());
                session.outbox.take_frames_within(pace.most(), form, limits)
            }
        };
        self.publisher.tally.delivered += taken.messages;
        self.publisher.tally.delivered_bytes += taken.bytes as u64;
        if taken.messages > 0 && (self.has_left() || self.peer_bytes_max < (1 << 24) - 1) {
            return self.wanted_frames(taken.chunks);
        }
        taken.chunks
    }

    fn pace(&mut self) -> Option<&mut Pace> {
        self.pace.as_deref_mut()
    }

    fn settle(&mut self) {
        if let Some(pace) = &mut self.pace {
            pace.delivered(self.publisher.tally.sent());
            pace.settled();
        }
        self.publisher.settle();
    }
}
