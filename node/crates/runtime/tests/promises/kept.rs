//! Small state: reads see the call's own writes, writes come back with the outcome, or not at all.

use weir_runtime::Limits;

use crate::guests;
use crate::node::{host, message, no_host, pool};

const TOO_MANY: &[u8] = &[1];
const UNAVAILABLE: &[u8] = &[2];

#[tokio::test]
async fn a_read_asks_the_host_under_the_key_of_the_message() {
    let (_runtime, pool) = pool(guests::keeping(), Limits::default()).await;
    let host = host(&[(b"k", "name", b"kept"), (b"other", "name", b"not this")]);
    let done = pool.handle(&message(b"g"), &host).await;
    assert_eq!(&done.result.unwrap()[0].payload[..], b"kept");
    assert!(done.writes.is_empty());
}

#[tokio::test]
async fn a_read_sees_what_its_call_has_written() {
    let (_runtime, pool) = pool(guests::keeping(), Limits::default()).await;
    let host = host(&[(b"k", "name", b"kept")]);
    let set = pool.handle(&message(b"set to this"), &host).await;
    assert_eq!(&set.result.unwrap()[0].payload[..], b"set to this");
    assert_eq!(set.writes, [("name".into(), Some(b"set to this"[..].into()))]);
    let deleted = pool.handle(&message(b"d"), &host).await;
    assert_eq!(&deleted.result.unwrap()[0].payload[..], b"name", "it says that there is none");
    assert_eq!(deleted.writes, [("name".into(), None)]);
}

#[tokio::test]
async fn a_call_that_fails_writes_nothing() {
    let (_runtime, pool) = pool(guests::keeping(), Limits::default()).await;
    let done = pool.handle(&message(b"x"), &no_host()).await;
    assert!(done.result.is_err() && done.writes.is_empty());
    let next = pool.handle(&message(b"g"), &host(&[(b"k", "other", b"")])).await;
    assert_eq!(&next.result.unwrap()[0].payload[..], b"name", "nor does the next call see it");
}

#[tokio::test]
async fn a_handler_is_told_when_the_store_does_not_answer() {
    let (_runtime, pool) = pool(guests::keeping(), Limits::default()).await;
    assert_eq!(&pool.handle(&message(b"g"), &no_host()).await.result.unwrap()[0].payload[..], UNAVAILABLE);
}

#[tokio::test]
async fn values_that_are_too_large_and_too_many_are_told_apart() {
    let (_runtime, large) =
        pool(guests::keeping(), Limits { kv_value_bytes_max: 3, ..Limits::default() }).await;
    let host = host(&[(b"k", "name", b"kept")]);
    let done = large.handle(&message(b"s234"), &host).await;
    assert_eq!(&done.result.unwrap()[0].payload[..], b"kept", "the set was refused");
    assert!(done.writes.is_empty());

    let (_runtime, many) = pool(guests::keeping(), Limits { kv_ops_max: 1, ..Limits::default() }).await;
    let done = many.handle(&message(b"set"), &host).await;
    assert_eq!(&done.result.unwrap()[0].payload[..], TOO_MANY, "one write, and no read any more");

    let (_runtime, bytes) = pool(guests::keeping(), Limits { kv_bytes_max: 3, ..Limits::default() }).await;
    assert_eq!(&bytes.handle(&message(b"g"), &host).await.result.unwrap()[0].payload[..], TOO_MANY);
}
