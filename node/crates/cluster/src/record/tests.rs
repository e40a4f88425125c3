//! Records: what goes in comes out, and nothing else is believed.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Owned {
    realm: String,
    topic: String,
    payload: Vec<u8>,
    qos: Qos,
    retain: bool,
    expiry: Option<u64>,
    properties: Option<Vec<u8>>,
    position: Option<Position>,
    numbered: Vec<OwnedCopy>,
    share: Option<String>,
    only_named: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct OwnedCopy {
    client_id: String,
    generation: u64,
    number: u64,
    qos: Qos,
    retain: bool,
    ids: Vec<u32>,
    group: Option<String>,
}

fn qos() -> impl Strategy<Value = Qos> {
    (0..3u8).prop_map(|bits| Qos::from_bits(bits).unwrap())
}

fn copy() -> impl Strategy<Value = OwnedCopy> {
    let ids = vec(any::<u32>(), 0..4);
    ("[a-z]{0,8}", any::<u64>(), any::<u64>(), qos(), any::<bool>(), ids, option::of("[$a-z/]{1,9}"))
        .prop_map(|(client_id, generation, number, qos, retain, ids, group)| OwnedCopy {
            client_id,
            generation,
            number,
            qos,
            retain,
            ids,
            group,
        })
}

fn message() -> impl Strategy<Value = Owned> {
    let position = any::<(u64, u64, u64)>().prop_map(|(epoch, ms, seq)| Position { epoch, ms, seq });
    let first = ("[ab]{1,2}", "[ab/]{1,3}", vec(any::<u8>(), 0..300), qos(), any::<bool>());
    let rest = (
        option::of(any::<u64>()),
        option::of(vec(any::<u8>(), 0..9)),
        option::of(position),
        vec(copy(), 0..3),
        option::of("[$a-z/]{1,9}"),
        any::<bool>(),
    );
    (first, rest).prop_map(
        |(
            (realm, topic, payload, qos, retain),
            (expiry, properties, position, numbered, share, only_named),
        )| Owned {
            realm,
            topic,
            payload,
            qos,
            retain,
            expiry,
            properties,
            position,
            numbered,
            share,
            only_named,
        },
    )
}

fn push(run: &mut Run, out: &mut Vec<u8>, message: &Owned) {
    let copy = |copy: &'_ OwnedCopy| (copy.client_id.clone(), copy.ids.clone(), copy.group.clone());
    let texts: Vec<_> = message.numbered.iter().map(copy).collect();
    let numbered: Vec<_> = (message.numbered.iter().zip(&texts))
        .map(|(copy, (client_id, ids, group))| Numbered {
            client_id,
            generation: copy.generation,
            number: copy.number,
            qos: copy.qos,
            retain: copy.retain,
            subscription_ids: ids,
            group: group.as_deref(),
        })
        .collect();
    let outgoing = Outgoing {
        realm: &message.realm,
        topic: &message.topic,
        payload: &message.payload,
        qos: message.qos,
        retain: message.retain,
        expiry_ms_left: message.expiry,
        properties: message.properties.as_deref(),
        position: message.position,
        numbered: &numbered,
        share: message.share.as_deref(),
        only_named: message.only_named,
    };
    run.push(out, &outgoing);
}

fn assert_same(came: &Incoming<'_>, sent: &Owned) {
    assert_eq!((came.realm, came.topic, came.payload), (&*sent.realm, &*sent.topic, &*sent.payload));
    assert_eq!((came.qos, came.retain, came.expiry_ms_left), (sent.qos, sent.retain, sent.expiry));
    assert_eq!((came.properties, came.position), (sent.properties.as_deref(), sent.position));
    assert_eq!((came.share, came.only_named), (sent.share.as_deref(), sent.only_named));
    let copies: Vec<_> = (came.numbered.clone())
        .map(|copy| OwnedCopy {
            client_id: copy.client_id.to_owned(),
            generation: copy.generation,
            number: copy.number,
            qos: copy.qos,
            retain: copy.retain,
            ids: copy.subscription_ids.collect(),
            group: copy.group.map(str::to_owned),
        })
        .collect();
    assert_eq!(copies, sent.numbered);
}

