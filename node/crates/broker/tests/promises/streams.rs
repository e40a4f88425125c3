//! Streams: what is captured is part of the publish and of its acknowledgement.

use std::sync::Arc;

use weir_broker::publish::{Answering, Publisher, Verdict};
use weir_broker::stream::definition::SpecError;
use weir_broker::stream::key::KeyRule;
use weir_broker::stream::reader::{Reader, ReaderEnd};
use weir_broker::stream::{Spec, Stream, StreamError};
use weir_model::{DEFAULT_REALM, Filter, Qos, Reason};
use weir_store::{Page, Refusal, Retention, Start};

use super::bench::{Bench, publish};

const PAGE: Page = Page { rows_max: 100, bytes_max: 1 << 20 };

fn realm() -> Arc<str> {
    DEFAULT_REALM.into()
}

fn of(filter: &str) -> Spec {
    Spec { filters: vec![Filter::new(filter).unwrap()], ..Spec::default() }
}

async fn create(bench: &Bench, name: &str, spec: Spec) -> Arc<Stream> {
    bench.broker.create_stream(&realm(), name, spec).await.unwrap()
}

/// Publishes at QoS 1 and wants the message accepted at once, as a store does that answers at once.
fn accept(publisher: &mut Publisher, payload: &[u8]) {
    let verdict = publisher.publish(publish(payload, Qos::AtLeastOnce, false), Answering::Puback(1));
    publisher.push();
    assert_eq!(verdict, Verdict::Accepted { matched: true });
}

async fn payloads(reader: &mut Reader) -> Vec<u8> {
    let batch = reader.read(PAGE).await.unwrap();
    batch.records.iter().map(|(_, record)| record.message.payload[0]).collect()
}

fn imbalance(bench: &Bench) -> u64 {
    bench.broker.ledger().balance(0).imbalance()
}

#[tokio::test]
async fn what_a_stream_captures_is_read_in_order_by_anybody() {
    let bench = Bench::start().await;
    let stream = create(&bench, "all", of("t/#")).await;
    let mut publisher = bench.publisher("p").await;
    (b'1'..=b'5').for_each(|payload| accept(&mut publisher, &[payload]));
    let mut reader = Reader::new(&bench.broker, stream.clone(), Start::Earliest);
    assert_eq!(payloads(&mut reader).await, b"12345");
    assert_eq!(payloads(&mut reader).await, b"");
    accept(&mut publisher, b"6");
    assert_eq!(payloads(&mut reader).await, b"6");
    publisher.settle();
    assert_eq!(imbalance(&bench), 0);
}

#[tokio::test]
async fn the_acknowledgement_waits_until_the_record_is_stored_and_a_refusal_is_said() {
    let bench = Bench::start().await;
    create(&bench, "all", of("t")).await;
    let subscriber = bench.connect("s", 0).await;
    bench.subscribe(&subscriber, "t", Qos::AtMostOnce).await;
    let mut publisher = bench.publisher("p").await;
    bench.store.close_gate();
    let verdict = publisher.publish(publish(b"1", Qos::AtLeastOnce, false), Answering::Puback(1));
    assert_eq!((verdict, publisher.completed()), (Verdict::Waiting, None));
    bench.store.open_gate(None);
    assert_eq!(publisher.completed(), Some((Answering::Puback(1), Verdict::Accepted { matched: true })));
    bench.store.close_gate();
    publisher.publish(publish(b"2", Qos::AtLeastOnce, false), Answering::Puback(2));
    bench.store.open_gate(Some(Refusal::StoreFull));
    assert_eq!(publisher.completed(), Some((Answering::Puback(2), Verdict::Refused(Reason::Quota))));
    publisher.push();
    assert_eq!(bench.frames(&subscriber), b"1");
    publisher.settle();
}

#[tokio::test]
async fn a_qos0_message_that_the_store_does_not_take_is_delivered_and_counted() {
    let bench = Bench::start().await;
    create(&bench, "all", of("t")).await;
    let subscriber = bench.connect("s", 0).await;
    bench.subscribe(&subscriber, "t", Qos::AtMostOnce).await;
    let mut publisher = bench.publisher("p").await;
    bench.store.close_gate();
    publisher.publish(publish(b"1", Qos::AtMostOnce, false), Answering::Nothing);
    bench.store.open_gate(Some(Refusal::Unavailable));
    while publisher.completed().is_some() {}
    publisher.push();
    assert_eq!(bench.frames(&subscriber), b"1");
    let skipped = weir_broker::ledger::Loss::CaptureSkipped;
    assert_eq!(bench.broker.ledger().dropped(skipped), 1);
}

#[tokio::test]
async fn a_stream_made_twice_alike_is_one_and_made_differently_is_refused() {
    let bench = Bench::start().await;
    let first = create(&bench, "orders", of("a")).await;
    let again = create(&bench, "orders", of("a")).await;
    assert_eq!(first.generation(), again.generation());
    let other = bench.broker.create_stream(&realm(), "orders", of("b")).await;
    assert!(matches!(other, Err(StreamError::Exists { .. })));
    let bad = bench.broker.create_stream(&realm(), "a/b", of("b")).await;
    assert!(matches!(bad, Err(StreamError::Spec(SpecError::NameCharacter))));
}

