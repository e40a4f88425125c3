//! What a client's packets mean.

use std::num::NonZeroU16;
use std::sync::Arc;

use weir_broker::Limit;
use weir_broker::form::Publish;
use weir_broker::publish::{Answering, Verdict, level};
use weir_broker::session::intake::Arrival;
use weir_broker::session::window::Answered;
use weir_broker::store::{SessionOp, Step};
use weir_model::{Level, Qos, Reason};
use weir_wire::mqtt::{self, Ack, List, Packet, PacketType, ReasonCode, Version, encode};

use super::alias::Incoming;
use super::channel::Mqtt;
use super::request::Is;
use super::{conditions, form, reason};
use crate::connection::{Channel, Flow};

/// The user property of an acknowledgement that says where the message stands.
const POSITION: &str = "weir-position";

impl Mqtt {
    /// One whole frame. `None` = go on with the next; [`Flow::Push`] = it was not taken.
    #[inline]
    pub fn packet(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Option<Flow> {
        if PacketType::of(frame[0]) == Some(PacketType::Publish) {
            return match mqtt::decode_publish(frame[0], mqtt::body(frame), self.version) {
                Ok(publish) => self.publish(&publish, out),
                Err(error) => Some(self.broken(&error, out)),
            };
        }
        match mqtt::decode(frame, self.version) {
            Ok(packet) => self.control(packet, out),
            Err(error) => Some(self.broken(&error, out)),
        }
    }

    fn control(&mut self, packet: Packet<'_>, out: &mut Vec<u8>) -> Option<Flow> {
        match packet {
            Packet::Puback(ack) => self.answered(ack, PacketType::Puback, out),
            Packet::Pubrec(ack) => self.answered(ack, PacketType::Pubrec, out),
            Packet::Pubcomp(ack) => self.answered(ack, PacketType::Pubcomp, out),
            Packet::Pubrel(ack) => self.release(ack, out),
            Packet::Subscribe(subscribe) => Some(self.subscribe(&subscribe, out)),
            Packet::Unsubscribe(unsubscribe) => Some(self.unsubscribe(&unsubscribe)),
            Packet::Pingreq => {
                encode::pingresp(out);
                None
            }
            Packet::Disconnect(disconnect) => Some(self.disconnect(&disconnect, out)),
            Packet::Connect(_) => Some(self.end(Reason::Protocol, "a second CONNECT", out)),
            Packet::Auth(auth) => Some(self.reauthenticate(&auth, out)),
            Packet::Publish(publish) => self.publish(&publish, out),
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                Some(self.end(Reason::Protocol, "a packet only a server sends", out))
            }
        }
    }

    fn publish(&mut self, publish: &mqtt::Publish<'_>, out: &mut Vec<u8>) -> Option<Flow> {
        let mut aliases = self.aliases_in.take();
        let flow = match topic(&mut aliases, publish, self.config().topic_alias_max) {
            Ok(topic) => self.publish_to(topic, publish, out),
            Err(code) => Some(self.end_with(code, Reason::TopicAlias, "topic alias or empty topic", out)),
        };
        self.aliases_in = aliases;
        flow
    }

    #[inline]
    fn publish_to(&mut self, topic: &str, publish: &mqtt::Publish<'_>, out: &mut Vec<u8>) -> Option<Flow> {
        if let Err((reason, what)) = check(publish) {
            return Some(self.end(reason, what, out));
        }
        let kind = self.kind(topic, publish);
        if kind == Is::Unknown {
            return Some(Flow::Push);
        }
        let packet_id = publish.packet_id.map_or(0, |id| id.get());
        let answering = match publish.qos {
            Qos::AtMostOnce => Answering::Nothing,
            Qos::AtLeastOnce => Answering::Puback(packet_id),
            Qos::ExactlyOnce if self.receive(packet_id, out) => Answering::Pubrec(packet_id),
            Qos::ExactlyOnce => return None,
        };
        if publish.qos > Qos::AtMostOnce && self.exceeds_receive_maximum() {
            return Some(self.end(Reason::ReceiveMaximum, "", out));
        }
        if publish.dup && publish.qos > Qos::AtMostOnce {
            self.intake.repeats(packet_id);
        }
        self.note_traced(topic, publish);
        if kind == Is::Call {
            return self.call(topic, publish, answering, out);
        }
        let asked = conditions::of(publish);
        let (conditions, broken) = match asked {
            Ok(conditions) => (conditions, None),
            Err(error) => (None, Some(error)),
        };
        let inner = Publish {
            topic,
            payload: publish.payload,
            is_json: false,
            qos: publish.qos,
            retain: publish.retain,
            expiry_seconds: publish.properties.expiry_seconds,
            properties: form::owned(&publish.properties),
            conditions,
        };
        let verdict = match &broken {
            None if is_meta_event(topic) => self.publisher.turn_away(&inner, Reason::NotAuthorized),
            None => self.publisher.publish(inner, answering),
            Some(_) => self.publisher.turn_away(&inner, Reason::ConditionInvalid),
        };
        match verdict {
            Verdict::Accepted { .. } if answering == Answering::Nothing => None,
            Verdict::Hold => {
                if publish.qos == Qos::ExactlyOnce {
                    self.intake.refuse(packet_id);
                }
                Some(Flow::Push)
            }
            Verdict::Waiting => {
                if publish.qos == Qos::AtLeastOnce {
                    self.intake.waits(true);
                }
                None
            }
            verdict => {
                let why = match verdict {
                    Verdict::Refused(reason) => {
                        let broken = broken.map(|error| error.to_string().into());
                        self.publisher.why().or(broken).or_else(|| level_refused(publish, reason))
                    }
                    _ => None,
                };
                self.publish_answered(topic, answering, (verdict, why.as_deref()), out)
            }
        }
    }

