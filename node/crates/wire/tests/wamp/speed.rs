//! What a message costs. To be looked at, not asserted:
//! `cargo test --release -p weir-wire --test wamp -- --ignored --nocapture speed`.

use std::hint::black_box;

use weir_wire::wamp::{Format, Id, Limits, Message, SharedEvent, decode, encode};

use crate::{FORMATS, converted, json, single};

const ROUNDS: u64 = 1_000_000;

/// A PUBLISH of about 200 bytes.
fn publish() -> String {
    let value =
        r#"{"id":"sensor-17","temperature":21.5,"humidity":48,"unit":"C","tags":["a","b"],"ok":true}"#;
    let text = format!(
        r#"[16,239714735,{{"acknowledge":true}},"com.myapp.sensor.17.reading",[{value},"{}"]]"#,
        "x".repeat(45)
    );
    assert!((190..=210).contains(&text.len()), "{}", text.len());
    text
}

fn measure(what: &str, mut once: impl FnMut()) {
    let from = cpu_nanos();
    (0..ROUNDS).for_each(|_| once());
    println!("{what}: {} ns", (cpu_nanos() - from) / ROUNDS);
}

/// What this thread has had of a processor, so that a busy machine does not count.
fn cpu_nanos() -> u64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    schedstat.split(' ').next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "a measurement"]
fn speed_of_decoding_and_encoding() {
    let limits = Limits::default();
    for format in FORMATS {
        let bytes = converted(&publish(), format);
        measure(&format!("decode PUBLISH of {} bytes, {format:?}", bytes.len()), || {
            black_box(decode(black_box(&bytes), format, &limits).unwrap());
        });
        let message = decode(&bytes, format, &limits).unwrap();
        let mut out = Vec::with_capacity(1024);
        for to in FORMATS {
            measure(&format!("encode it from {format:?} as {to:?}"), || {
                out.clear();
                encode(&mut out, black_box(&message), single(to));
            });
        }
    }
    let Message::Event(event) = json(r#"[36,1,2,{"topic":"com.myapp.x"},[{"a":1}]]"#) else { panic!() };
    let shared = SharedEvent::new(&event, single(Format::Json));
    let mut out = Vec::with_capacity(1024);
    measure("complete a shared EVENT, Json", || {
        out.clear();
        shared.append(&mut out, black_box(Id::new(17).unwrap()));
    });
}
