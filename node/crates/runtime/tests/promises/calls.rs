//! A call: what goes in, what comes out, and what of it another call sees.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use weir_model::{Properties, Qos, UnixMillis};
use weir_runtime::{Call, Failure, Isolation, Level, Limits, Trap};

use crate::guests::{self, PAYLOAD, REJECT, command, event};
use crate::node::{message, no_host, pool, pool_with};

#[tokio::test]
async fn a_message_goes_in_and_an_event_comes_out() {
    let (_runtime, pool) = pool(guests::echo(), Limits::default()).await;
    let done = pool.handle(&message(b"hello"), &no_host()).await;
    let events = done.result.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!((&*events[0].topic, &events[0].payload[..]), ("out", &b"hello"[..]));
    assert_eq!((events[0].qos, events[0].retain), (Qos::AtMostOnce, false));
    assert!(events[0].properties.is_none() && events[0].expiry_seconds.is_none());
    assert!(done.writes.is_empty() && done.log.is_empty() && done.log_dropped == 0);
}

/// Publishes the texts that lie so many bytes into the message, one event each.
fn telling(offsets: &[u32]) -> Bytes {
    let tell = |(at, offset): (usize, &u32)| {
        let place = 128 + at * 72;
        format!(
            r#"(i32.store (i32.const {}) (i32.load offset={offset} (local.get $m)))
               (i32.store (i32.const {}) (i32.load offset={} (local.get $m)))"#,
            place + 8,
            place + 12,
            offset + 4
        )
    };
    let events: String = offsets.iter().enumerate().map(tell).collect();
    command(&format!(
        r#"{events} (i32.store (i32.const 72) (i32.const 128)) (i32.store (i32.const 76) (i32.const {}))
           (i32.const 64)"#,
        offsets.len()
    ))
}

#[tokio::test]
async fn everything_that_a_message_has_arrives() {
    // Topic, payload, key, content type, response topic, correlation data, first user property's name, position.
    let (_runtime, pool) = pool(telling(&[0, 8, 16, 28, 40, 52, 72]), Limits::default()).await;
    let properties = Properties {
        payload_is_utf8: true,
        content_type: Some("text/plain".into()),
        response_topic: Some("answers".into()),
        correlation_data: Some(Bytes::from_static(b"call 9")),
        user: vec![("who".into(), "me".into())],
    };
    let call = Call {
        properties: Some(&properties),
        position: Some("0007-1"),
        key: b"order 7",
        ..message(b"hello")
    };
    let events = pool.handle(&call, &no_host()).await.result.unwrap();
    let told: Vec<&[u8]> = events.iter().map(|event| &event.payload[..]).collect();
    assert_eq!(told, [&b"in"[..], b"hello", b"order 7", b"text/plain", b"answers", b"call 9", b"0007-1"]);
}

#[tokio::test]
async fn a_rejection_comes_with_its_reason_and_a_retry_with_its_time() {
    let (_runtime, rejecting) = pool(command(REJECT), Limits::default()).await;
    let done = rejecting.handle(&message(b""), &no_host()).await;
    assert_eq!(done.result.unwrap_err(), Failure::Rejected("bad".into()));

    let retry = r#"(i32.store8 (i32.const 64) (i32.const 1)) (i32.store8 (i32.const 72) (i32.const 1))
        (i32.store8 (i32.const 80) (i32.load8_u (i32.load offset=8 (local.get $m))))
        (i64.store (i32.const 88) (i64.const 250)) (i32.const 64)"#;
    let (_runtime, pool) = pool(command(retry), Limits::default()).await;
    let later = pool.handle(&message(&[1]), &no_host()).await.result.unwrap_err();
    assert_eq!(later, Failure::Retry(Some(Duration::from_millis(250))));
    assert_eq!(pool.handle(&message(&[0]), &no_host()).await.result.unwrap_err(), Failure::Retry(None));
    assert_eq!(pool.instances(), 1, "a failure that the handler names does not cost its instance");
}

