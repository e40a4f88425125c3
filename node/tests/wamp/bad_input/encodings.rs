//! Bytes that are no MessagePack, no CBOR and no JSON, and values without end.

use weir_bench::Client as Mqtt;
use weir_bench::client::{Message, Options};
use weir_model::Qos;
use weir_testkit::PATIENCE;

use crate::raw::{Client, HELLO};
use crate::script;

/// Each serialization: its number, HELLO, how ABORT begins.
const MSGPACK: (u8, &[u8], &[u8]) =
    (2, b"\x93\x01\xa7default\x81\xa5roles\x81\xa9publisher\x80", b"\x93\x03");
const CBOR: (u8, &[u8], &[u8]) = (3, b"\x83\x01\x67default\xa1\x65roles\xa1\x69publisher\xa0", b"\x83\x03");

fn nested(head: &[u8], levels: usize) -> Vec<u8> {
    [head, &head[head.len() - 1..].repeat(levels)].concat()
}

#[test]
fn broken_message_pack_and_cbor_end_the_session_and_no_other() {
    let msgpack: [&[u8]; 13] = [
        b"",
        b"\xc1",
        b"\x80",
        b"\x93",
        b"\x94\x20\x01\x80",
        b"\xdd\xff\xff\xff\xff",
        b"\x94\x20\x01\x80\xdb\xff\xff\xff\xff",
        b"\x94\x20\x01\x80\xa1\xff",
        b"\x94\x20\x01\xdf\xff\xff\xff\xff\xa1a",
        b"\x94\x20\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x80\xa1a",
        b"\x94\x20\xff\x80\xa1a",
        b"\x94\x20\x01\x80\xa1a\x00",
        &nested(b"\x95\x10\x01\x80\xa1a\x91", 100_000),
    ];
    let cbor: [&[u8]; 13] = [
        b"",
        b"\xff",
        b"\xa0",
        b"\x83",
        b"\x84\x18\x20\x01\xa0",
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x84\x18\x20\x01\xa0\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x84\x18\x20\x01\xa0\x61\xff",
        b"\x9f\x18\x20\x01\xa0",
        b"\x84\x18\x20\x1b\xff\xff\xff\xff\xff\xff\xff\xff\xa0\x61a",
        b"\x84\x18\x20\x20\xa0\x61a",
        b"\x84\x18\x20\x01\xa0\x61a\x00",
        &nested(b"\x85\x10\x01\xa0\x61a\x81", 100_000),
    ];
    let node = script::node();
    let mut witness = Client::welcomed(&node);
    let before = node.metrics().value("weir_gateway_broken_packets_total");
    for ((number, hello, abort), broken) in [(MSGPACK, msgpack), (CBOR, cbor)] {
        for bytes in broken {
            let shown = &bytes[..bytes.len().min(20)];
            let mut client = Client::speaking(&node, number);
            client.say_bytes(hello);
            assert_eq!(client.hear_bytes()[1], 2, "WELCOME");
            client.say_bytes(bytes);
            let answer = client.hear_bytes();
            assert!(answer.starts_with(abort), "{shown:x?}: {answer:x?}");
            assert!(String::from_utf8_lossy(&answer).contains("wamp.error.protocol_violation"), "{shown:x?}");
            assert!(client.ends_closed(), "{shown:x?}");
            // The same before WELCOME.
            let mut client = Client::speaking(&node, number);
            client.say_bytes(bytes);
            assert!(client.hear_bytes().starts_with(abort), "{shown:x?}");
            assert!(client.ends_closed(), "{shown:x?}");
        }
    }
    assert_eq!(node.metrics().value("weir_gateway_broken_packets_total"), before + 26.0);
    assert!(witness.ask("[32,1,{},\"a\"]").starts_with("[33,1,"));
}

#[test]
fn frames_that_are_none_end_the_connection() {
    let node = script::node();
    let mut witness = Client::welcomed(&node);
    // A frame of an unknown type, one longer than is taken, a ping that is cut off by the end.
    for header in [[7, 0, 0, 1], [0, 0xff, 0xff, 0xff], [0x80, 0, 0, 0]] {
        let mut client = Client::welcomed(&node);
        client.write(&header);
        let answer = client.hear();
        assert!(answer.starts_with("[3,") && answer.contains("protocol_violation"), "{answer}");
        assert!(client.ends_closed());
    }
    // Handshakes that are none: another serialization, a version of HTTP, reserved bits.
    for handshake in [[0x7f, 0xf9, 0, 0], *b"GET ", [0x7f, 0xf1, 0, 1]] {
        assert!(Client::refused_handshake(&node, handshake), "{handshake:x?}");
    }
    assert!(witness.ask("[32,1,{},\"a\"]").starts_with("[33,1,"));
}

#[tokio::test]
async fn whatever_mqtt_publishes_reaches_every_wamp_subscriber_and_ends_none() {
    let node = script::node();
    let mut subscribers = Vec::new();
    let subscribes: [(u8, &[u8], &[u8]); 3] = [
        (1, HELLO.as_bytes(), b"[32,1,{\"match\":\"prefix\"},\"odd\"]"),
        (2, MSGPACK.1, b"\x94\x20\x01\x81\xa5match\xa6prefix\xa3odd"),
        (3, CBOR.1, b"\x84\x18\x20\x01\xa1\x65match\x66prefix\x63odd"),
    ];
    for (number, hello, subscribe) in subscribes {
        let mut client = Client::speaking(&node, number);
        client.say_bytes(hello);
        client.hear_bytes();
        client.say_bytes(subscribe);
        client.hear_bytes();
        subscribers.push(client);
    }
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let payloads: [&[u8]; 14] = [
        b"no json",
        b"",
        b"\xff\xfe",
        b"\x00",
        b"[1,",
        b"{\"a\":1,}",
        b"{\"a\":1} x",
        b"NaN",
        b"1e999",
        b"123456789012345678901234567890",
        b"\"\\ud800\"",
        b"{\"a\":1,\"a\":2}",
        b"\"\x01\"",
        &deep,
    ];
    let url = url::Url::parse(&format!("mqtt://{}", node.address("mqtt"))).expect("a URL");
    let options = Options { client_id: "odd".to_owned(), timeout: PATIENCE, ..Options::default() };
    let mut mqtt = Mqtt::connect(&url, &options).await.expect("connected");
    for (at, payload) in payloads.into_iter().enumerate() {
        let topic = format!("odd/{at}");
        mqtt.publish(&Message::new(topic, payload.to_vec(), Qos::AtLeastOnce)).await.expect("acknowledged");
    }
    mqtt.publish(&Message::new("odd/last", "true", Qos::AtLeastOnce)).await.expect("acknowledged");
    for client in &mut subscribers {
        for at in 0..payloads.len() {
            let event = client.hear_bytes();
            let name = format!("odd.{at}");
            assert!(event.windows(name.len()).any(|part| part == name.as_bytes()), "{at}: {event:x?}");
        }
        let last = client.hear_bytes();
        assert!(last.windows(8).any(|part| part == b"odd.last"), "{last:x?}");
    }
}
