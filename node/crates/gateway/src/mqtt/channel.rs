//! The state of one MQTT connection, and how the connection loop drives it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use metrics::counter;
use weir_broker::Session;
use weir_broker::ledger::Loss;
use weir_broker::outbox::{Bell, Chunk, Limits, Live};
use weir_broker::publish::{Commit, Publisher};
use weir_broker::session::intake::Intake;
use weir_broker::session::window::{Held, Window};
use weir_broker::store::{Fence, Queued, ReadError, SessionOp, Step};
use weir_model::Reason;
use weir_wire::mqtt::{self, Disconnect, ReasonCode, Version, encode};

use super::alias::{Incoming, Outgoing};
use super::reason;
use super::subscribe::Replay;
use crate::config::Config;
use crate::connection::{Channel, Flow, Work};

/// One client's connection after CONNACK.
pub struct Mqtt {
    pub publisher: Publisher,
    pub connection: u64,
    pub version: Version,
    /// A bridge: it hears nothing of its own, and RETAIN as published (mosquitto's protocol bit).
    pub bridge: bool,
    pub fence: Option<Fence>,
    pub window: Window,
    pub intake: Intake,
    /// Largest packet the client takes.
    pub frame_bytes_max: usize,
    pub aliases_in: Option<Box<Incoming>>,
    pub aliases_out: Option<Box<Outgoing>>,
    /// The stored queue has rows this connection has not seen.
    pub behind: bool,
    pub loading: Option<BoxFuture<'static, Result<Vec<Queued>, ReadError>>>,
    /// What is owed beside live messages; only while something is.
    pub owed: Option<Box<Owed>>,
    /// Rows up to here carry DUP.
    pub sent_before: u64,
    pub expiry_seconds: u32,
    pub expiry_was_zero: bool,
    pub has_will: bool,
    pub wants_reasons: bool,
    /// Why it ended, once it has.
    pub ended: Option<Reason>,
    pub config: Arc<super::Shared>,
}

/// What a connection owes its client that needs the store or the retained table first.
#[derive(Default)]
pub struct Owed {
    /// PUBRELs that wait until their PUBREC is stored.
    pub releases: VecDeque<(u16, Arc<Commit>)>,
    pub replays: VecDeque<Replay>,
    /// A page of retained messages on its way into the stored queue.
    pub replaying: Option<Arc<Commit>>,
}

/// What a connection leaves behind.
pub struct Goodbye {
    pub will: bool,
    pub expiry_seconds: u32,
    pub sent: u64,
    pub held: Vec<Held>,
}

impl Mqtt {
    pub fn config(&self) -> &Config {
        &self.config.config
    }

    pub fn goodbye(&mut self) -> Goodbye {
        let sent = self.window.next().saturating_sub(1);
        let held = std::mem::replace(&mut self.window, Window::new(1, 1)).into_held();
        Goodbye { will: self.has_will, expiry_seconds: self.expiry_seconds, sent, held }
    }

    /// Ends the connection, telling an MQTT 5 client why (MQTT-4.13.1-1).
    pub fn end(&mut self, reason: Reason, what: &str, out: &mut Vec<u8>) -> Flow {
        self.end_with(reason::code(reason), reason, what, out)
    }

    /// Ends it for a packet that breaks the protocol.
    pub fn broken(&mut self, error: &mqtt::DecodeError, out: &mut Vec<u8>) -> Flow {
        counter!("weir_gateway_broken_packets_total").increment(1);
        self.end_with(error.code, Reason::Malformed, error.what, out)
    }

    pub fn end_with(&mut self, code: ReasonCode, reason: Reason, what: &str, out: &mut Vec<u8>) -> Flow {
        tracing::debug!(client_id = %self.session().client_id(), %reason, what, "ending a connection");
        self.ended = Some(reason);
        if self.version == Version::V5 {
            let mut disconnect = Disconnect::new(code);
            disconnect.reason = Some(what).filter(|what| self.wants_reasons && !what.is_empty());
            encode::disconnect(out, &disconnect, self.version);
        }
        Flow::End
    }

    /// Submits an op of this session whose answer nobody waits for.
    pub fn submit(&self, op: SessionOp) {
        let key = self.publisher.session.key.clone();
        let step = Step::Session { key, ops: [op].into_iter().collect() };
        self.publisher.broker.store().submit(vec![step], Box::new(|_| {}));
    }

