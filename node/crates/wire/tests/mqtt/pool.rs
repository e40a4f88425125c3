//! Random packets: an owned pool of fields, and every packet built from it.

use std::num::{NonZeroU16, NonZeroU32};

use proptest::collection::vec;
use proptest::prelude::*;
use weir_model::Qos;
use weir_wire::mqtt::*;

/// Fields to build packets from; which ones are there is decided by the bits of `chosen`.
#[derive(Debug, Clone)]
pub struct Pool {
    texts: Vec<String>,
    blobs: Vec<Vec<u8>>,
    pairs: Vec<(String, String)>,
    ids: Vec<u32>,
    numbers: [u32; 3],
    packet_id: NonZeroU16,
    options: Vec<u8>,
    chosen: u32,
}

const TEXTS: usize = 6;
const BLOBS: usize = 3;

pub fn pools() -> impl Strategy<Value = Pool> {
    pools_of("[^\0]{0,12}")
}

/// The other codec refuses empty topics, filters and client ids, which here are the gateway's to judge.
pub fn pools_without_empty_texts() -> impl Strategy<Value = Pool> {
    pools_of("[^\0]{1,12}")
}

fn pools_of(text: &'static str) -> impl Strategy<Value = Pool> {
    (
        vec(text, TEXTS),
        vec(vec(any::<u8>(), 0..200), BLOBS),
        vec((text, text), 0..4),
        vec(1..=268_435_455_u32, 0..4),
        any::<[u32; 3]>(),
        any::<NonZeroU16>(),
        vec(any::<u8>(), 1..4),
        any::<u32>(),
    )
        .prop_map(|(texts, blobs, pairs, ids, numbers, packet_id, options, chosen)| Pool {
            texts,
            blobs,
            pairs,
            ids,
            numbers,
            packet_id,
            options,
            chosen,
        })
}

pub fn versions() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V31), Just(Version::V311), Just(Version::V5)]
}

/// What of a [`Pool`] has to be borrowed as a list of borrows.
pub struct Lists<'a> {
    pairs: Vec<(&'a str, &'a str)>,
    filters: Vec<(&'a str, SubscribeOptions)>,
    names: Vec<&'a str>,
    codes: Vec<ReasonCode>,
}

