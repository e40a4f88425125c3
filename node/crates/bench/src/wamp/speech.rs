//! What the generator says and how it knows what it hears: events and calls of WAMP, and publishes of MQTT beside them.
//!
//! Every event carries when it was sent: a `~` and the nanoseconds since the run began in 16 hexadecimal digits.

use super::frame;

/// What stands in front of a stamp, and nowhere else.
const MARK: u8 = b'~';

/// Digits of a stamp.
const STAMP: usize = 16;

/// What a client of the generator speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Wamp,
    /// MQTT 3.1.1 over WebSockets.
    Mqtt,
}

impl Protocol {
    pub(super) fn subprotocol(self) -> &'static str {
        match self {
            Protocol::Wamp => "wamp.2.json",
            Protocol::Mqtt => "mqtt",
        }
    }

    pub(super) fn kind(self) -> u8 {
        match self {
            Protocol::Wamp => frame::TEXT,
            Protocol::Mqtt => frame::BINARY,
        }
    }

    /// What a client begins with, and the beginning of the answer.
    pub(super) fn hello(self, realm: &str, at: usize) -> (Vec<u8>, &'static [u8]) {
        match self {
            Protocol::Wamp => {
                let roles = r#"{"publisher":{},"subscriber":{},"caller":{},"callee":{}}"#;
                let hello =
                    format!(r#"[1,"{realm}",{{"roles":{roles},"authmethods":["anonymous"]}}]"#).into_bytes();
                (hello, b"[2,")
            }
            Protocol::Mqtt => {
                let id = format!("bench{at}");
                let mut hello = vec![0x10, (12 + id.len()) as u8, 0, 4];
                hello.extend_from_slice(b"MQTT\x04\x02\x00\x00\x00");
                hello.push(id.len() as u8);
                hello.extend_from_slice(id.as_bytes());
                (hello, b"\x20\x02\x00\x00")
            }
        }
    }

    /// How it subscribes to a topic, said with dots, and the beginning of the answer.
    pub(super) fn subscribe(self, topic: &str) -> (Vec<u8>, &'static [u8]) {
        match self {
            Protocol::Wamp => (format!(r#"[32,1,{{}},"{topic}"]"#).into_bytes(), b"[33,1,"),
            Protocol::Mqtt => {
                let topic = topic.replace('.', "/");
                let mut subscribe = vec![0x82, (5 + topic.len()) as u8, 0, 1, 0, topic.len() as u8];
                subscribe.extend_from_slice(topic.as_bytes());
                subscribe.push(0);
                (subscribe, b"\x90\x03\x00\x01\x00")
            }
        }
    }
}

/// How a WAMP client registers a procedure, and the beginning of the answer.
pub(super) fn register(procedure: &str) -> (Vec<u8>, &'static [u8]) {
    (format!(r#"[64,1,{{}},"{procedure}"]"#).into_bytes(), b"[65,1,")
}

/// One message again and again, each with a number and a stamp of its own.
pub(super) struct Template {
    protocol: Protocol,
    /// What stands before the number of a WAMP message, or before the stamp.
    head: Vec<u8>,
    number: Option<u64>,
    middle: Vec<u8>,
    end: Vec<u8>,
    scratch: Vec<u8>,
}

impl Template {
    /// An event for a topic, said with dots, whose text has `size` bytes.
    pub(super) fn event(protocol: Protocol, topic: &str, is_acknowledged: bool, size: usize) -> Template {
        match protocol {
            Protocol::Wamp => {
                let options = if is_acknowledged { r#"{"acknowledge":true}"# } else { "{}" };
                Template::numbered("[16,", options, topic, size)
            }
            Protocol::Mqtt => {
                let topic = topic.replace('.', "/");
                let len = 2 + topic.len() + size.max(1 + STAMP) + 2;
                let mut head = vec![0x30];
                append_varint(&mut head, len);
                head.extend_from_slice(&(topic.len() as u16).to_be_bytes());
                head.extend_from_slice(topic.as_bytes());
                head.extend_from_slice(b"\"~");
                let end = format!("{}\"", filler(size));
                Template::of(protocol, head, None, Vec::new(), end)
            }
        }
    }

    /// A call of a procedure.
    pub(super) fn call(procedure: &str, size: usize) -> Template {
        Template::numbered("[48,", "{}", procedure, size)
    }

    fn numbered(head: &str, options: &str, uri: &str, size: usize) -> Template {
        let middle = format!(r#",{options},"{uri}",["~"#).into_bytes();
        Template::of(Protocol::Wamp, head.into(), Some(0), middle, format!(r#"{}"]]"#, filler(size)))
    }

    fn of(protocol: Protocol, head: Vec<u8>, number: Option<u64>, middle: Vec<u8>, end: String) -> Template {
        Template { protocol, head, number, middle, end: end.into_bytes(), scratch: Vec::new() }
    }

    /// Appends the next message, framed.
    pub(super) fn append(&mut self, out: &mut Vec<u8>, now_ns: u64) {
        let scratch = &mut self.scratch;
        scratch.clear();
        scratch.extend_from_slice(&self.head);
        if let Some(number) = &mut self.number {
            *number += 1;
            append_number(scratch, *number);
        }
        scratch.extend_from_slice(&self.middle);
        append_stamp(scratch, now_ns);
        scratch.extend_from_slice(&self.end);
        frame::append(out, self.protocol.kind(), scratch);
    }
}

fn filler(size: usize) -> String {
    "x".repeat(size.saturating_sub(1 + STAMP))
}

fn append_varint(out: &mut Vec<u8>, mut value: usize) {
    while value > 127 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn append_number(out: &mut Vec<u8>, mut number: u64) {
    let from = out.len();
    loop {
        out.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out[from..].reverse();
}

fn append_stamp(out: &mut Vec<u8>, nanoseconds: u64) {
    let digit = |at: usize| b"0123456789abcdef"[(nanoseconds >> (60 - 4 * at)) as usize & 0xf];
    out.extend_from_slice(&std::array::from_fn::<u8, STAMP, _>(digit));
}

/// When what a message carries was sent: the nanoseconds it says.
pub(super) fn stamp(message: &[u8]) -> Option<u64> {
    let at = message.iter().rposition(|byte| *byte == MARK)? + 1;
    let digits = message.get(at..at + STAMP)?;
    let value = |digit: &u8| char::from(*digit).to_digit(16);
    digits.iter().try_fold(0, |sum, digit| Some(sum << 4 | u64::from(value(digit)?)))
}

/// The code that a WAMP message begins with.
pub(super) fn code(message: &[u8]) -> u64 {
    number(message.get(1..).unwrap_or_default())
}

fn number(text: &[u8]) -> u64 {
    text.iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
}

/// The YIELD that gives an INVOCATION its own argument back; `None` when it has none.
pub(super) fn append_echo(out: &mut Vec<u8>, scratch: &mut Vec<u8>, invocation: &[u8]) -> Option<()> {
    let request = number(invocation.get(4..)?);
    let mark = invocation.iter().rposition(|byte| *byte == MARK)?;
    scratch.clear();
    scratch.extend_from_slice(b"[70,");
    append_number(scratch, request);
    scratch.extend_from_slice(b",{},[\"");
    scratch.extend_from_slice(&invocation[mark..]);
    frame::append(out, frame::TEXT, scratch);
    Some(())
}

/// Takes publishes out of a stream of MQTT packets.
#[derive(Default)]
pub(super) struct Packets {
    rest: Vec<u8>,
}

impl Packets {
    /// Shows each publish that is whole behind these bytes.
    pub(super) fn take(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        let is_whole = self.rest.is_empty();
        if !is_whole {
            self.rest.extend_from_slice(bytes);
        }
        let all = if is_whole { bytes } else { &self.rest };
        let mut at = 0;
        while let Some(packet) = first_packet(&all[at..]) {
            if packet[0] >> 4 == 3 {
                each(packet);
            }
            at += packet.len();
        }
        match is_whole {
            true => self.rest.extend_from_slice(&bytes[at..]),
            false => drop(self.rest.drain(..at)),
        }
    }
}

fn first_packet(bytes: &[u8]) -> Option<&[u8]> {
    let mut len = 0;
    for at in 1..5 {
        let byte = *bytes.get(at)?;
        len |= usize::from(byte & 0x7f) << (7 * (at - 1));
        if byte < 0x80 {
            return bytes.get(..at + 1 + len);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The payload of a client's frame shorter than 126 bytes.
    fn unmasked(frame: &[u8]) -> Vec<u8> {
        frame[6..].iter().zip(frame[2..6].iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
    }

    fn said(template: &mut Template, now_ns: u64) -> Vec<u8> {
        let mut out = Vec::new();
        template.append(&mut out, now_ns);
        unmasked(&out)
    }

    #[test]
    fn an_event_has_a_number_and_tells_when_it_was_sent() {
        let mut template = Template::event(Protocol::Wamp, "bench.7", true, 20);
        said(&mut template, 1);
        let event = said(&mut template, 0xabc);
        let text = String::from_utf8_lossy(&event);
        assert_eq!(text, r#"[16,2,{"acknowledge":true},"bench.7",["~0000000000000abcxxx"]]"#);
        assert_eq!((code(&event), stamp(&event)), (16, Some(0xabc)));
    }

    #[test]
    fn mqtt_publishes_are_found_across_the_borders_of_messages() {
        let mut template = Template::event(Protocol::Mqtt, "bench.7", false, 20);
        let one = said(&mut template, 5);
        assert_eq!(one.len(), 2 + 2 + 7 + 22);
        let stream = [&[0x90, 3, 0, 1, 0][..], &one, &one, &one].concat();
        let (mut packets, mut seen) = (Packets::default(), 0);
        for part in stream.chunks(11) {
            packets.take(part, |packet| {
                assert_eq!(stamp(packet), Some(5));
                seen += 1;
            });
        }
        assert_eq!((seen, packets.rest.len()), (3, 0));
    }

    #[test]
    fn an_invocation_is_answered_with_its_own_argument() {
        let mut out = Vec::new();
        let invocation = br#"[68,12,900,{"caller":1},["~00000000000000ffyy"]]"#;
        append_echo(&mut out, &mut Vec::new(), invocation).expect("it has an argument");
        assert_eq!(String::from_utf8_lossy(&unmasked(&out)), r#"[70,12,{},["~00000000000000ffyy"]]"#);
    }
}
