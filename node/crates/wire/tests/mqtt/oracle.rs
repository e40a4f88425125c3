//! Another codec, rmqtt's, reads what we write and means the same by it.

use bytes::BytesMut;
use proptest::prelude::*;
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Decoder;
use weir_wire::mqtt::*;

use crate::pool::{Pool, pools_without_empty_texts, versions};

/// One PUBLISH, CONNECT or SUBSCRIBE as text that both codecs can be brought to.
type Meaning = Vec<String>;

fn say(name: &str, value: impl std::fmt::Debug) -> String {
    format!("{name} {value:?}")
}

fn ours(frame: &[u8], version: Version) -> Option<Meaning> {
    Some(match decode(frame, version).ok()? {
        Packet::Publish(p) => {
            let user: Vec<_> = p.properties.user.iter().collect();
            let ids: Vec<_> = p.subscription_ids.iter().collect();
            vec![
                say("publish", (p.dup, p.qos as u8, p.retain, p.topic, p.packet_id, p.payload)),
                say("alias", (p.topic_alias, ids, user)),
                say("properties", (p.properties.payload_is_utf8, p.properties.expiry_seconds)),
                say("types", (p.properties.content_type, p.properties.response_topic)),
                say("correlation", p.properties.correlation_data),
            ]
        }
        Packet::Connect(c) => {
            let will = c.will.as_ref();
            let user: Vec<_> = c.user.iter().collect();
            vec![
                say("connect", (c.clean_start, c.keep_alive, c.client_id, c.username, c.password)),
                say("will", will.map(|w| (w.qos as u8, w.retain, w.topic, w.payload))),
                say("limits", (c.session_expiry_seconds.unwrap_or(0), c.topic_alias_maximum)),
                say("sizes", (c.receive_maximum, c.packet_bytes_max, user)),
                say("wants", (c.request_problem_information, c.request_response_information)),
                say("auth", (c.authentication_method, c.authentication_data)),
            ]
        }
        Packet::Subscribe(s) => {
            let filters: Vec<_> = s.filters.iter().map(|(f, o)| (f, o.as_u8())).collect();
            let user: Vec<_> = s.user.iter().collect();
            vec![say("subscribe", (s.packet_id, s.subscription_id, filters, user))]
        }
        _ => return None,
    })
}

fn theirs(frame: &[u8], version: Version) -> Option<Meaning> {
    let mut bytes = BytesMut::from(frame);
    match version {
        Version::V5 => match v5::Codec::default().decode(&mut bytes).ok()??.0 {
            v5::Packet::Publish(publish) => Some(their_publish(&publish)),
            v5::Packet::Connect(connect) => Some(their_connect(&connect)),
            v5::Packet::Subscribe(subscribe) => Some(their_subscribe(&subscribe)),
            _ => None,
        },
        _ => match v3::Codec::default().decode(&mut bytes).ok()??.0 {
            v3::Packet::Publish(publish) => Some(their_publish(&publish)),
            v3::Packet::Connect(connect) => Some(their_v3_connect(&connect)),
            v3::Packet::Subscribe { packet_id, topic_filters } => {
                let filters: Vec<_> =
                    topic_filters.iter().map(|(filter, qos)| (filter.to_string(), qos.value())).collect();
                let nothing: Vec<(&str, &str)> = Vec::new();
                Some(vec![say("subscribe", (packet_id, None::<u32>, filters, nothing))])
            }
            _ => None,
        },
    }
}

fn user(properties: &v5::UserProperties) -> Vec<(&str, &str)> {
    properties.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect()
}

fn their_publish(p: &rmqtt_codec::types::Publish) -> Meaning {
    let said = p.properties.clone().unwrap_or_default();
    let ids: Vec<_> = said.subscription_ids.iter().map(|id| id.get()).collect();
    let (topic, payload): (&str, &[u8]) = (&p.topic, &p.payload);
    vec![
        say("publish", (p.dup, p.qos.value(), p.retain, topic, p.packet_id, payload)),
        say("alias", (said.topic_alias, ids, user(&said.user_properties))),
        say("properties", (said.is_utf8_payload, said.message_expiry_interval.map(|seconds| seconds.get()))),
        say("types", (said.content_type.as_deref(), said.response_topic.as_deref())),
        say("correlation", said.correlation_data.as_deref()),
    ]
}

fn their_connect(c: &v5::Connect) -> Meaning {
    let will = c.last_will.as_ref();
    let (client_id, username): (&str, Option<&str>) = (&c.client_id, c.username.as_deref());
    vec![
        say("connect", (c.clean_start, c.keep_alive, client_id, username, c.password.as_deref())),
        say("will", will.map(|w| (w.qos.value(), w.retain, &*w.topic, &*w.message))),
        say("limits", (c.session_expiry_interval_secs, c.topic_alias_max)),
        say("sizes", (c.receive_max, c.max_packet_size, user(&c.user_properties))),
        say("wants", (c.request_problem_info, c.request_response_info)),
        say("auth", (c.auth_method.as_deref(), c.auth_data.as_deref())),
    ]
}

fn their_v3_connect(c: &v3::Connect) -> Meaning {
    let will = c.last_will.as_ref();
    let (client_id, username): (&str, Option<&str>) = (&c.client_id, c.username.as_deref());
    let nothing: Vec<(&str, &str)> = Vec::new();
    vec![
        say("connect", (c.clean_session, c.keep_alive, client_id, username, c.password.as_deref())),
        say("will", will.map(|w| (w.qos.value(), w.retain, &*w.topic, &*w.message))),
        say("limits", (0, 0)),
        say("sizes", (None::<u16>, None::<u32>, nothing)),
        say("wants", (true, false)),
        say("auth", (None::<&str>, None::<&[u8]>)),
    ]
}

fn their_subscribe(s: &v5::Subscribe) -> Meaning {
    let bits = |o: &v5::SubscriptionOptions| {
        let retain_handling: u8 = o.retain_handling.into();
        o.qos.value()
            | u8::from(o.no_local) << 2
            | u8::from(o.retain_as_published) << 3
            | retain_handling << 4
    };
    let filters: Vec<_> = s.topic_filters.iter().map(|(f, o)| (f.to_string(), bits(o))).collect();
    let id = s.id.map(|id| id.get());
    vec![say("subscribe", (s.packet_id, id, filters, user(&s.user_properties)))]
}

fn frames(pool: &Pool, version: Version) -> Vec<Vec<u8>> {
    let lists = pool.lists(version);
    let (mut publish, mut connect, mut subscribe) = (Vec::new(), Vec::new(), Vec::new());
    encode::publish(&mut publish, &pool.publish(&lists, version), version);
    // The bridge bit is nothing the other codec knows.
    encode::connect(&mut connect, &Connect { bridge: false, ..pool.connect(&lists, version) });
    encode::subscribe(&mut subscribe, &pool.subscribe(&lists, version), version);
    vec![publish, connect, subscribe]
}

proptest! {
    #[test]
    fn the_other_codec_understands_what_we_write(pool in pools_without_empty_texts(), version in versions()) {
        for frame in frames(&pool, version) {
            let ours = ours(&frame, version);
            prop_assert!(ours.is_some());
            prop_assert_eq!(theirs(&frame, version), ours);
        }
    }

    #[test]
    fn what_both_codecs_accept_means_the_same(
        pool in pools_without_empty_texts(),
        version in versions(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        for mut frame in frames(&pool, version) {
            let at = at.index(frame.len());
            frame[at] = byte;
            if let (Some(ours), Some(theirs)) = (ours(&frame, version), theirs(&frame, version)) {
                prop_assert_eq!(ours, theirs);
            }
        }
    }
}
