//! A frame that is accepted can be written again and means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_wire::mqtt::{Packet, Version, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, frame)) = bytes.split_first() else { return };
    let version = [Version::V31, Version::V311, Version::V5][usize::from(first) % 3];
    let Ok(packet) = decode(frame, version) else { return };
    let version = match &packet {
        Packet::Connect(connect) => connect.version,
        _ => version,
    };
    let mut again = Vec::new();
    encode::packet(&mut again, &packet, version);
    assert_eq!(decode(&again, version), Ok(packet));
});