    /// What a publish has come to, now.
    pub fn publish_answered(
        &mut self,
        topic: &str,
        answering: Answering,
        (verdict, why): (Verdict, Option<&str>),
        out: &mut Vec<u8>,
    ) -> Option<Flow> {
        if verdict == Verdict::Refused(Reason::NotAuthorized) {
            self.note_refused_publish(topic);
        }
        self.answer_now(answering, verdict, why, out)
    }

    /// A QoS 2 packet id came; false when its message was here before and is, or will be, answered.
    fn receive(&mut self, packet_id: u16, out: &mut Vec<u8>) -> bool {
        match self.intake.receive(packet_id) {
            Arrival::New => true,
            Arrival::Again if !self.publisher.session.was_fanned_out(packet_id) => true,
            Arrival::Waiting => false,
            Arrival::Again | Arrival::Received => {
                self.intake.answered(packet_id);
                self.ack(PacketType::Pubrec, packet_id, ReasonCode::Success, out);
                false
            }
        }
    }

    fn exceeds_receive_maximum(&self) -> bool {
        let max = usize::from(self.publisher.broker.config().receive_max);
        self.version == Version::V5 && self.intake.unanswered() > max
    }

    /// A publish that waited is through.
    pub fn answer(&mut self, answering: Answering, verdict: Verdict, out: &mut Vec<u8>) -> Option<Flow> {
        if let Answering::Puback(_) = answering {
            self.intake.waits(false);
        }
        self.answer_now(answering, verdict, None, out)
    }

    /// `why`: what a refusal says beside its code.
    fn answer_now(
        &mut self,
        answering: Answering,
        verdict: Verdict,
        mut why: Option<&str>,
        out: &mut Vec<u8>,
    ) -> Option<Flow> {
        let is_repeat = match answering {
            Answering::Puback(packet_id) | Answering::Pubrec(packet_id) => self.intake.settle(packet_id),
            Answering::Nothing | Answering::Pubcomp(_) => false,
        };
        let code = match verdict {
            // Refused means certainly not done, and of its first copy that is not certain (`guarantees.md` 1).
            Verdict::Refused(Reason::Busy | Reason::LevelAway) if is_repeat => {
                return Some(self.end(Reason::Unavailable, "", out));
            }
            Verdict::Accepted { matched: true } => ReasonCode::Success,
            Verdict::Accepted { matched: false } => ReasonCode::NoMatchingSubscribers,
            Verdict::Refused(reason) => match self.refused(answering, reason, out) {
                Ok(code) => {
                    why = why.or_else(|| conditions::why(reason));
                    code
                }
                Err(flow) => return Some(flow),
            },
            Verdict::Lost => return Some(self.end(Reason::Unavailable, "", out)),
            Verdict::Waiting | Verdict::Hold => return None,
        };
        match answering {
            Answering::Nothing => {}
            Answering::Puback(id) => self.ack_publish(PacketType::Puback, id, (code, why), out),
            Answering::Pubcomp(id) => self.ack(PacketType::Pubcomp, id, ReasonCode::Success, out),
            Answering::Pubrec(packet_id) => {
                if code.is_error() {
                    self.intake.refuse(packet_id);
                } else {
                    self.intake.answered(packet_id);
                }
                self.ack_publish(PacketType::Pubrec, packet_id, (code, why), out);
            }
        }
        None
    }