#[tokio::test]
async fn each_kind_of_trap_is_named_and_costs_one_call() {
    let (_runtime, pool) =
        pool(guests::moody(), Limits { time: Duration::from_millis(20), ..Limits::default() }).await;
    for (mood, kind) in
        [(b"l", Trap::Time), (b"r", Trap::Stack), (b"u", Trap::Unreachable), (b"m", Trap::Memory)]
    {
        let failure = pool.handle(&message(mood), &no_host()).await.result.unwrap_err();
        assert!(matches!(&failure, Failure::Trapped { kind: met, .. } if *met == kind), "{failure}");
        assert_eq!(pool.instances(), 0, "an instance that trapped is gone");
        let next = pool.handle(&message(b"fine"), &no_host()).await.result.unwrap();
        assert_eq!(&next[0].payload[..], b"fine");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_loop_that_may_take_an_hour_holds_up_nobody_on_its_thread() {
    let hour =
        Limits { time: Duration::from_secs(3600), wall_time: Duration::from_secs(3600), ..Limits::default() };
    let (_runtime, pool) = pool(guests::moody(), hour).await;
    let host = no_host();
    let (looping, fine) = (message(b"l"), message(b"fine"));
    let endless = pool.handle(&looping, &host);
    let others = async {
        for _ in 0..10 {
            pool.handle(&fine, &host).await.result.unwrap();
        }
    };
    tokio::select! {
        biased;
        _ = endless => panic!("it has an hour"),
        () = others => {}
    }
    assert_eq!(pool.instances(), 1, "giving up the call has ended its instance");
}

#[tokio::test]
async fn an_instance_is_reused_until_its_calls_are_used_up() {
    let (_runtime, pool) =
        pool(guests::counting(), Limits { calls_per_instance: 3, ..Limits::default() }).await;
    let mut seen = Vec::new();
    for _ in 0..7 {
        seen.push(pool.handle(&message(b""), &no_host()).await.result.unwrap()[0].payload[0]);
    }
    assert_eq!(seen, [1, 2, 3, 1, 2, 3, 1]);
}

#[tokio::test]
async fn with_isolation_per_call_no_call_sees_another() {
    let limits = Limits { isolation: Isolation::PerCall, ..Limits::default() };
    let (_runtime, pool) = pool(guests::counting(), limits).await;
    for _ in 0..3 {
        assert_eq!(pool.handle(&message(b""), &no_host()).await.result.unwrap()[0].payload[0], 1);
        assert_eq!(pool.instances(), 0);
    }
}

#[tokio::test]
async fn an_instance_that_has_grown_above_half_its_memory_is_replaced() {
    let grow = format!("(drop (memory.grow (i32.const 10))) {}", event("(i32.const 512)", "(i32.const 4)"));
    let limits = Limits { memory_bytes: 40 << 16, ..Limits::default() };
    let (_runtime, pool) = pool(command(&grow), limits).await;
    pool.handle(&message(b""), &no_host()).await.result.unwrap();
    assert_eq!(pool.instances(), 1, "12 of 40 pages");
    pool.handle(&message(b""), &no_host()).await.result.unwrap();
    assert_eq!(pool.instances(), 0, "22 of 40 pages");
}

#[tokio::test]
async fn a_log_line_comes_back_with_its_level() {
    let log =
        format!("(call $log (i32.const 3) (i32.const 1024) (i32.const 3)) {}", event(PAYLOAD[0], PAYLOAD[1]));
    let (_runtime, pool) = pool(command(&log), Limits::default()).await;
    let done = pool.handle(&message(b""), &no_host()).await;
    assert_eq!(
        done.log.iter().map(|line| (line.level, &*line.text)).collect::<Vec<_>>(),
        [(Level::Warn, "out")]
    );
}

#[tokio::test]
async fn the_configuration_of_the_binding_is_read_by_name() {
    let config = format!(
        r#"(call $config (i32.const 1027) (i32.const 4) (i32.const 256))
           (if (i32.eqz (i32.load8_u (i32.const 256))) (then (i64.store (i32.const 260) (i64.const 1024))))
           {}"#,
        event("(i32.load (i32.const 260))", "(i32.load (i32.const 264))")
    );
    let (_runtime, set) = pool_with(command(&config), Limits::default(), &[("name", "value 9")]).await;
    assert_eq!(&set.handle(&message(b""), &no_host()).await.result.unwrap()[0].payload[..], b"value 9");
    let (_runtime, unset) = pool(command(&config), Limits::default()).await;
    assert_eq!(&unset.handle(&message(b""), &no_host()).await.result.unwrap()[0].payload[..], b"");
}

/// 8 bytes of clock, 16 of random.
fn telling_chance() -> Bytes {
    command(&format!(
        r#"(i64.store (i32.const 512) (call $now)) (call $random (i32.const 16) (i32.const 256))
           (memory.copy (i32.const 520) (i32.load (i32.const 256)) (i32.const 16)) {}"#,
        event("(i32.const 512)", "(i32.const 24)")
    ))
}

#[tokio::test]
async fn what_must_be_deterministic_has_the_clock_and_random_of_its_message() {
    let (_runtime, pool) = pool(telling_chance(), Limits::default()).await;
    let told = async |call: Call<'_>| pool.handle(&call, &no_host()).await.result.unwrap()[0].payload.clone();
    let same = Call { is_deterministic: true, ..message(b"") };
    let one = told(same).await;
    assert_eq!(one[..8], 1_000u64.to_le_bytes(), "when it was published");
    assert_eq!(one, told(Call { now: UnixMillis(9_999), attempt: 2, ..same }).await);
    assert_ne!(one[8..], told(Call { id: (1, 3), ..same }).await[8..], "another message");
    let free = told(message(b"")).await;
    assert_eq!(free[..8], 2_000u64.to_le_bytes());
    assert_ne!(free[8..], told(message(b"")).await[8..]);
}

#[tokio::test]
async fn a_pool_of_another_world_traps_and_does_not_panic() {
    let (_runtime, pool) = pool(guests::reducer(), Limits::default()).await;
    let failure = pool.handle(&message(b""), &no_host()).await.result.unwrap_err();
    assert!(matches!(failure, Failure::Trapped { kind: Trap::Other, .. }), "{failure}");
}

#[tokio::test]
async fn handlers_of_many_tasks_share_the_instances() {
    let (_runtime, pool) = pool(guests::echo(), Limits { instances_max: 3, ..Limits::default() }).await;
    let pool = Arc::new(pool);
    let calls = (0..50u8).map(|number| {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move {
            pool.handle(&message(&[number]), &no_host()).await.result.unwrap()[0].payload[0]
        })
    });
    for (number, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(usize::from(call.await.unwrap()), number);
    }
    assert!((1..=3).contains(&pool.instances()));
}