    fn bells(&mut self, out: &mut Vec<u8>) -> Option<Flow> {
        let session = self.publisher.session.clone();
        if !session.is_attached_to(self.connection) || session.outbox.heard(Bell::TakenOver) {
            return Some(self.end(Reason::TakenOver, "", out));
        }
        if !session.outbox.rang() {
            return None;
        }
        session.outbox.heard(Bell::Progress);
        if session.outbox.heard(Bell::Recheck) {
            self.behind = true;
        }
        let endings = [
            (Bell::KeepAlive, Reason::KeepAlive),
            (Bell::Shutdown, Reason::ShuttingDown),
            (Bell::Kick, Reason::Administrative),
            (Bell::Overrun, Reason::Quota),
        ];
        for (bell, reason) in endings {
            if session.outbox.heard(bell) {
                return Some(self.end(reason, "", out));
            }
        }
        assert!(!session.outbox.heard(Bell::Panic), "a fault test asked this connection to panic");
        None
    }
}

impl Channel for Mqtt {
    fn session(&self) -> &Arc<Session> {
        &self.publisher.session
    }

    fn connection(&self) -> u64 {
        self.connection
    }

    fn limits(&self) -> &Limits {
        self.publisher.broker.limits()
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Flow) {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let len = match mqtt::frame_len(rest, self.config().packet_bytes_max) {
                Ok(Some(len)) if len <= rest.len() => len,
                Ok(_) => return (at, Flow::Continue),
                Err(error) => return (bytes.len(), self.broken(&error, out)),
            };
            match self.packet(&rest[..len], out) {
                Some(Flow::Push) => return (at, Flow::Push),
                Some(flow) => return (at + len, flow),
                None => at += len,
            }
            if out.len() > self.config().answer_bytes_max || self.publisher.is_full() {
                return (at, Flow::Push);
            }
        }
    }

    fn wants(&self, bytes: &[u8]) -> usize {
        match mqtt::frame_len(bytes, self.config().packet_bytes_max) {
            Ok(Some(len)) => len,
            _ => bytes.len(),
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Flow {
        if let Some(flow) = self.bells(out) {
            return flow;
        }
        while let Some((answering, verdict)) = self.publisher.completed() {
            if let Some(flow) = self.answer(answering, verdict, out) {
                return flow;
            }
        }
        if self.owed.is_some() {
            self.pay_owed(cx, out);
        }
        if let Some(loading) = &mut self.loading
            && let Poll::Ready(rows) = loading.as_mut().poll(cx)
        {
            self.loading = None;
            match rows {
                Ok(rows) => self.send_rows(rows, out),
                Err(error) => {
                    tracing::error!(client_id = %self.session().client_id(), %error, "a queue cannot be read");
                    return self.end(Reason::Unavailable, "the queue cannot be read", out);
                }
            }
        }
        self.send_copies(out);
        self.load(cx);
        Flow::Continue
    }

    fn resume(&mut self, work: Work, out: &mut Vec<u8>) -> Flow {
        self.subscribed(work, out)
    }

    fn pressed_by(&self) -> Option<Arc<Session>> {
        self.publisher.pressed_by()
    }

    fn push(&mut self) {
        self.publisher.push();
    }

    fn is_full(&self) -> bool {
        self.publisher.is_full()
    }

    fn frames(&mut self) -> VecDeque<Chunk> {
        let session = &self.publisher.session;
        let taken = session.outbox.take_frames(self.publisher.broker.limits());
        self.publisher.tally.delivered += taken.messages;
        self.publisher.tally.delivered_bytes += taken.bytes as u64;
        let Some(aliases) = self.aliases_out.as_mut().filter(|_| taken.messages > 0) else {
            return taken.chunks;
        };
        let (mut frames, mut too_large) = (Vec::with_capacity(taken.bytes), 0);
        for chunk in &taken.chunks {
            too_large += aliases.rewrite(chunk.bytes(), self.frame_bytes_max, &mut frames);
        }
        self.publisher.tally.delivered -= too_large;
        self.publisher.broker.ledger().lost(Loss::TooLarge, too_large);
        if frames.is_empty() { VecDeque::new() } else { VecDeque::from([Chunk::copied(frames)]) }
    }

    fn settle(&mut self) {
        self.publisher.settle();
    }
}

impl Mqtt {
    /// A connection's copies that came through the outbox.
    pub fn take_copies(&self, max: usize) -> Vec<Live> {
        let mut copies = Vec::new();
        self.publisher.session.outbox.take_copies(max, self.publisher.broker.limits(), &mut copies);
        copies
    }
}
