//! The state of one MQTT connection, and how the connection loop drives it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use metrics::counter;
use weir_broker::Session;
use weir_broker::ledger::Loss;
use weir_broker::outbox::{Bell, Chunk, Limits, Live};
use weir_broker::pressure::Level;
use weir_broker::publish::{Commit, LongMatch, Publisher};
use weir_broker::session::intake::Intake;
use weir_broker::session::window::{Held, Window};
use weir_broker::store::{Fence, Queued, ReadError, SessionOp, Step};
use weir_model::Reason;
use weir_wire::mqtt::{self, Disconnect, PacketType, ReasonCode, Version, encode};

use super::alias::{Incoming, Outgoing};
use super::authenticate::Method;
use super::last_seen::LastSeen;
use super::reason;
use super::request::Requests;
use super::stream::Streams;
use super::subscribe::Replay;
use super::trace;
use crate::config::Config;
use crate::connection::{Channel, Flow, Work};
use crate::drain;
use crate::limited::Limit;
use crate::pace::Pace;

/// Bytes of a DISCONNECT beside its reason string, with room for a server reference.
const DISCONNECT_BYTES: usize = 300;

/// One client's connection after CONNACK.
pub struct Mqtt {
    pub publisher: Publisher,
    pub connection: u64,
    pub version: Version,
    /// A bridge: it hears nothing of its own, and RETAIN as published (mosquitto's protocol bit).
    pub bridge: bool,
    pub fence: Option<Fence>,
    pub window: Window,
    /// Deliveries wait because the window is full, which has been counted.
    pub window_limits: bool,
    pub intake: Intake,
    /// Largest packet the client takes.
    pub frame_bytes_max: usize,
    pub aliases_in: Option<Box<Incoming>>,
    pub aliases_out: Option<Box<Outgoing>>,
    /// The stored queue has rows this connection has not seen.
    pub behind: bool,
    pub loading: Option<BoxFuture<'static, Result<Vec<Queued>, ReadError>>>,
    /// Its rates, or its wait for memory; only while there is something to keep to.
    pub pace: Option<Box<Pace>>,
    /// What is owed beside live messages; only while something is.
    pub owed: Option<Box<Owed>>,
    /// Rows up to here carry DUP.
    pub sent_before: u64,
    pub expiry_seconds: u32,
    pub expiry_was_zero: bool,
    pub has_will: bool,
    pub wants_reasons: bool,
    /// Set when it was let in by enhanced authentication.
    pub method: Option<Box<Method>>,
    /// The version of access when it was let in: copies matched since need not be asked about again.
    pub access_version: u64,
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
    /// What it was given last of retained topics, as long as that may not be what the store holds.
    pub last_seen: LastSeen,
    /// Streams that it reads.
    pub streams: Option<Box<Streams>>,
    /// Requests that are calls.
    pub requests: Option<Box<Requests>>,
    /// Some of its subscriptions select of what matches.
    pub selects: bool,
}

