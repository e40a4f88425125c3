//! Bytes of a connection, cut into frames and decoded: nothing may panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_wire::mqtt::{Version, body, decode, decode_connect, decode_publish, frame_len};

const PACKET_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut rest = bytes;
        while let Ok(Some(len)) = frame_len(rest, PACKET_BYTES_MAX) {
            let Some((frame, next)) = rest.split_at_checked(len) else { break };
            // To print a packet walks its lists.
            let _ = format!("{:?}", decode(frame, version));
            let _ = decode_publish(frame[0], body(frame), version);
            let _ = decode_connect(frame);
            rest = next;
        }
        let _ = decode(bytes, version);
    }
});
