//! Frames built by hand, so that they can be wrong.

use weir_testkit::{Closed, RawMqtt};

/// The two versions most cases are tried in, by the protocol level of their CONNECT.
pub const V311: u8 = 4;
pub const V5: u8 = 5;

/// A frame of this first byte around a body, with a length that is right.
pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let low = (left % 128) as u8;
        left /= 128;
        bytes.push(if left > 0 { low | 0x80 } else { low });
        if left == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

/// A length and the bytes.
pub fn text(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u16::try_from(bytes.len()).expect("at most 65,535 bytes");
    [&length.to_be_bytes(), bytes].concat()
}

/// A CONNECT of any name, level, flags and properties, with a clean start and no keep alive if the flags say so.
pub fn connect_with(name: &str, level: u8, flags: u8, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = [&text(name)[..], &[level, flags, 0, 0]].concat();
    if level == V5 {
        body.push(properties.len() as u8);
        body.extend_from_slice(properties);
    }
    body.extend_from_slice(payload);
    frame(0x10, &body)
}

/// A good CONNECT with a clean start.
pub fn connect(level: u8, client_id: &str) -> Vec<u8> {
    connect_with("MQTT", level, 0x02, &[], &text(client_id))
}

/// A PUBLISH: flags are the low bits of the first byte; `rest` is everything behind the topic.
pub fn publish(flags: u8, topic: impl AsRef<[u8]>, rest: &[u8]) -> Vec<u8> {
    frame(0x30 | flags, &[&text(topic)[..], rest].concat())
}

/// A good SUBSCRIBE at QoS 0 with packet id 1.
pub fn subscribe(level: u8, filter: impl AsRef<[u8]>) -> Vec<u8> {
    let properties: &[u8] = if level == V5 { &[0] } else { &[] };
    frame(0x82, &[&[0, 1], properties, &text(filter)[..], &[0]].concat())
}

/// A connection that was let in.
pub fn connected(node: &weir_testkit::Node, level: u8) -> RawMqtt {
    let mut raw = RawMqtt::connect(node.address("mqtt"));
    raw.send(&connect(level, ""));
    let connack = raw.frame();
    assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02x?}");
    raw
}

/// The reason code of the DISCONNECT that must come now, with nothing but an orderly end behind it.
pub fn disconnected(raw: &mut RawMqtt) -> u8 {
    let said = raw.frame();
    assert_eq!(said[0], 0xE0, "DISCONNECT expected: {said:02x?}");
    assert_eq!(raw.end_without_a_word(), Closed::Fin);
    said[2]
}
