//! Records, and what names them, as they are told.

use bytes::Bytes;
use weir_broker::store::{Mark, Record};
use weir_model::Position;

use crate::proto::{StreamRecord, UserProperty};

/// A record of a partition.
pub fn told(partition: u32, record: Record) -> StreamRecord {
    let Record { mark, key, message } = record;
    let properties = message.properties.as_deref();
    let text = |given: Option<&str>| given.unwrap_or_default().to_owned();
    StreamRecord {
        partition,
        position: mark.position.to_string(),
        number: mark.number,
        key,
        topic: message.topic.to_string(),
        payload: message.payload.clone(),
        qos: message.qos as u32,
        retain: message.retain,
        expires_unix_ms: message.expires_at.map_or(0, |at| at.0),
        content_type: text(properties.and_then(|all| all.content_type.as_deref())),
        response_topic: text(properties.and_then(|all| all.response_topic.as_deref())),
        correlation_data: properties.and_then(|all| all.correlation_data.clone()),
        user_properties: properties.map(|all| user(&all.user)).unwrap_or_default(),
        payload_is_utf8: properties.is_some_and(|all| all.payload_is_utf8),
    }
}

fn user(all: &[(Box<str>, Box<str>)]) -> Vec<UserProperty> {
    all.iter()
        .map(|(name, value)| UserProperty { name: name.to_string(), value: value.to_string() })
        .collect()
}

/// A place, nothing for the one before all.
pub fn place(mark: Mark) -> String {
    if mark == Mark::default() { String::new() } else { mark.position.to_string() }
}

/// What one delivery is answered with: partition, attempt, position and number, big-endian.
pub mod receipt {
    use weir_broker::stream::group::member::Receipt;

    use super::{Bytes, Mark, Position};

    const BYTES: usize = 40;

    pub fn told(receipt: Receipt) -> Bytes {
        let Receipt { partition, mark: Mark { position, number }, attempt } = receipt;
        let mut told = [0; BYTES];
        told[..4].copy_from_slice(&partition.to_be_bytes());
        told[4..8].copy_from_slice(&attempt.to_be_bytes());
        for (at, part) in [position.epoch, position.ms, position.seq, number].into_iter().enumerate() {
            told[8 + 8 * at..16 + 8 * at].copy_from_slice(&part.to_be_bytes());
        }
        Bytes::copy_from_slice(&told)
    }

    /// `None` = it was never told.
    pub fn read(told: &[u8]) -> Option<Receipt> {
        let told: &[u8; BYTES] = told.try_into().ok()?;
        let short = |at: usize| Some(u32::from_be_bytes(told.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_be_bytes(told.get(at..at + 8)?.try_into().ok()?));
        let position = Position { epoch: long(8)?, ms: long(16)?, seq: long(24)? };
        let mark = Mark { position, number: long(32)? };
        Some(Receipt { partition: short(0)?, mark, attempt: short(4)? })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_receipt_comes_back_as_it_was_given() {
            let position = Position { epoch: u64::MAX, ms: 2, seq: 3 };
            let given = Receipt { partition: 7, mark: Mark { position, number: 9 }, attempt: 4 };
            assert_eq!(read(&told(given)), Some(given));
            for bad in [&b""[..], &[0; 39], &[0; 41]] {
                assert_eq!(read(bad), None);
            }
        }
    }
}
