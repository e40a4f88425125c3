//! What a call may not do: each limit, met.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use weir_runtime::{Away, Failure, Host, Limits, Runtime, Trap};

use crate::guests::{self, PAYLOAD, command, event};
use crate::node::{config, message, no_host, pool, pool_of};

/// As many empty events as the payload's first four bytes say.
fn flooding() -> Bytes {
    command(
        r#"(drop (memory.grow (i32.const 120)))
           (i32.store (i32.const 72) (i32.const 131072))
           (i32.store (i32.const 76) (i32.load (i32.load offset=8 (local.get $m)))) (i32.const 64)"#,
    )
}

#[tokio::test]
async fn more_outputs_than_the_binding_allows_are_none() {
    let (_runtime, pool) = pool(flooding(), Limits { outputs_max: 10, ..Limits::default() }).await;
    let ten = pool.handle(&message(&10u32.to_le_bytes()), &no_host()).await;
    assert_eq!(ten.result.unwrap().len(), 10);
    let eleven = pool.handle(&message(&11u32.to_le_bytes()), &no_host()).await;
    assert_eq!(eleven.result.unwrap_err(), Failure::TooMuchOutput { outputs: 11, bytes: 0 });
    let flood = pool.handle(&message(&100_000u32.to_le_bytes()), &no_host()).await;
    assert!(matches!(flood.result.unwrap_err(), Failure::TooMuchOutput { .. }));
}

#[tokio::test]
async fn more_bytes_of_output_than_the_binding_allows_are_none() {
    let (_runtime, pool) = pool(guests::echo(), Limits { output_bytes_max: 100, ..Limits::default() }).await;
    assert!(pool.handle(&message(&[7; 97]), &no_host()).await.result.is_ok(), "with the 3 of its topic");
    let failure = pool.handle(&message(&[7; 98]), &no_host()).await.result.unwrap_err();
    assert_eq!(failure, Failure::TooMuchOutput { outputs: 1, bytes: 101 });
}

#[tokio::test]
async fn a_thousand_events_with_the_same_megabyte_are_not_copied_a_thousand_times() {
    let same = r#"(drop (memory.grow (i32.const 30)))
        (loop $next
          (local.set $at (i32.add (i32.const 131072) (i32.mul (local.get $i) (i32.const 72))))
          (i32.store offset=8 (local.get $at) (i32.const 262144))
          (i32.store offset=12 (local.get $at) (i32.const 1048576))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $i) (i32.const 1000))))
        (i32.store (i32.const 72) (i32.const 131072)) (i32.store (i32.const 76) (i32.const 1000)) (i32.const 64)"#;
    let (_runtime, pool) = pool(command(same), Limits::default()).await;
    let failure = pool.handle(&message(b""), &no_host()).await.result.unwrap_err();
    assert_eq!(failure, Failure::TooMuchOutput { outputs: 0, bytes: 0 });
}

#[tokio::test]
async fn a_qos_that_there_is_not_is_named() {
    let bad = format!("(i32.store8 (i32.const 144) (i32.const 3)) {}", event(PAYLOAD[0], PAYLOAD[1]));
    let (_runtime, pool) = pool(command(&bad), Limits::default()).await;
    let failure = pool.handle(&message(b""), &no_host()).await.result.unwrap_err();
    assert!(matches!(&failure, Failure::BadOutput(text) if text.contains("qos 3")), "{failure}");
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut_and_counted() {
    let flood = format!(
        r#"(loop $next
             (call $log (i32.const 2) (i32.const 1024) (i32.const 3))
             (local.set $i (i32.add (local.get $i) (i32.const 1)))
             (br_if $next (i32.lt_u (local.get $i) (i32.const 1000))))
           {}"#,
        event(PAYLOAD[0], PAYLOAD[1])
    );
    let (_runtime, lines) = pool(command(&flood), Limits { log_lines_max: 10, ..Limits::default() }).await;
    let done = lines.handle(&message(b""), &no_host()).await;
    assert_eq!((done.log.len(), done.log_dropped), (10, 990));
    let (_runtime, bytes) = pool(command(&flood), Limits { log_bytes_max: 16, ..Limits::default() }).await;
    let done = bytes.handle(&message(b""), &no_host()).await;
    assert_eq!((done.log.len(), done.log_dropped), (5, 995));
}

