//! A stream of Hyper: nothing may panic, and where a message ends does not depend on how it comes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_wire::hyper::{Cut, decode};
use weir_wire::wamp::Limits;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    let mut rest = bytes;
    while let Ok(Some(end)) = Cut::default().find(rest, &limits) {
        let mut slow = Cut::default();
        let found = (0..=rest.len()).find_map(|come| slow.find(&rest[..come], &limits).expect("it is the same"));
        assert_eq!(found, Some(end));
        let _ = decode(&rest[..end], &limits).map(|request| format!("{request:?}"));
        rest = &rest[end..];
    }
});
