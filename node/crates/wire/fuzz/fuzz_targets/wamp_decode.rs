//! A message in any format: nothing may panic, and what is accepted can be said in every other format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_wire::wamp::{Batching, Format, Limits, Serialization, batch, decode, encode, value};

const FORMATS: [Format; 3] = [Format::Json, Format::MsgPack, Format::Cbor];

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let format = FORMATS[usize::from(first) % 3];
    let batching = if first & 0x80 == 0 { Batching::One } else { Batching::Many };
    let limits = Limits { message_bytes_max: usize::MAX, ..Limits::default() };
    for message in batch::messages(bytes, Serialization { format, batching }).flatten() {
        let Ok(message) = decode(message, format, &limits) else { continue };
        let _ = format!("{message:?}");
        for format in FORMATS {
            let serialization = Serialization { format, batching: Batching::One };
            let mut said = Vec::new();
            encode(&mut said, &message, serialization);
            let read = decode(&said, format, &limits).expect("what was written can be read");
            let mut again = Vec::new();
            encode(&mut again, &read, serialization);
            assert_eq!(said, again);
        }
    }
    let payload = value::from_mqtt(
        bytes,
        ["", "application/msgpack", "application/cbor"].get(usize::from(first) % 3).copied(),
        &limits,
    );
    let _ = value::to_mqtt(&payload);
});