#[tokio::test]
async fn too_much_random_at_once_is_a_trap() {
    let greedy =
        format!("(call $random (i32.const 65537) (i32.const 256)) {}", event(PAYLOAD[0], PAYLOAD[1]));
    let (_runtime, pool) = pool(command(&greedy), Limits::default()).await;
    let failure = pool.handle(&message(b""), &no_host()).await.result.unwrap_err();
    assert!(
        matches!(&failure, Failure::Trapped { kind: Trap::Other, text } if text.contains("65536")),
        "{failure}"
    );
}

/// Never answers.
struct Silent;

impl Host for Silent {
    fn read<'a>(&'a self, _: &'a [u8], _: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Away>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn waiting_for_a_store_that_is_silent_ends_with_the_time_on_the_wall() {
    let limits = Limits { wall_time: Duration::from_millis(20), ..Limits::default() };
    let (_runtime, pool) = pool(guests::keeping(), limits).await;
    let silent: Arc<dyn Host> = Arc::new(Silent);
    let failure = pool.handle(&message(b"g"), &silent).await.result.unwrap_err();
    assert!(matches!(failure, Failure::Trapped { kind: Trap::Time, .. }), "{failure}");
    assert_eq!(pool.instances(), 0);
}

#[tokio::test]
async fn a_call_that_finds_no_instance_free_waits_and_is_then_told_that_the_handler_is_busy() {
    let limits = Limits { instances_max: 1, wait: Duration::ZERO, ..Limits::default() };
    let (_runtime, pool) = pool(guests::keeping(), limits).await;
    let silent: Arc<dyn Host> = Arc::new(Silent);
    let call = message(b"g");
    let mut waiting = std::pin::pin!(pool.handle(&call, &silent));
    let once = tokio::time::timeout(Duration::ZERO, waiting.as_mut()).await;
    assert!(once.is_err(), "it has the only instance");
    assert_eq!(pool.handle(&call, &silent).await.result.unwrap_err(), Failure::Busy);
}

#[tokio::test]
async fn an_idle_instance_of_another_handler_makes_room() {
    let mut small = config();
    small.small.instances_max = 2;
    let runtime = Runtime::start(&small, None).unwrap();
    let echo = runtime.prepare(guests::echo()).await.unwrap();
    let counting = runtime.prepare(guests::counting()).await.unwrap();
    let pools: Vec<_> = (0..2).map(|_| pool_of(&runtime, &echo, Limits::default(), &[])).collect();
    for pool in &pools {
        pool.handle(&message(b""), &no_host()).await.result.unwrap();
    }
    let late = pool_of(&runtime, &counting, Limits::default(), &[]);
    late.handle(&message(b""), &no_host()).await.result.unwrap();
    assert_eq!(pools.iter().map(|pool| pool.instances()).sum::<usize>() + late.instances(), 2);
}

#[tokio::test]
async fn memory_of_all_instances_has_a_limit_of_the_node() {
    let runtime =
        Runtime::start(&weir_runtime::Config { memory_bytes_max: 1 << 20, ..config() }, None).unwrap();
    let program = runtime.prepare(guests::moody()).await.unwrap();
    let pool = pool_of(&runtime, &program, Limits { memory_bytes: 32 << 20, ..Limits::default() }, &[]);
    let failure = pool.handle(&message(b"m"), &no_host()).await.result.unwrap_err();
    assert!(matches!(failure, Failure::Trapped { kind: Trap::Memory, .. }), "{failure}");
    assert!(pool.handle(&message(b"fine"), &no_host()).await.result.is_ok());
}