    /// How a refusal is said: MQTT 5 by reason code. 3.1.1 has no refusal: what may not be published
    /// is acknowledged and dropped (MQTT-3.3.5-2), what could not be kept ends the connection, so
    /// that the client sends it again.
    fn refused(
        &mut self,
        answering: Answering,
        reason: Reason,
        out: &mut Vec<u8>,
    ) -> Result<ReasonCode, Flow> {
        match (reason, self.version, answering) {
            (Reason::TopicInvalid, ..) => Err(self.end(reason, "topic name invalid", out)),
            (reason, Version::V5, _) => Ok(reason::code(reason)),
            (Reason::NotAuthorized, ..) | (_, _, Answering::Nothing) => Ok(ReasonCode::Success),
            _ => Err(self.end(reason, "", out)),
        }
    }

    /// PUBACK or PUBREC: to a message with an idempotency key it says where the message stands, to one that asked for an
    /// acknowledgement level what was reached, or why it was refused.
    fn ack_publish(
        &mut self,
        kind: PacketType,
        packet_id: u16,
        (code, why): (ReasonCode, Option<&str>),
        out: &mut Vec<u8>,
    ) {
        // Whoever asked for no problem information gets no user property either (MQTT-3.1.2-29).
        let may_say = self.version == Version::V5 && self.wants_reasons;
        let position = self.publisher.position().filter(|_| may_say && !code.is_error());
        let reached = self.publisher.reached().filter(|_| may_say && !code.is_error());
        let refused = why.filter(|_| may_say && code.is_error());
        let says_nothing = position.is_none() && reached.is_none() && refused.is_none();
        let Some(id) = NonZeroU16::new(packet_id).filter(|_| !says_nothing) else {
            return self.ack(kind, packet_id, code, out);
        };
        let position = position.map(|position| (POSITION, position.to_string()));
        let reached = reached.map(|reached| (level::PROPERTY, reached.to_string()));
        let said: Vec<(&str, String)> = position.into_iter().chain(reached).collect();
        let user: Vec<(&str, &str)> = said.iter().map(|(name, value)| (*name, &**value)).collect();
        let ack = Ack { user: List::of(&user), reason: refused, ..Ack::new(id, code) };
        let before = out.len();
        match kind {
            PacketType::Puback => encode::puback(out, &ack, self.version),
            _ => encode::pubrec(out, &ack, self.version),
        }
        // What the client has no room for is left out (MQTT-3.4.2-2, MQTT-3.4.2-3).
        if out.len() - before > self.frame_bytes_max {
            out.truncate(before);
            self.ack(kind, packet_id, code, out);
        }
    }

    /// Appends PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub fn ack(&self, kind: PacketType, packet_id: u16, code: ReasonCode, out: &mut Vec<u8>) {
        let Some(packet_id) = std::num::NonZeroU16::new(packet_id) else { return };
        let ack = Ack::new(packet_id, code);
        match kind {
            PacketType::Puback => encode::puback(out, &ack, self.version),
            PacketType::Pubrec => encode::pubrec(out, &ack, self.version),
            PacketType::Pubrel => encode::pubrel(out, &ack, self.version),
            _ => encode::pubcomp(out, &ack, self.version),
        }
    }

    /// PUBREL from a publisher: its packet id is free again once the store knows.
    fn release(&mut self, ack: Ack<'_>, out: &mut Vec<u8>) -> Option<Flow> {
        let packet_id = ack.packet_id.get();
        if !self.intake.release(packet_id) {
            self.ack(PacketType::Pubcomp, packet_id, ReasonCode::PacketIdentifierNotFound, out);
            return None;
        }
        let verdict = self.publisher.release(packet_id);
        self.answer_now(Answering::Pubcomp(packet_id), verdict, None, out)
    }

    /// PUBACK, PUBREC or PUBCOMP from a subscriber.
    fn answered(&mut self, ack: Ack<'_>, kind: PacketType, out: &mut Vec<u8>) -> Option<Flow> {
        let packet_id = ack.packet_id.get();
        let answered = match kind {
            PacketType::Puback => self.window.puback(packet_id),
            PacketType::Pubrec => self.window.pubrec(packet_id, ack.code.is_error()),
            _ => self.window.pubcomp(packet_id),
        };
        match answered {
            Answered::Over { number, claim } => {
                if let Some(claim) = claim {
                    self.publisher.broker.group_ack(&claim);
                } else if let Some(fence) = self.stored_fence() {
                    self.submit(SessionOp::Ack { fence, number });
                }
            }
            Answered::Release { number, claim } => {
                if let Some(claim) = claim {
                    self.publisher.broker.group_ack(&claim);
                }
                return self.release_delivery(packet_id, number, out);
            }
            Answered::Unknown if kind == PacketType::Pubrec => {
                self.ack(PacketType::Pubrel, packet_id, ReasonCode::PacketIdentifierNotFound, out);
            }
            Answered::Unknown => self.record_answered(packet_id),
        }
        None
    }

    /// PUBREL may go out once the store knows of the PUBREC: else a crash would send PUBLISH again.
    fn release_delivery(&mut self, packet_id: u16, number: u64, out: &mut Vec<u8>) -> Option<Flow> {
        let Some(fence) = self.stored_fence() else {
            self.ack(PacketType::Pubrel, packet_id, ReasonCode::Success, out);
            return None;
        };
        let session = self.session().clone();
        let ops = [SessionOp::Pubrec { fence, number }].into_iter().collect();
        let step = Step::Session { key: session.key.clone(), ops };
        let commit = weir_broker::publish::Commit::submit(&self.publisher.broker, &session, vec![step]);
        let owed = self.owed.get_or_insert_default();
        owed.releases.push_back((packet_id, commit));
        self.send_releases(out)
    }

    /// The right to write to the stored queue, if deliveries go through it.
    pub fn stored_fence(&self) -> Option<weir_broker::store::Fence> {
        self.fence.filter(|_| self.publisher.session.stored.is_some())
    }

    fn disconnect(&mut self, disconnect: &mqtt::Disconnect<'_>, out: &mut Vec<u8>) -> Flow {
        if let Some(seconds) = disconnect.session_expiry_seconds {
            if self.expiry_was_zero && seconds > 0 {
                return self.end(Reason::Protocol, "session expiry raised from 0 at DISCONNECT", out);
            }
            let granted = self.publisher.broker.config().session_expiry_seconds_max;
            if seconds > granted {
                self.publisher.broker.limited(Limit::SessionExpiry);
            }
            self.expiry_seconds = seconds.min(granted);
        }
        // MQTT-3.14.4-3: only a normal disconnection forgets the will.
        self.has_will &= disconnect.code != ReasonCode::Success;
        Flow::End
    }
}

