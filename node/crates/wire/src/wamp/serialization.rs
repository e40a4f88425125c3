//! How messages are written: the format, and whether a frame holds several (WAMP, "Serializers").

/// The format of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// RFC 8259.
    Json,
    /// The MessagePack specification of 2013 and later: text and binary differ.
    MsgPack,
    /// RFC 8949.
    Cbor,
}

/// What a transport was negotiated to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Serialization {
    pub format: Format,
    pub batching: Batching,
}

/// Whether a transport frame holds any number of messages instead of one (WAMP, "Batched mode").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Batching {
    One,
    /// JSON messages end with 0x1e; others begin with their length, four bytes in network order.
    Many,
    /// JSON messages end with 0x18: autobahn-python, which reads and writes octal 30 for decimal 30.
    ManyOctal,
}

/// The WebSocket subprotocols, which are the names of the serializations everywhere.
const NAMES: [(&str, Serialization); 6] = [
    ("wamp.2.json", Serialization { format: Format::Json, batching: Batching::One }),
    ("wamp.2.msgpack", Serialization { format: Format::MsgPack, batching: Batching::One }),
    ("wamp.2.cbor", Serialization { format: Format::Cbor, batching: Batching::One }),
    ("wamp.2.json.batched", Serialization { format: Format::Json, batching: Batching::Many }),
    ("wamp.2.msgpack.batched", Serialization { format: Format::MsgPack, batching: Batching::Many }),
    ("wamp.2.cbor.batched", Serialization { format: Format::Cbor, batching: Batching::Many }),
];

impl Serialization {
    /// What a WebSocket subprotocol (or ALPN protocol) names; `None` when it is not of WAMP.
    pub fn of_subprotocol(name: &str) -> Option<Serialization> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, serialization)| *serialization)
    }

    /// The WebSocket subprotocol.
    pub fn subprotocol(self) -> &'static str {
        let batched = |batching| batching != Batching::One;
        let same = |other: &Serialization| {
            other.format == self.format && batched(other.batching) == batched(self.batching)
        };
        let named = NAMES.iter().find(|(_, serialization)| same(serialization));
        named.map_or("", |(name, _)| name)
    }

    /// Whether WebSocket frames of it are binary; JSON, batched too, travels in text frames.
    pub fn is_binary(self) -> bool {
        self.format != Format::Json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_serialization_has_its_subprotocol() {
        for (name, serialization) in NAMES {
            assert_eq!(Serialization::of_subprotocol(name), Some(serialization));
            assert_eq!(serialization.subprotocol(), name);
        }
        assert_eq!(Serialization::of_subprotocol("wamp.2.flatbuffers"), None);
    }
}