#[tokio::test]
async fn no_more_streams_are_made_than_configured() {
    let config = weir_broker::Config { streams_max: 1, ..weir_broker::Config::default() };
    let bench = Bench::with(config).await;
    create(&bench, "one", of("a")).await;
    let two = bench.broker.create_stream(&realm(), "two", of("a")).await;
    assert!(matches!(two, Err(StreamError::TooMany { max: 1 })));
    create(&bench, "one", of("a")).await;
}

#[tokio::test]
async fn with_other_partitions_a_stream_goes_on_and_is_read_generation_by_generation() {
    let bench = Bench::start().await;
    let before = create(&bench, "all", of("t")).await;
    let mut reader = Reader::new(&bench.broker, before.clone(), Start::Earliest);
    let mut publisher = bench.publisher("p").await;
    accept(&mut publisher, b"1");
    let spec = Spec { partitions: 4, key: KeyRule::Topic, ..of("t") };
    let after = bench.broker.alter_stream(&realm(), "all", spec, before.version).await.unwrap();
    assert_ne!(before.generation(), after.generation());
    accept(&mut publisher, b"2");
    assert_eq!(payloads(&mut reader).await, b"1");
    let batch = reader.next(PAGE).await.unwrap();
    assert_eq!(batch.records.len(), 1);
    let mut fresh = Reader::new(&bench.broker, after, Start::Earliest);
    let (first, second) = (payloads(&mut fresh).await, payloads(&mut fresh).await);
    assert_eq!((&*first, &*second), (&b"1"[..], &b"2"[..]));
}

#[tokio::test]
async fn a_message_on_its_way_to_a_sealed_generation_is_captured_by_the_next() {
    let bench = Bench::start().await;
    let before = create(&bench, "all", of("t")).await;
    let mut publisher = bench.publisher("p").await;
    bench.store.close_gate();
    publisher.publish(publish(b"1", Qos::AtLeastOnce, false), Answering::Puback(1));
    // What is held comes after the change.
    let held = bench.store.held.lock().take().unwrap();
    let spec = Spec { partitions: 3, ..of("t") };
    let after = bench.broker.alter_stream(&realm(), "all", spec, before.version).await.unwrap();
    for (steps, _, done) in held {
        weir_store::Store::submit(&*bench.store, steps, done);
    }
    let answered = std::future::poll_fn(|cx| match publisher.completed() {
        Some(answered) => std::task::Poll::Ready(answered),
        None => {
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        }
    });
    assert_eq!(answered.await, (Answering::Puback(1), Verdict::Accepted { matched: true }));
    let mut reader = Reader::new(&bench.broker, after, Start::Earliest);
    assert_eq!(payloads(&mut reader).await, b"1");
    publisher.settle();
    assert_eq!(imbalance(&bench), 0);
}

#[tokio::test]
async fn a_deleted_stream_captures_nothing_and_its_readers_are_told() {
    let bench = Bench::start().await;
    let stream = create(&bench, "all", of("t")).await;
    let mut publisher = bench.publisher("p").await;
    accept(&mut publisher, b"1");
    let mut reader = Reader::new(&bench.broker, stream, Start::Latest);
    bench.broker.delete_stream(&realm(), "all").await.unwrap();
    let verdict = publisher.publish(publish(b"2", Qos::AtLeastOnce, false), Answering::Puback(2));
    assert_eq!(verdict, Verdict::Accepted { matched: false });
    assert!(matches!(reader.next(PAGE).await, Err(ReaderEnd::Deleted)));
    let gone = bench.broker.delete_stream(&realm(), "all").await;
    assert!(matches!(gone, Err(StreamError::Unknown { .. })));
    // The same name again is another stream.
    let again = create(&bench, "all", of("t")).await;
    let mut reader = Reader::new(&bench.broker, again, Start::Earliest);
    assert_eq!(payloads(&mut reader).await, b"");
}

#[tokio::test]
async fn a_stream_cannot_be_altered_to_be_compacted_nor_by_who_saw_another_version() {
    let bench = Bench::start().await;
    let stream = create(&bench, "all", of("t")).await;
    let retention = Retention { is_compacted: true, ..Retention::default() };
    let compacted = Spec { retention, ..of("t") };
    let altered = bench.broker.alter_stream(&realm(), "all", compacted, 0).await;
    assert!(matches!(altered, Err(StreamError::Incompatible { field: "retention.is_compacted", .. })));
    let altered = bench.broker.alter_stream(&realm(), "all", of("t/+"), stream.version).await.unwrap();
    let late = bench.broker.alter_stream(&realm(), "all", of("u"), stream.version).await;
    assert!(matches!(late, Err(StreamError::Changed { .. })));
    assert_eq!(altered.generation(), stream.generation());
}

#[tokio::test]
async fn a_reader_is_told_how_many_records_were_let_go_before_it_came_to_them() {
    let bench = Bench::start().await;
    let retention = Retention { records_max: 2, ..Retention::default() };
    let stream = create(&bench, "last", Spec { retention, ..of("t") }).await;
    let mut reader = Reader::new(&bench.broker, stream, Start::Earliest);
    let mut publisher = bench.publisher("p").await;
    accept(&mut publisher, b"1");
    assert_eq!(payloads(&mut reader).await, b"1");
    (b'2'..=b'6').for_each(|payload| accept(&mut publisher, &[payload]));
    let batch = reader.read(PAGE).await.unwrap();
    assert_eq!((batch.missed, batch.records.len()), (3, 2));
}