/// What breaks the protocol in a PUBLISH that could be read.
#[inline]
fn check(publish: &mqtt::Publish<'_>) -> Result<(), (Reason, &'static str)> {
    if !publish.subscription_ids.is_empty() {
        return Err((Reason::Protocol, "subscription identifier from a client"));
    }
    // MQTT-3.3.2-14.
    if publish.properties.response_topic.is_some_and(has_wildcard) {
        return Err((Reason::Protocol, "response topic with a wildcard"));
    }
    if publish.properties.payload_is_utf8 && std::str::from_utf8(publish.payload).is_err() {
        return Err((Reason::PayloadFormat, "payload is not UTF-8"));
    }
    Ok(())
}

/// Why a publish was refused for the acknowledgement level it asked for, in words; `None` = it was not for that. A text
/// that names no level is not said back.
fn level_refused(publish: &mqtt::Publish<'_>, reason: Reason) -> Option<Arc<str>> {
    let is_level = matches!(
        reason,
        Reason::LevelUnknown | Reason::LevelImpossible | Reason::LevelAway | Reason::LevelDenied
    );
    if !is_level {
        return None;
    }
    let asked = publish.properties.user.iter().find(|(name, _)| *name == level::PROPERTY);
    let asked = asked.and_then(|(_, text)| text.parse::<Level>().ok());
    let asked =
        asked.map_or_else(|| level::PROPERTY.to_owned(), |level| format!("{} {level}", level::PROPERTY));
    Some(format!("{asked}: {reason}").into())
}

/// Whether a topic is that of one of WAMP's meta events, now or later, which only the node publishes.
#[inline]
pub fn is_meta_event(topic: &str) -> bool {
    let later = topic.strip_prefix("$delayed/").and_then(|rest| rest.split_once('/'));
    let name = later.map_or(topic, |(_, topic)| topic).strip_prefix("wamp/");
    let kinds = ["session/", "subscription/", "registration/"];
    name.is_some_and(|name| kinds.iter().any(|kind| name.starts_with(kind)))
}

/// Whether a name can only be a filter.
pub fn has_wildcard(topic: &str) -> bool {
    topic.contains(['+', '#'])
}

/// The topic a PUBLISH means. Without aliases there is nothing to look up.
#[inline]
fn topic<'a>(
    aliases: &'a mut Option<Box<Incoming>>,
    publish: &mqtt::Publish<'a>,
    max: u16,
) -> Result<&'a str, ReasonCode> {
    if publish.topic_alias.is_none() && !publish.topic.is_empty() {
        return Ok(publish.topic);
    }
    aliases.get_or_insert_default().resolve(publish, max)
}
