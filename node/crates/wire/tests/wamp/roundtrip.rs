//! Whatever is encoded is decoded as the same, and whatever is decoded does no harm.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use weir_wire::wamp::{Batching, Format, Limits, MessageType, Serialization, batch, decode, encode};

use crate::pool::{Pool, pools};
use crate::{FORMATS, encoded, read};

/// A format and what messages of it are made of.
fn formats() -> impl Strategy<Value = (Format, Pool)> {
    let of = |format: Format| pools(format).prop_map(move |pool| (format, pool));
    prop_oneof![of(Format::Json), of(Format::MsgPack), of(Format::Cbor)]
}

/// Decoding whatever this is does not panic, and what is read can be written in every format and read again.
fn survives(bytes: &[u8], format: Format) -> Result<(), TestCaseError> {
    let Ok(message) = read(bytes, format) else { return Ok(()) };
    let _ = format!("{message:?}");
    for to in FORMATS {
        let again = encoded(&message, to);
        let read = decode(&again, to, &Limits { message_bytes_max: usize::MAX, ..Limits::default() });
        let read = read.map_err(|error| TestCaseError::fail(format!("{error}: {again:02x?}")))?;
        prop_assert_eq!(encoded(&read, to), again);
    }
    Ok(())
}

#[test]
fn the_pool_has_every_message_type() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let pool = pools(Format::Json).new_tree(&mut runner).unwrap().current();
    let has: Vec<_> = pool.messages(Format::Json).iter().map(|message| message.message_type()).collect();
    assert!((0..100).filter_map(MessageType::of_code).all(|kind| has.contains(&kind)));
}

proptest! {
    #[test]
    fn every_message_is_decoded_as_it_was_encoded((format, pool) in formats()) {
        for message in pool.messages(format) {
            let bytes = encoded(&message, format);
            prop_assert_eq!(read(&bytes, format), Ok(message));
        }
    }

    #[test]
    fn every_message_comes_back_from_another_format((format, pool) in formats()) {
        for message in pool.messages(format) {
            for between in FORMATS {
                let there = encoded(&message, between);
                let back = encoded(&read(&there, between).unwrap(), format);
                let again = encoded(&read(&back, format).unwrap(), between);
                prop_assert_eq!(there, again);
            }
        }
    }

    #[test]
    fn a_batch_comes_out_as_it_went_in((format, pool) in formats()) {
        let serialization = Serialization { format, batching: Batching::Many };
        let sent = pool.messages(format);
        let mut frame = Vec::new();
        sent.iter().for_each(|message| encode(&mut frame, message, serialization));
        let cut: Vec<_> = batch::messages(&frame, serialization).map(Result::unwrap).collect();
        let read: Vec<_> = cut.iter().map(|bytes| read(bytes, format).unwrap()).collect();
        prop_assert_eq!(read, sent);
    }

    #[test]
    fn a_cut_message_is_refused((format, pool) in formats(), at in any::<prop::sample::Index>()) {
        for message in pool.messages(format) {
            let bytes = encoded(&message, format);
            prop_assert!(read(&bytes[..at.index(bytes.len())], format).is_err());
        }
    }

    #[test]
    fn a_mutated_message_never_panics(
        (format, pool) in formats(),
        spots in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for message in pool.messages(format) {
            let mut bytes = encoded(&message, format);
            for (at, byte) in &spots {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            survives(&bytes, format)?;
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..80)) {
        for format in FORMATS {
            survives(&bytes, format)?;
            let batched = Serialization { format, batching: Batching::Many };
            for message in batch::messages(&bytes, batched).flatten() {
                survives(message, format)?;
            }
        }
    }

    #[test]
    fn random_arguments_never_panic(args in vec(any::<u8>(), 0..60), kind in 1..71_u8) {
        let mut msgpack = vec![0x95, kind, 1, 0x80, 0xa1, b't', 0x91];
        msgpack.extend_from_slice(&args);
        survives(&msgpack, Format::MsgPack)?;
        let mut cbor = vec![0x9f, 0x18, kind, 1, 0xa0, 0x61, b't', 0x9f];
        cbor.extend_from_slice(&args);
        cbor.extend_from_slice(&[0xff, 0xff]);
        survives(&cbor, Format::Cbor)?;
    }
}
