//! Guests of the SDK, as `cargo xtask handlers` builds them into the directory that `WEIR_HANDLERS` names.

use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use weir_model::{Qos, UnixMillis};
use weir_runtime::{Change, Client, Failure, Limits, Moment, Passage, Passing, Runtime, World};

use crate::node::{config, message, no_host, pool, pool_of, pool_with, start};

/// What is missing fails by its name: a test that does not run proves nothing.
fn built(name: &str) -> Bytes {
    let Some(directory) = std::env::var_os("WEIR_HANDLERS") else {
        panic!("WEIR_HANDLERS names no directory: `cargo xtask handlers` makes one");
    };
    let path = PathBuf::from(directory).join(format!("{name}.wasm"));
    match std::fs::read(&path) {
        Ok(bytes) => bytes.into(),
        Err(error) => panic!("{}: {error}: `cargo xtask handlers` builds it", path.display()),
    }
}

#[tokio::test]
async fn ping_pong_answers() {
    let (_runtime, pool) = pool(built("ping-pong"), Limits::default()).await;
    let events = pool.handle(&message(br#"{"seq":7}"#), &no_host()).await.result.unwrap();
    assert_eq!((&*events[0].topic, &events[0].payload[..]), ("pong", &br#"{"seq":7}"#[..]));
    let failure = pool.handle(&message(b"no json"), &no_host()).await.result.unwrap_err();
    assert!(matches!(failure, Failure::Rejected(_)), "{failure}");
    assert_eq!(pool.program().world(), World::Command);
}

#[tokio::test]
async fn contacts_and_apples_keep_their_state_by_key() {
    for name in ["contacts", "apples"] {
        let program = start().prepare(built(name)).await.unwrap();
        assert_eq!(
            (program.world(), program.has_kv(), program.is_large()),
            (World::Command, true, false),
            "{name}"
        );
    }
}

#[tokio::test]
async fn word_count_counts_merges_and_takes_back() {
    const AT: Moment = Moment { now: UnixMillis(1), id: (1, 1) };
    let (_runtime, pool) = pool(built("word-count"), Limits::default()).await;
    assert_eq!(pool.program().world(), World::MergingReducer);
    let keyed = pool.map(&message(b"to be or not to be")).await.result.unwrap();
    assert_eq!(keyed.iter().map(|k| &*k.key).collect::<Vec<_>>(), ["to", "be", "or", "not", "to", "be"]);
    let change = |weight| Change { value: &keyed[0].value, weight };
    let once = pool.reduce("to", None, &[change(1)], AT).await.result.unwrap().unwrap();
    let twice = pool.reduce("to", Some(&once), &[change(1)], AT).await.result.unwrap().unwrap();
    assert_eq!(pool.merge("to", &[&once, &once], AT).await.result.unwrap(), twice);
    assert_eq!(pool.reduce("to", Some(&once), &[change(-1)], AT).await.result.unwrap(), None);
}

#[tokio::test]
async fn redact_hides_what_it_is_told_to() {
    let hidden = [("publish.fields", "password")];
    let (_runtime, pool) = pool_with(built("redact"), Limits::default(), &hidden).await;
    let client =
        Client { client_id: "c", user: None, realm: "default", protocol: "mqtt", address: "127.0.0.1" };
    let publish = |payload| {
        let message = Passing { topic: "t", payload, qos: Qos::AtMostOnce, retain: false, properties: None };
        pool.on_publish(&client, &message, UnixMillis(1)).result.unwrap()
    };
    let Passage::Change(changed) = publish(br#"{"password":"hunter2"}"#) else {
        panic!("there is one to hide")
    };
    assert_eq!(&changed.payload[..], br#"{"password":"[redacted]"}"#);
    assert!(matches!(publish(br#"{"name":"ann"}"#), Passage::Pass));
}

#[tokio::test]
async fn a_guest_in_python_runs_with_a_wasi_that_has_nothing_behind_it() {
    let (_runtime, pool) = pool(built("python-echo"), Limits::large()).await;
    assert!(pool.program().is_large());
    for _ in 0..3 {
        let done = pool.handle(&message("grüß Gott".as_bytes()), &no_host()).await;
        let events = done.result.unwrap();
        assert_eq!((&*events[0].topic, &events[0].payload[..]), ("in/echo", "grüß Gott".as_bytes()));
    }
    assert_eq!(pool.instances(), 1, "it is reused");
    let failure = pool.handle(&message(b"\xff"), &no_host()).await.result.unwrap_err();
    assert!(matches!(failure, Failure::Rejected(_)), "{failure}");
}

#[tokio::test]
async fn a_guest_in_javascript_runs() {
    let (_runtime, pool) = pool(built("js-upper"), Limits::large()).await;
    assert!(pool.program().is_large());
    for _ in 0..3 {
        let events = pool.handle(&message(b"hello"), &no_host()).await.result.unwrap();
        assert_eq!((&*events[0].topic, &events[0].payload[..]), ("in/loud", &b"HELLO"[..]));
    }
    assert_eq!(pool.instances(), 1, "it is reused");
}

#[tokio::test]
async fn compiled_code_outlives_the_node_and_a_damaged_file_is_compiled_again() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = built("ping-pong");
    let start = || Runtime::start(&config(), Some(directory.path())).unwrap();
    let digest = start().prepare(bytes.clone()).await.unwrap().digest();

    let restarted = start();
    let program = restarted.cached(&digest).await.expect("it was compiled before");
    let pool = pool_of(&restarted, &program, Limits::default(), &[]);
    assert!(pool.handle(&message(br#"{"seq":7}"#), &no_host()).await.result.is_ok());

    let compiled = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let file = compiled.into_iter().find(|path| path.extension().is_some_and(|e| e == "cwasm")).unwrap();
    let mut tampered = std::fs::read(&file).unwrap();
    let middle = tampered.len() / 2;
    tampered[middle] ^= 1;
    std::fs::write(&file, tampered).unwrap();
    let restarted = start();
    assert!(restarted.cached(&digest).await.is_none(), "nobody runs what somebody else has written");
    assert_eq!(restarted.prepare(bytes).await.unwrap().digest(), digest);
    assert!(start().cached(&digest).await.is_some(), "it is kept again");
}

/// Prints what `cargo nextest run --release -p weir-runtime --run-ignored only --no-capture speed` is asked for.
#[tokio::test]
#[ignore = "measures: only of use in a release build on a quiet machine"]
async fn speed_of_a_reused_instance() {
    let directory = tempfile::tempdir().unwrap();
    let payload = format!(r#"{{"seq":7,"pad":"{}"}}"#, "x".repeat(182));
    for (name, bytes) in [("ping-pong", built("ping-pong")), ("echo", crate::guests::echo())] {
        let runtime = Runtime::start(&config(), Some(directory.path())).unwrap();
        let began = Instant::now();
        let program = runtime.prepare(bytes.clone()).await.unwrap();
        let fresh = pool_of(&runtime, &program, Limits::default(), &[]);
        fresh.handle(&message(payload.as_bytes()), &no_host()).await.result.unwrap();
        println!("{name}: {} bytes, upload to first result {:?}", bytes.len(), began.elapsed());

        let restarted = Runtime::start(&config(), Some(directory.path())).unwrap();
        let began = Instant::now();
        let program = restarted.cached(&program.digest()).await.unwrap();
        let pool = pool_of(&restarted, &program, Limits::default(), &[]);
        pool.handle(&message(payload.as_bytes()), &no_host()).await.result.unwrap();
        println!("{name}: restart to first result {:?}", began.elapsed());

        const CALLS: u32 = 1_000_000;
        let (call, host) = (message(payload.as_bytes()), no_host());
        let began = Instant::now();
        for _ in 0..CALLS {
            std::hint::black_box(pool.handle(&call, &host).await.result.unwrap());
        }
        let took = began.elapsed();
        println!("{name}: {:.0} calls/s, {:?} each", f64::from(CALLS) / took.as_secs_f64(), took / CALLS);
    }
}

/// Bytes that this process has in memory.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap() * 4096
}

/// Prints how much memory an idle instance takes.
#[tokio::test]
#[ignore = "measures: only of use when nothing else runs in the process"]
async fn memory_of_idle_instances() {
    let mut many = config();
    many.small.instances_max = 600;
    let runtime = Runtime::start(&many, None).unwrap();
    let program = runtime.prepare(built("ping-pong")).await.unwrap();
    let mut pools = Vec::new();
    let mut before = 0;
    for number in 0..550 {
        if number == 50 {
            before = resident_bytes();
        }
        let pool = pool_of(&runtime, &program, Limits::default(), &[]);
        pool.handle(&message(br#"{"seq":7}"#), &no_host()).await.result.unwrap();
        pools.push(pool);
    }
    println!("{} bytes each", (resident_bytes() - before) / 500);
}