impl Owed {
    pub fn is_nothing(&self) -> bool {
        let Owed { releases, replays, replaying, last_seen, streams, requests, selects } = self;
        let nothing_waits = releases.is_empty() && replays.is_empty() && replaying.is_none() && !selects;
        let no_calls = requests.as_ref().is_none_or(|requests| requests.is_nothing());
        nothing_waits && last_seen.is_empty() && streams.is_none() && no_calls
    }
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
        // Who has taken it over goes on where this connection was.
        let is_ours = self.publisher.session.is_attached_to(self.connection);
        self.leave_streams(is_ours && self.expiry_seconds == 0);
        let sent = self.window.next().saturating_sub(1);
        let held = std::mem::replace(&mut self.window, Window::new(1, 1)).into_held();
        Goodbye { will: self.has_will, expiry_seconds: self.expiry_seconds, sent, held }
    }

    /// Ends the connection, telling an MQTT 5 client why (MQTT-4.13.1-1).
    pub fn end(&mut self, reason: Reason, what: &str, out: &mut Vec<u8>) -> Flow {
        self.end_with(reason::goodbye(reason), reason, what, out)
    }

    /// Ends it for a packet that breaks the protocol.
    pub fn broken(&mut self, error: &mqtt::DecodeError, out: &mut Vec<u8>) -> Flow {
        counter!("weir_gateway_broken_packets_total").increment(1);
        self.end_with(error.code, Reason::Malformed, error.what, out)
    }

    pub fn end_with(&mut self, code: ReasonCode, reason: Reason, what: &str, out: &mut Vec<u8>) -> Flow {
        trace::session(self.session(), self.version)
            .in_scope(|| tracing::debug!(%reason, what, "ending a connection"));
        self.ended = Some(reason);
        if self.version == Version::V5 {
            let mut disconnect = Disconnect::new(code);
            disconnect.reason = Some(what).filter(|what| self.may_hear(what));
            encode::disconnect(out, &disconnect, self.version);
        }
        Flow::End
    }

    /// Whether a reason string goes into a DISCONNECT: not beyond the largest packet that the client takes
    /// (MQTT-3.14.2-3).
    fn may_hear(&self, what: &str) -> bool {
        self.wants_reasons && !what.is_empty() && what.len() + DISCONNECT_BYTES <= self.frame_bytes_max
    }

    /// The node ends: an MQTT 5 client hears where else it may go, if there is a place.
    fn sent_elsewhere(&mut self, out: &mut Vec<u8>) -> Flow {
        self.ended = Some(Reason::ShuttingDown);
        if self.version == Version::V5 {
            let reference = self.config.drain.reference(self.session());
            encode::disconnect(out, &drain::disconnect(reference.as_deref()), self.version);
        }
        Flow::End
    }

    /// The client is better served by another node, and hears by which (MQTT-4.11).
    pub fn moved(&mut self, elsewhere: &str, what: &str, out: &mut Vec<u8>) -> Flow {
        self.ended = Some(Reason::Administrative);
        let mut disconnect = drain::disconnect(Some(elsewhere));
        disconnect.reason = Some(what).filter(|what| self.may_hear(what));
        encode::disconnect(out, &disconnect, self.version);
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
            self.look_at_seen();
        }
        if session.outbox.heard(Bell::Shutdown) {
            return Some(self.sent_elsewhere(out));
        }
        let endings = [(Bell::KeepAlive, Reason::KeepAlive), (Bell::Overrun, Reason::Quota)];
        for (bell, reason) in endings {
            if session.outbox.heard(bell) {
                return Some(self.end(reason, "", out));
            }
        }
        if session.outbox.heard(Bell::Kick) {
            return Some(self.told_to_go(out));
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

    fn read(&mut self, bytes: usize) {
        self.publisher.broker.pressure().grew(bytes);
        if let Some(pace) = &mut self.pace {
            pace.read(bytes);
        }
    }

    fn half_received(&mut self) {
        if self.publisher.broker.pressure().stops_accepting() {
            self.pace.get_or_insert_with(Pace::unlimited).half_received(true);
            self.hold_if_short();
        }
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Flow) {
        let mut at = 0;
        // Once a read: what one read holds at most goes beyond the levels of memory.
        if let Some(pace) = &mut self.pace {
            pace.half_received(false);
        }
        let paced = self.pace.is_some() || self.publisher.broker.pressure().stops_reading();
        loop {
            let rest = &bytes[at..];
            let waits = paced && is_publish(rest);
            if waits && !self.may_take_publish() {
                return (at, Flow::Push);
            }
            let len = match mqtt::frame_len(rest, self.config().packet_bytes_max) {
                Ok(Some(len)) if len <= rest.len() => len,
                Ok(_) => return (at, Flow::Continue),
                Err(error) => return (bytes.len(), self.broken(&error, out)),
            };
            match self.packet(&rest[..len], out) {
                Some(Flow::Push) => {
                    let waits_for = self.ask_registered().or_else(|| self.long_match());
                    return (at, waits_for.unwrap_or(Flow::Push));
                }
                Some(flow) => return (at + len, flow),
                None => at += len,
            }
            if let Some(pace) = self.pace.as_mut().filter(|_| waits) {
                pace.took_message();
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
        if self.pace.is_some()
            && let Some(flow) = self.keep_pace(cx, out)
        {
            return flow;
        }
        while let Some((answering, verdict)) = self.publisher.completed() {
            if let Some(flow) = self.answer(answering, verdict, out) {
                return flow;
            }
        }
        if self.owed.is_some()
            && let Some(flow) = self.pay_owed(cx, out)
        {
            return flow;
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
        self.send_records(cx, out);
        self.note_window();
        Flow::Continue
    }

    fn resume(&mut self, work: Work, out: &mut Vec<u8>) -> Flow {
        let work = match work.downcast::<LongMatch>() {
            Ok(made) => {
                self.publisher.matched(*made);
                return Flow::Continue;
            }
            Err(work) => work,
        };
        let work = match self.heard_registered(work) {
            Ok(flow) => return flow,
            Err(work) => work,
        };
        match self.reauthenticated(work, out) {
            Ok(flow) => flow,
            Err(work) => self.subscribed(work, out),
        }
    }

    fn answer_bytes_max(&self) -> usize {
        self.config().answer_bytes_max
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
        self.publisher.is_full() || self.pace.as_ref().is_some_and(|pace| !pace.may_take())
    }

    fn frames(&mut self) -> VecDeque<Chunk> {
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
        let Some(aliases) = self.aliases_out.as_mut().filter(|_| taken.messages > 0) else {
            return taken.chunks;
        };
        let (mut frames, mut too_large) = (Vec::with_capacity(taken.bytes), 0);
        for chunk in &taken.chunks {
            too_large += aliases.rewrite(chunk.bytes(), self.frame_bytes_max, &mut frames);
        }
        self.publisher.tally.delivered -= too_large;
        let client = self.publisher.session.client_id();
        self.publisher.broker.ledger().lost_by(client, "", Loss::TooLarge, too_large);
        if frames.is_empty() { VecDeque::new() } else { VecDeque::from([Chunk::copied(frames)]) }
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

/// Whether a PUBLISH comes next, whole or not.
fn is_publish(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| PacketType::of(*first) == Some(PacketType::Publish))
}

impl Mqtt {
    /// Whether the PUBLISH that comes next may be taken now; without memory for it the publisher is held,
    /// while acknowledgements and pings before it were heard.
    fn may_take_publish(&mut self) -> bool {
        self.hold_if_short();
        self.pace.as_ref().is_none_or(|pace| pace.may_take())
    }

    fn hold_if_short(&mut self) {
        if self.publisher.broker.pressure().stops_reading() {
            self.pace.get_or_insert_with(Pace::unlimited).hold();
        }
    }

    /// Looks whether a pause or a hold is over. Who waits too long for memory, or keeps it for half a
    /// packet, is disconnected.
    fn keep_pace(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Option<Flow> {
        let Publisher { broker, session, .. } = &self.publisher;
        let (level, wait_max) = (broker.pressure().level(), broker.config().memory_hold_seconds_max);
        let pace = self.pace.as_mut()?;
        if level < Level::StopReading {
            pace.release();
        } else if !pace.may_take() {
            // Not its own silence.
            session.seen();
        }
        if level < Level::StopAccepting || !session.has_half_received() {
            pace.half_received(false);
        }
        if wait_max > 0 && pace.waits_for().is_some_and(|waited| waited.as_secs() >= wait_max) {
            return Some(self.end_with(ReasonCode::ServerBusy, Reason::Busy, "short of memory", out));
        }
        pace.poll(cx);
        if pace.is_over() {
            self.pace = None;
        }
        None
    }

    /// The match the next PUBLISH waits for, if it takes long.
    fn long_match(&mut self) -> Option<Flow> {
        let making = self.publisher.long_match()?;
        Some(Flow::Work(Box::pin(async { Box::new(making.await) as Work })))
    }

    /// How many messages may be sent now: by the client's window and by its pace.
    pub fn send_room(&mut self) -> usize {
        let room = self.window_room();
        let Some(pace) = &mut self.pace else { return room };
        pace.delivered(self.publisher.tally.sent());
        room.min(pace.most().messages)
    }

    /// A connection's copies that came through the outbox.
    pub fn take_copies(&self, max: usize) -> Vec<Live> {
        let mut copies = Vec::new();
        self.publisher.session.outbox.take_copies(max, self.publisher.broker.limits(), &mut copies);
        copies
    }
}

/// A connection that panicked has not said goodbye: what it held of share groups goes to other members.
impl Drop for Mqtt {
    fn drop(&mut self) {
        let held = std::mem::replace(&mut self.window, Window::new(1, 1)).into_held();
        let Publisher { broker, realm, session, .. } = &self.publisher;
        broker.take_back(realm, session, held);
    }
}