impl Pool {
    pub fn lists(&self, version: Version) -> Lists<'_> {
        let names: Vec<&str> = self.options.iter().map(|at| self.text(usize::from(*at))).collect();
        let options = self.options.iter().map(|bits| options(*bits, version));
        Lists {
            pairs: self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            filters: names.iter().copied().zip(options).collect(),
            names,
            codes: self.options.iter().map(|bits| SUBACK[usize::from(*bits) % SUBACK.len()]).collect(),
        }
    }

    /// Every packet of the version, with fields of this pool.
    pub fn packets<'a>(&'a self, lists: &'a Lists<'a>, version: Version) -> Vec<Packet<'a>> {
        let mut packets = vec![
            Packet::Connect(Box::new(self.connect(lists, version))),
            Packet::Connack(self.connack(lists, version)),
            Packet::Publish(self.publish(lists, version)),
            Packet::Puback(self.ack(lists, version, ReasonCode::QuotaExceeded)),
            Packet::Pubrec(self.ack(lists, version, ReasonCode::NoMatchingSubscribers)),
            Packet::Pubrel(self.ack(lists, version, ReasonCode::PacketIdentifierNotFound)),
            Packet::Pubcomp(self.ack(lists, version, ReasonCode::PacketIdentifierNotFound)),
            Packet::Subscribe(self.subscribe(lists, version)),
            Packet::Suback(self.suback(lists, version)),
            Packet::Unsubscribe(self.unsubscribe(lists, version)),
            Packet::Unsuback(self.unsuback(lists, version)),
            Packet::Pingreq,
            Packet::Pingresp,
            Packet::Disconnect(self.disconnect(lists, version)),
        ];
        if version == Version::V5 {
            packets.push(Packet::Auth(self.auth(lists)));
        }
        packets
    }

    pub fn connect<'a>(&'a self, lists: &'a Lists<'a>, version: Version) -> Connect<'a> {
        let is_v5 = version == Version::V5;
        let username = self.maybe(1, self.text(1));
        let password_allowed = is_v5 || username.is_some();
        let plain = Connect {
            bridge: !is_v5 && self.has(0),
            clean_start: self.has(2),
            keep_alive: self.packet_id.get(),
            will: self.maybe(3, self.will(lists, version)),
            username,
            password: self.maybe(4, self.blob(0)).filter(|_| password_allowed),
            ..Connect::new(version, self.text(0))
        };
        if !is_v5 {
            return plain;
        }
        let authentication_method = self.maybe(5, self.text(2));
        Connect {
            session_expiry_seconds: self.maybe(6, self.numbers[0]),
            receive_maximum: self.maybe(7, self.packet_id),
            packet_bytes_max: NonZeroU32::new(self.numbers[1]),
            topic_alias_maximum: self.numbers[2] as u16,
            request_response_information: self.has(8),
            request_problem_information: self.has(9),
            user: UserProperties::of(&lists.pairs),
            authentication_method,
            authentication_data: authentication_method.and(self.maybe(10, self.blob(1))),
            ..plain
        }
    }

    fn will<'a>(&'a self, lists: &'a Lists<'a>, version: Version) -> Will<'a> {
        let plain = Will { qos: self.qos(), retain: self.has(11), ..Will::new(self.text(3), self.blob(2)) };
        match version {
            Version::V5 => {
                Will { delay_seconds: self.numbers[2], properties: self.properties(lists), ..plain }
            }
            _ => plain,
        }
    }

    fn properties<'a>(&'a self, lists: &'a Lists<'a>) -> MessageProperties<'a> {
        MessageProperties {
            payload_is_utf8: self.has(12),
            expiry_seconds: self.maybe(13, self.numbers[1].max(1)),
            content_type: self.maybe(14, self.text(4)),
            response_topic: self.maybe(15, self.text(5)),
            correlation_data: self.maybe(16, self.blob(1)),
            user: self.user(lists),
        }
    }

    pub fn publish<'a>(&'a self, lists: &'a Lists<'a>, version: Version) -> Publish<'a> {
        let qos = self.qos();
        let plain = Publish {
            dup: qos != Qos::AtMostOnce && self.has(18),
            qos,
            retain: self.has(19),
            packet_id: (qos != Qos::AtMostOnce).then_some(self.packet_id),
            ..Publish::new(self.text(0), self.blob(0))
        };
        if version != Version::V5 {
            return plain;
        }
        Publish {
            topic_alias: self.maybe(20, self.packet_id).or(plain.topic.is_empty().then_some(self.packet_id)),
            properties: self.properties(lists),
            subscription_ids: SubscriptionIds::of(&self.ids),
            ..plain
        }
    }

    fn connack<'a>(&'a self, lists: &'a Lists<'a>, version: Version) -> Connack<'a> {
        let code = if self.has(0) { ReasonCode::NotAuthorized } else { ReasonCode::Success };
        let present = version != Version::V31 && code == ReasonCode::Success;
        let plain = Connack { session_present: present && self.has(1), ..Connack::new(code) };
        if version != Version::V5 {
            return plain;
        }
        Connack {
            session_expiry_seconds: self.maybe(2, self.numbers[0]),
            receive_maximum: self.maybe(3, self.packet_id),
            maximum_qos: self.qos(),
            retain_available: self.has(4),
            packet_bytes_max: NonZeroU32::new(self.numbers[1]),
            assigned_client_id: self.maybe(5, self.text(0)),
            topic_alias_maximum: self.numbers[2] as u16,
            reason: self.maybe(6, self.text(1)),
            user: self.user(lists),
            wildcard_subscription_available: self.has(7),
            subscription_ids_available: self.has(8),
            shared_subscription_available: self.has(9),
            server_keep_alive: self.maybe(10, self.packet_id.get()),
            response_information: self.maybe(11, self.text(2)),
            server_reference: self.maybe(12, self.text(3)),
            authentication_method: self.maybe(13, self.text(4)),
            authentication_data: self.maybe(14, self.blob(0)),
            ..plain
        }
    }

    fn ack<'a>(&'a self, lists: &'a Lists<'a>, version: Version, code: ReasonCode) -> Ack<'a> {
        let success = Ack::new(self.packet_id, ReasonCode::Success);
        if version != Version::V5 {
            return success;
        }
        let code = if self.has(0) { code } else { ReasonCode::Success };
        Ack { code, reason: self.maybe(1, self.text(0)), user: self.user(lists), ..success }
    }

    pub fn subscribe<'a>(&'a self, lists: &'a Lists<'a>, version: Version) -> Subscribe<'a> {
        let is_v5 = version == Version::V5;
        Subscribe {
            packet_id: self.packet_id,
            filters: Filters::of(&lists.filters),
            subscription_id: self.ids.first().copied().filter(|_| is_v5),
            user: if is_v5 { self.user(lists) } else { UserProperties::default() },
        }
    }

    fn suback<'a>(&'a self, lists: &'a Lists<'a>, version: Version) -> Suback<'a> {
        let plain = Suback::new(self.packet_id, ReasonCodes::of(&lists.codes));
        match version {
            Version::V5 => Suback { reason: self.maybe(0, self.text(0)), user: self.user(lists), ..plain },
            _ => plain,
        }
    }

    fn unsubscribe<'a>(&'a self, lists: &'a Lists<'a>, version: Version) -> Unsubscribe<'a> {
        let user = if version == Version::V5 { self.user(lists) } else { UserProperties::default() };
        Unsubscribe { packet_id: self.packet_id, filters: FilterNames::of(&lists.names), user }
    }

    fn unsuback<'a>(&'a self, lists: &'a Lists<'a>, version: Version) -> Suback<'a> {
        const CODES: [ReasonCode; 3] =
            [ReasonCode::Success, ReasonCode::NoSubscriptionExisted, ReasonCode::NotAuthorized];
        match version {
            Version::V5 => Suback {
                reason: self.maybe(0, self.text(0)),
                user: self.user(lists),
                ..Suback::new(self.packet_id, ReasonCodes::of(&CODES))
            },
            _ => Suback::new(self.packet_id, ReasonCodes::default()),
        }
    }

    fn disconnect<'a>(&'a self, lists: &'a Lists<'a>, version: Version) -> Disconnect<'a> {
        if version != Version::V5 {
            return Disconnect::new(ReasonCode::Success);
        }
        let code = if self.has(0) { ReasonCode::SessionTakenOver } else { ReasonCode::Success };
        Disconnect {
            session_expiry_seconds: self.maybe(1, self.numbers[0]),
            reason: self.maybe(2, self.text(0)),
            user: self.user(lists),
            server_reference: self.maybe(3, self.text(1)),
            ..Disconnect::new(code)
        }
    }

    fn auth<'a>(&'a self, lists: &'a Lists<'a>) -> Auth<'a> {
        Auth {
            data: self.maybe(0, self.blob(0)),
            reason: self.maybe(1, self.text(1)),
            user: self.user(lists),
            ..Auth::new(ReasonCode::Reauthenticate, self.text(0))
        }
    }

    fn has(&self, bit: u32) -> bool {
        self.chosen >> bit & 1 == 1
    }

    fn maybe<T>(&self, bit: u32, value: T) -> Option<T> {
        self.has(bit).then_some(value)
    }

    fn user<'a>(&self, lists: &'a Lists<'a>) -> UserProperties<'a> {
        if self.has(17) { UserProperties::of(&lists.pairs) } else { UserProperties::default() }
    }

    fn qos(&self) -> Qos {
        Qos::from_bits((self.chosen >> 21) as u8 % 3).unwrap()
    }

    fn text(&self, at: usize) -> &str {
        &self.texts[at % TEXTS]
    }

    fn blob(&self, at: usize) -> &[u8] {
        &self.blobs[at % BLOBS]
    }
}

/// Codes a SUBACK of every version may carry.
const SUBACK: [ReasonCode; 4] =
    [ReasonCode::Success, ReasonCode::GrantedQos1, ReasonCode::GrantedQos2, ReasonCode::UnspecifiedError];

fn options(bits: u8, version: Version) -> SubscribeOptions {
    let plain = SubscribeOptions { qos: Qos::from_bits(bits % 3).unwrap(), ..SubscribeOptions::default() };
    if version != Version::V5 {
        return plain;
    }
    let retain_handling = match bits >> 6 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        _ => RetainHandling::DoNotSend,
    };
    SubscribeOptions {
        no_local: bits & 0x10 != 0,
        retain_as_published: bits & 0x20 != 0,
        retain_handling,
        ..plain
    }
}
