//! The bytes of every message in every format, as an encoder nobody here wrote would have them.

use std::borrow::Cow;

use weir_wire::wamp::message::*;
use weir_wire::wamp::{Args, Format, Id, Message, MessageType, Payload};

use crate::{FORMATS, as_json, encoded, raw, read};

/// JSON text, MessagePack and CBOR in hexadecimal, an empty line: of each message.
const GOLDEN: &str = include_str!("golden.txt");

fn golden() -> Vec<[Vec<u8>; 3]> {
    let blocks = GOLDEN.split("\n\n").map(str::trim).filter(|block| !block.is_empty());
    let golden = blocks.map(|block| {
        let lines: Vec<_> = block.lines().collect();
        [lines[0].as_bytes().to_vec(), hex(lines[1]), hex(lines[2])]
    });
    golden.collect()
}

fn hex(digits: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[test]
fn every_message_has_the_same_bytes_whatever_format_it_came_in() {
    for forms in golden() {
        for (from, bytes) in FORMATS.into_iter().zip(&forms) {
            let message = read(bytes, from).unwrap_or_else(|error| panic!("{from:?}: {error}"));
            for (to, wanted) in FORMATS.into_iter().zip(&forms) {
                let shown = String::from_utf8_lossy(&forms[0]);
                assert_eq!(&encoded(&message, to), wanted, "{from:?} to {to:?}: {shown}");
            }
        }
    }
}

#[test]
fn there_is_a_golden_form_of_every_message_type() {
    let golden = golden();
    let seen: Vec<_> =
        golden.iter().map(|[json, ..]| read(json, Format::Json).unwrap().message_type()).collect();
    for kind in (0..100).filter_map(MessageType::of_code) {
        assert!(seen.contains(&kind), "{kind}");
    }
}

fn id(number: u64) -> Id {
    Id::new(number).unwrap()
}

#[test]
fn what_a_publisher_says_is_where_the_standard_puts_it() {
    let publish = Publish {
        request: id(7),
        options: PublishOptions {
            acknowledge: true,
            exclude_me: Some(false),
            exclude: Some(vec![id(1)]),
            eligible_authrole: Some(vec!["x".into()]),
            disclose_me: true,
            when: Some(raw("null")),
            will: Some(raw("{}")),
            ..PublishOptions::default()
        },
        topic: "a.b".into(),
        payload: Payload::new(Some(Args::All(raw("[1]"))), Some(raw(r#"{"k":2}"#))),
    };
    let wanted = concat!(
        r#"[16,7,{"acknowledge":true,"exclude_me":false,"exclude":[1],"eligible_authrole":["x"],"#,
        r#""disclose_me":true,"when":null,"will":{}},"a.b",[1],{"k":2}]"#
    );
    assert_eq!(as_json(&Message::Publish(publish)), wanted);
}

#[test]
fn what_a_subscriber_gets_is_where_the_standard_puts_it() {
    let event = Event {
        subscription: id(1),
        publication: id(2),
        details: EventDetails { topic: Some("t".into()), publisher: Some(id(3)), ..EventDetails::default() },
        payload: Payload::args(Args::One(raw("9"))),
    };
    assert_eq!(as_json(&Message::Event(event)), r#"[36,1,2,{"topic":"t","publisher":3},[9]]"#);
}

#[test]
fn an_error_says_what_it_answers() {
    let error = Error {
        request_type: MessageType::Call,
        request: id(9),
        details: ErrorDetails::default(),
        error: Cow::Borrowed("e.f"),
        payload: Payload::default(),
    };
    assert_eq!(as_json(&Message::Error(error)), r#"[8,48,9,{},"e.f"]"#);
}

#[test]
fn a_welcome_lists_the_roles_and_their_features() {
    let roles = Roles {
        broker: Some(Role::with(&[Feature::EventRetention, Feature::PublisherExclusion])),
        dealer: Some(Role::default()),
        ..Roles::default()
    };
    let details = WelcomeDetails { roles: Some(roles), ..WelcomeDetails::default() };
    let wanted = r#"[2,1,{"roles":{"broker":{"features":{"publisher_exclusion":true,"event_retention":true}},"dealer":{}}}]"#;
    assert_eq!(as_json(&Message::Welcome(Welcome { session: id(1), details })), wanted);
}