fn plain<'a>(topic: &'a str, payload: &'a [u8]) -> Outgoing<'a> {
    Outgoing {
        realm: "default",
        topic,
        payload,
        qos: Qos::AtMostOnce,
        retain: false,
        expiry_ms_left: None,
        properties: None,
        position: None,
        numbered: &[],
        share: None,
        only_named: false,
    }
}

proptest! {
    #[test]
    fn runs_come_out_as_they_went_in(runs in vec(vec(message(), 1..5), 1..4)) {
        let mut out = Vec::new();
        for messages in &runs {
            let mut run = Run::default();
            messages.iter().for_each(|message| push(&mut run, &mut out, message));
            prop_assert_eq!(run.messages() as usize, messages.len());
        }
        let sent: Vec<_> = runs.iter().flatten().collect();
        let came: Vec<_> = Records::decode(&out).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(came.len(), sent.len());
        for (came, sent) in came.iter().zip(sent) {
            assert_same(came, sent);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200)) {
        for record in Records::decode(&bytes).flatten() {
            let _ids: usize = record.numbered.map(|copy| copy.subscription_ids.count()).sum();
        }
        let _ = decode_properties(&bytes);
    }

    #[test]
    fn a_changed_byte_never_makes_it_panic(sent in message(), at: prop::sample::Index, byte: u8) {
        let mut out = Vec::new();
        push(&mut Run::default(), &mut out, &sent);
        push(&mut Run::default(), &mut out, &sent);
        let at = at.index(out.len());
        out[at] = byte;
        for record in Records::decode(&out).flatten() {
            let _ids: usize = record.numbered.map(|copy| copy.subscription_ids.count()).sum();
        }
    }
}

#[test]
fn a_record_on_the_topic_before_costs_two_bytes_beside_its_payload() {
    let (mut out, mut run) = (Vec::new(), Run::default());
    run.push(&mut out, &plain("a/b", &[7; 64]));
    let first = out.len();
    run.push(&mut out, &plain("a/b", &[7; 64]));
    assert_eq!(out.len() - first, 66);
}

#[test]
fn golden_bytes() {
    let (mut out, mut run) = (Vec::new(), Run::default());
    run.push(&mut out, &plain("t", b"x"));
    run.push(&mut out, &Outgoing { retain: true, qos: Qos::AtLeastOnce, ..plain("u", b"") });
    run.push(&mut out, &Outgoing { expiry_ms_left: Some(300), ..plain("u", b"y") });
    assert_eq!(out, b"\x00\x07default\x01t\x01x\x15\x01u\x00\x28\x01\xac\x02\x01y");
}

#[test]
fn errors_name_their_place() {
    let wrong = |bytes: &[u8]| Records::decode(bytes).last().unwrap().unwrap_err();
    assert_eq!(wrong(&[0x40]), Malformed { at: 0, what: "unknown bits in the head" });
    assert_eq!(wrong(&[3]), Malformed { at: 0, what: "there is no qos 3" });
    assert_eq!(wrong(&[8, 0]), Malformed { at: 1, what: "the first record repeats another" });
    assert_eq!(wrong(b"\x00\x01r\x01#\x00"), Malformed { at: 4, what: "not a topic" });
    assert_eq!(wrong(b"\x00\x01r\x01t\x05x"), Malformed { at: 6, what: "longer than what is left" });
    assert_eq!(wrong(b"\x00\x01\xff\x01t\x00"), Malformed { at: 2, what: "the text is not utf-8" });
}

#[test]
fn properties_come_out_as_they_went_in() {
    let properties = Properties {
        payload_is_utf8: true,
        content_type: Some("text/plain".into()),
        user: vec![("a".into(), "b".into()), ("a".into(), "".into())],
        ..Properties::default()
    };
    let mut bytes = encode_properties(&properties).unwrap();
    assert!(decode_properties(&bytes).unwrap() == properties);
    bytes.push(0);
    assert!(decode_properties(&bytes).is_err());
}
