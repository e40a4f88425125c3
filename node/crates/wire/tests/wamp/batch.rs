//! Several messages in a frame.

use weir_wire::wamp::batch::{heard, messages};
use weir_wire::wamp::{Batching, DecodeError, Format, Serialization, encode};

use crate::{FORMATS, encoded, json, single};

fn batched(format: Format) -> Serialization {
    Serialization { format, batching: Batching::Many }
}

fn cut(frame: &[u8], serialization: Serialization) -> Result<Vec<&[u8]>, DecodeError> {
    messages(frame, serialization).collect()
}

#[test]
fn messages_of_a_batch_come_out_as_they_went_in() {
    let sent = [json("[17,1,2]"), json(r#"[16,1,{},"t",["a\u001eb"]]"#), json("[35,7]")];
    for format in FORMATS {
        let mut frame = Vec::new();
        sent.iter().for_each(|message| encode(&mut frame, message, batched(format)));
        let wanted: Vec<_> = sent.iter().map(|message| encoded(message, format)).collect();
        assert_eq!(cut(&frame, batched(format)).unwrap(), wanted);
    }
}

#[test]
fn a_batch_has_the_bytes_of_the_standard() {
    let mut frame = Vec::new();
    encode(&mut frame, &json("[35,7]"), batched(Format::Json));
    assert_eq!(frame, b"[35,7]\x1e");
    frame.clear();
    encode(&mut frame, &json("[35,7]"), batched(Format::MsgPack));
    assert_eq!(frame, b"\x00\x00\x00\x03\x92\x23\x07");
    frame.clear();
    encode(&mut frame, &json("[35,7]"), batched(Format::Cbor));
    assert_eq!(frame, b"\x00\x00\x00\x04\x82\x18\x23\x07");
}

#[test]
fn a_frame_without_batches_is_one_message_even_if_empty() {
    assert_eq!(cut(b"[1]\x1e[2]", single(Format::Json)).unwrap(), [b"[1]\x1e[2]"]);
    assert_eq!(cut(b"", single(Format::MsgPack)).unwrap(), [b""]);
}

#[test]
fn behind_the_last_json_message_the_separator_may_be_missing() {
    assert_eq!(cut(b"[1]\x1e[2]", batched(Format::Json)).unwrap(), [b"[1]", b"[2]"]);
}

#[test]
fn a_peer_that_separates_by_octal_30_is_heard_and_answered_alike() {
    let frame = b"[1]\x18[2]\x18";
    let peer = heard(frame, batched(Format::Json));
    assert_eq!(cut(frame, peer).unwrap(), [b"[1]", b"[2]"]);
    let mut answer = Vec::new();
    encode(&mut answer, &json("[35,7]"), peer);
    assert_eq!(answer, b"[35,7]\x18");
    assert_eq!(peer.subprotocol(), "wamp.2.json.batched");
    assert_eq!(heard(b"[1]\x1e", batched(Format::Json)), batched(Format::Json));
    assert_eq!(heard(b"\x18", single(Format::Json)), single(Format::Json));
}

#[test]
fn broken_batches_are_refused_with_the_place() {
    let broken = |frame: &[u8], format, wanted| match cut(frame, batched(format)) {
        Err(DecodeError::BadBatch { at, .. }) => assert_eq!(at, wanted, "{frame:02x?}"),
        other => panic!("{frame:02x?}: {other:?}"),
    };
    broken(b"", Format::Json, 0);
    broken(b"\x1e", Format::Json, 0);
    broken(b"[1]\x1e\x1e", Format::Json, 4);
    broken(b"", Format::MsgPack, 0);
    broken(b"\x00\x00\x00", Format::MsgPack, 0);
    broken(b"\x00\x00\x00\x00", Format::MsgPack, 0);
    broken(b"\x00\x00\x00\x02\x90", Format::Cbor, 0);
    broken(b"\x00\x00\x00\x01\x90\xff\xff\xff\xff\x90", Format::MsgPack, 5);
}
