//! The key of a record: what its partition, its order and its compaction go by.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use weir_model::Message;
use xxhash_rust::xxh3::xxh3_64;

/// Payloads above this are not looked into for a key.
pub const JSON_BYTES_MAX: usize = 256 << 10;

/// Bytes of a rule's name or pointer.
const RULE_BYTES_MAX: usize = 1024;

/// Where a record's key comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyRule {
    /// No key: records are spread by topic, and nothing holds them in order but their partition.
    None,
    #[default]
    Topic,
    /// The publisher's client id; what the broker publishes itself has none.
    Client,
    /// The first user property of this name (MQTT-3.3.2.3.7).
    UserProperty(Box<str>),
    /// This place (RFC 6901) in a JSON payload of at most 256 KiB: a text as it is, anything else as compact JSON.
    JsonPointer(Box<str>),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a user property needs a name of 1 to {RULE_BYTES_MAX} bytes")]
    PropertyName,
    #[error("a JSON pointer is empty or begins with `/`, and has at most {RULE_BYTES_MAX} bytes")]
    Pointer,
}

impl KeyRule {
    pub fn check(&self) -> Result<(), KeyError> {
        match self {
            KeyRule::UserProperty(name) if name.is_empty() || name.len() > RULE_BYTES_MAX => {
                Err(KeyError::PropertyName)
            }
            KeyRule::JsonPointer(pointer)
                if pointer.len() > RULE_BYTES_MAX || !(pointer.is_empty() || pointer.starts_with('/')) =>
            {
                Err(KeyError::Pointer)
            }
            _ => Ok(()),
        }
    }

    /// The key of a message; empty where the rule finds none.
    pub fn of(&self, message: &Message, client_id: Option<&str>) -> Bytes {
        match self {
            KeyRule::None => Bytes::new(),
            KeyRule::Topic => Bytes::copy_from_slice(message.topic.as_bytes()),
            KeyRule::Client => client_id.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(id.as_bytes())),
            KeyRule::UserProperty(name) => {
                let user = message.properties.as_ref().map_or(&[][..], |properties| &properties.user);
                let value = user.iter().find(|(known, _)| known == name).map(|(_, value)| value);
                value.map_or_else(Bytes::new, |value| Bytes::copy_from_slice(value.as_bytes()))
            }
            KeyRule::JsonPointer(pointer) => json(&message.payload, pointer).unwrap_or_default(),
        }
    }
}

fn json(payload: &[u8], pointer: &str) -> Option<Bytes> {
    if payload.len() > JSON_BYTES_MAX {
        return None;
    }
    let value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    Some(match value.pointer(pointer)? {
        serde_json::Value::String(text) => Bytes::copy_from_slice(text.as_bytes()),
        other => other.to_string().into(),
    })
}

/// Which of so many partitions a record belongs in: by its key, and by its topic where it has none.
pub fn partition_of(key: &[u8], topic: &str, partitions: u32) -> u32 {
    if partitions <= 1 {
        return 0;
    }
    let hash = xxh3_64(if key.is_empty() { topic.as_bytes() } else { key });
    u32::try_from(hash % u64::from(partitions)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use weir_model::{Properties, Qos, Topic};

    use super::*;

    fn message(payload: &str) -> Message {
        let user = vec![("device".into(), "d7".into()), ("device".into(), "d8".into())];
        Message {
            topic: Topic::new("plant/1").unwrap(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            qos: Qos::AtLeastOnce,
            retain: false,
            expires_at: None,
            properties: Some(Box::new(Properties { user, ..Properties::default() })),
        }
    }

    #[test]
    fn every_rule_finds_its_key() {
        let message = message(r#"{"order": {"id": 17, "by": "ann"}}"#);
        let key = |rule: KeyRule| rule.of(&message, Some("c1"));
        assert_eq!(key(KeyRule::None), "");
        assert_eq!(key(KeyRule::Topic), "plant/1");
        assert_eq!(key(KeyRule::Client), "c1");
        assert_eq!(key(KeyRule::UserProperty("device".into())), "d7");
        assert_eq!(key(KeyRule::UserProperty("other".into())), "");
        assert_eq!(key(KeyRule::JsonPointer("/order/by".into())), "ann");
        assert_eq!(key(KeyRule::JsonPointer("/order/id".into())), "17");
        assert_eq!(key(KeyRule::JsonPointer("/order/none".into())), "");
    }

    #[test]
    fn a_payload_that_is_no_json_has_no_key() {
        for payload in ["", "{", "\u{0}", &"[".repeat(100_000)] {
            assert_eq!(KeyRule::JsonPointer("/a".into()).of(&message(payload), None), "");
        }
    }

    #[test]
    fn a_key_always_leads_to_the_same_partition_and_keys_are_spread() {
        let of = |n: u32| partition_of(n.to_string().as_bytes(), "t", 8);
        assert!((0..100).all(|n| of(n) == of(n)));
        let used: std::collections::BTreeSet<u32> = (0..100).map(of).collect();
        assert_eq!(used.len(), 8);
        assert_eq!(partition_of(b"", "a", 8), partition_of(b"", "a", 8));
    }
}
