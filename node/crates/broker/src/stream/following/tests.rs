//! What a connection that follows a stream may rely on, over one node and over two.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use weir_access::Access;
use weir_model::{Message, Position, Qos, Topic, UnixMillis};
use weir_store::{NodeRef, Retention, SharedMemory, Start, Store};

use super::*;
use crate::stream::definition::Spec;
use crate::stream::{capture, key::KeyRule};

const REALM: &str = "default";

async fn node(store: Arc<dyn Store>) -> Broker {
    let config = crate::Config { sys_interval_seconds: 0, stream_trim_ms: 0, ..crate::Config::default() };
    Broker::start(config, store, Arc::new(Access::open()), &[]).await.unwrap()
}

async fn single() -> Broker {
    let config = weir_store::Config { url: "memory".to_owned(), ..weir_store::Config::default() };
    let directory = tempfile::tempdir().unwrap();
    node(weir_store::open(&config, directory.path()).unwrap().0).await
}

async fn two() -> (Broker, Broker) {
    let clock = Arc::new(|| {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        UnixMillis(u64::try_from(since.as_millis()).unwrap())
    });
    let shared = SharedMemory::new(&weir_store::Config::default(), clock);
    let at = |node_id: &str, incarnation| shared.node(NodeRef { node_id: node_id.into(), incarnation });
    (node(at("a", 1)).await, node(at("b", 2)).await)
}

async fn stream(broker: &Broker, spec: Spec) -> Arc<Stream> {
    broker.create_stream(&REALM.into(), "s", spec).await.unwrap()
}

fn message(topic: &str, payload: &str) -> Arc<Message> {
    Arc::new(Message {
        topic: Topic::new(topic).unwrap(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: Qos::AtLeastOnce,
        retain: false,
        expires_at: None,
        properties: None,
    })
}

/// Appends these payloads to the stream as it is now.
async fn append(broker: &Broker, payloads: std::ops::RangeInclusive<u32>) {
    let stream = broker.stream(&REALM.into(), "s").unwrap();
    for payload in payloads {
        let step =
            capture::step(&stream, &message(&format!("t/{payload}"), &payload.to_string()), None, None);
        broker.submit(vec![step]).await.pop().unwrap().unwrap();
    }
}

async fn next(following: &mut Following) -> Result<Found, Ended> {
    std::future::poll_fn(|cx| {
        if let Err(ended) = following.poll(cx) {
            return Poll::Ready(Err(ended));
        }
        following.take_next().map_or(Poll::Pending, |found| Poll::Ready(Ok(found)))
    })
    .await
}

fn payload(found: &Found) -> u32 {
    std::str::from_utf8(&found.record.message.payload).unwrap().parse().unwrap()
}

/// Takes so many records and sends each under its payload as packet id.
async fn take(following: &mut Following, count: usize) -> Vec<u32> {
    let mut payloads = Vec::new();
    while payloads.len() < count {
        let found = next(following).await.unwrap();
        payloads.push(payload(&found));
        following.sent(found.at, Some(payload(&found) as u16));
    }
    payloads
}

/// Reads until the store has been told what was answered.
async fn told(following: &mut Following) {
    std::future::poll_fn(|cx| {
        following.poll(cx).unwrap();
        let is_behind = following.places.as_ref().is_some_and(Places::are_behind);
        if is_behind || following.telling.is_some() { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

async fn begin(broker: &Broker, group: Option<&str>, start: Start) -> Following {
    let stream = broker.stream(&REALM.into(), "s").unwrap();
    let offset = Offset { start, after: Vec::new() };
    Following::begin(broker, stream, group.map(Arc::from), offset).await.unwrap()
}

fn resume(broker: &Broker, group: &str) -> Following {
    Following::resume(broker, broker.stream(&REALM.into(), "s").unwrap(), group.into())
}

async fn groups(broker: &Broker, generation: usize) -> Vec<String> {
    let info = broker.stream_info(&REALM.into(), "s").await.unwrap();
    let (_, partitions) = &info.generations[generation];
    partitions[0].groups.iter().map(|place| place.group.to_string()).collect()
}

const GROUP: &str = "$session/7/c";

fn partitions(partitions: u32) -> Spec {
    Spec { partitions, ..Spec::default() }
}

#[tokio::test]
async fn who_begins_with_the_latest_finds_what_is_appended_after_that() {
    let broker = single().await;
    stream(&broker, Spec::default()).await;
    append(&broker, 1..=3).await;
    let mut alone = begin(&broker, None, Start::Latest).await;
    let mut kept = begin(&broker, Some(GROUP), Start::Latest).await;
    append(&broker, 4..=5).await;
    assert_eq!(take(&mut alone, 2).await, [4, 5]);
    assert_eq!(take(&mut kept, 2).await, [4, 5]);
}

#[tokio::test]
async fn a_position_or_a_time_is_where_reading_begins() {
    let broker = single().await;
    stream(&broker, Spec::default()).await;
    append(&broker, 1..=5).await;
    let mut all = begin(&broker, None, Start::Earliest).await;
    let mut positions = Vec::new();
    for _ in 0..5 {
        positions.push(next(&mut all).await.unwrap().at.mark.position);
    }
    for group in [None, Some(GROUP)] {
        let mut after = begin(&broker, group, Start::After(positions[2])).await;
        assert_eq!(take(&mut after, 2).await, [4, 5]);
        let time = UnixMillis(positions[0].ms);
        let mut at = begin(&broker, group, Start::At(time)).await;
        assert_eq!(take(&mut at, 5).await, [1, 2, 3, 4, 5]);
        let mut beyond =
            begin(&broker, group, Start::After(Position { epoch: u64::MAX, ms: 0, seq: 0 })).await;
        assert!(futures_util::poll!(std::pin::pin!(next(&mut beyond))).is_pending());
        append(&broker, 6..=6).await;
        assert_eq!(take(&mut beyond, 1).await, [6]);
    }
}

#[tokio::test]
async fn each_partition_may_have_its_own_place() {
    let broker = single().await;
    let stream = stream(&broker, partitions(4)).await;
    append(&broker, 1..=40).await;
    let mut all = begin(&broker, None, Start::Earliest).await;
    let (mut after, mut rest) = (vec![None; 4], Vec::new());
    for _ in 0..40 {
        let found = next(&mut all).await.unwrap();
        let place = &mut after[found.at.partition as usize];
        match place {
            None => *place = Some((found.at.partition, found.at.mark.position)),
            Some(_) => rest.push(payload(&found)),
        }
    }
    let offset = Offset { start: Start::Earliest, after: after.into_iter().flatten().collect() };
    for group in [None, Some(Arc::from(GROUP))] {
        let mut again = Following::begin(&broker, stream.clone(), group, offset.clone()).await.unwrap();
        let mut taken = take(&mut again, rest.len()).await;
        taken.sort_unstable();
        rest.sort_unstable();
        assert_eq!(taken, rest);
    }
}

#[tokio::test]
async fn a_session_goes_on_behind_what_was_answered_in_order() {
    let broker = single().await;
    stream(&broker, Spec::default()).await;
    append(&broker, 1..=6).await;
    let mut first = begin(&broker, Some(GROUP), Start::Earliest).await;
    assert_eq!(take(&mut first, 5).await, [1, 2, 3, 4, 5]);
    for packet_id in [1, 2, 4] {
        assert!(first.answered(packet_id));
    }
    assert!(!first.answered(4) && !first.answered(99));
    drop(first);
    let mut second = resume(&broker, GROUP);
    assert_eq!(take(&mut second, 4).await, [3, 4, 5, 6]);
}

#[tokio::test]
async fn the_store_is_told_of_answers_while_the_connection_lives() {
    let broker = single().await;
    stream(&broker, Spec::default()).await;
    append(&broker, 1..=4).await;
    let mut dies = begin(&broker, Some(GROUP), Start::Earliest).await;
    take(&mut dies, 3).await;
    assert!(dies.answered(1) && dies.answered(2));
    told(&mut dies).await;
    // Its process is gone: nobody gives anything back.
    std::mem::forget(dies);
    assert_eq!(take(&mut resume(&broker, GROUP), 2).await, [3, 4]);
}

#[tokio::test]
async fn a_newer_connection_of_the_session_has_the_place() {
    let broker = single().await;
    stream(&broker, Spec::default()).await;
    append(&broker, 1..=4).await;
    let mut old = begin(&broker, Some(GROUP), Start::Earliest).await;
    take(&mut old, 2).await;
    let mut new = resume(&broker, GROUP);
    assert_eq!(take(&mut new, 2).await, [1, 2]);
    // What the old one hears too late moves nothing.
    assert!(old.answered(1) && old.answered(2));
    drop(old);
    assert!(new.answered(1));
    told(&mut new).await;
    drop(new);
    assert_eq!(take(&mut resume(&broker, GROUP), 3).await, [2, 3, 4]);
}

#[tokio::test]
async fn a_session_moves_to_another_node_with_its_place() {
    let (a, b) = two().await;
    stream(&a, Spec::default()).await;
    append(&a, 1..=4).await;
    b.store().caught_up().await.unwrap();
    let mut there = begin(&a, Some(GROUP), Start::Earliest).await;
    take(&mut there, 2).await;
    assert!(there.answered(1));
    let mut here = resume(&b, GROUP);
    // The other node still has it.
    assert!(futures_util::poll!(std::pin::pin!(next(&mut here))).is_pending());
    drop(there);
    assert_eq!(take(&mut here, 3).await, [2, 3, 4]);
}

#[tokio::test]
async fn a_stream_that_is_deleted_or_made_anew_ends_its_followers() {
    let broker = single().await;
    for group in [None, Some(GROUP)] {
        stream(&broker, Spec::default()).await;
        append(&broker, 1..=1).await;
        let mut waiting = begin(&broker, group, Start::Latest).await;
        let mut reading = begin(&broker, group, Start::Earliest).await;
        take(&mut reading, 1).await;
        broker.delete_stream(&REALM.into(), "s").await.unwrap();
        stream(&broker, Spec::default()).await;
        append(&broker, 2..=2).await;
        assert_eq!(next(&mut waiting).await.unwrap_err(), Ended::Deleted);
        assert_eq!(next(&mut reading).await.unwrap_err(), Ended::Deleted);
        assert!(next(&mut begin(&broker, group, Start::Earliest).await).await.is_ok());
        broker.delete_stream(&REALM.into(), "s").await.unwrap();
    }
}

#[tokio::test]
async fn records_that_went_before_they_were_reached_are_counted() {
    let broker = single().await;
    let retention = Retention { records_max: 3, ..Retention::default() };
    stream(&broker, Spec { retention, ..Spec::default() }).await;
    append(&broker, 1..=1).await;
    for group in [None, Some(GROUP)] {
        let mut slow = begin(&broker, group, Start::Earliest).await;
        let first = next(&mut slow).await.unwrap();
        let number = payload(&first);
        slow.sent(first.at, None);
        append(&broker, 101..=110).await;
        while let Some(found) = slow.take_next() {
            slow.sent(found.at, None);
        }
        let found = next(&mut slow).await.unwrap();
        assert_eq!(payload(&found), 108, "after {number}");
        assert!(found.missed >= 5, "{} missed", found.missed);
        assert_eq!(next(&mut slow).await.unwrap().missed, 0);
    }
}

#[tokio::test]
async fn who_comes_back_after_its_position_was_let_go_is_told() {
    let broker = single().await;
    let retention = Retention { records_max: 2, ..Retention::default() };
    stream(&broker, Spec { retention, ..Spec::default() }).await;
    append(&broker, 1..=1).await;
    let mut first = begin(&broker, None, Start::Earliest).await;
    let position = next(&mut first).await.unwrap().at.mark.position;
    append(&broker, 2..=9).await;
    let mut again = begin(&broker, None, Start::After(position)).await;
    let found = next(&mut again).await.unwrap();
    assert_eq!((payload(&found), found.missed > 0), (8, true));
}

#[tokio::test]
async fn an_altered_stream_is_read_to_its_end_before_it_goes_on() {
    let broker = single().await;
    stream(&broker, partitions(1)).await;
    append(&broker, 1..=3).await;
    let mut before = begin(&broker, Some(GROUP), Start::Earliest).await;
    assert_eq!(take(&mut before, 2).await, [1, 2]);
    assert!(before.answered(1));
    drop(before);
    let mut alone = begin(&broker, None, Start::Earliest).await;
    broker.alter_stream(&REALM.into(), "s", partitions(3), 0).await.unwrap();
    append(&broker, 4..=9).await;
    let mut kept = resume(&broker, GROUP);
    for (following, old, ids) in [(&mut alone, [1, 2, 3].as_slice(), 1..=9u16), (&mut kept, &[2, 3], 2..=9)] {
        assert_eq!(take(following, old.len()).await, old);
        let mut new = take(following, 6).await;
        new.sort_unstable();
        assert_eq!(new, [4, 5, 6, 7, 8, 9]);
        ids.for_each(|id| assert!(following.answered(id)));
    }
    told(&mut kept).await;
    drop(kept);
    append(&broker, 10..=10).await;
    assert_eq!(take(&mut resume(&broker, GROUP), 1).await, [10]);
    assert_eq!(groups(&broker, 0).await, [""; 0], "the generation before is done with");
    // Who knows a position of the newest generation does not read it from its beginning again.
    let position =
        next(&mut begin(&broker, None, Start::At(UnixMillis(0))).await).await.unwrap().at.mark.position;
    assert_eq!(take(&mut begin(&broker, None, Start::After(position)).await, 2).await, [2, 3]);
}

#[tokio::test]
async fn a_place_the_store_has_forgotten_is_taken_again() {
    let broker = single().await;
    let stream = stream(&broker, Spec::default()).await;
    append(&broker, 1..=2).await;
    let mut following = begin(&broker, Some(GROUP), Start::Earliest).await;
    assert_eq!(take(&mut following, 2).await, [1, 2]);
    places::forget(&broker, [stream.partition(0)].into_iter(), &GROUP.into());
    assert!(following.answered(1) && following.answered(2));
    std::future::poll_fn(|cx| {
        following.poll(cx).unwrap();
        let is_new = matches!(&following.state, State::Opening(_));
        if is_new { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    // Two rounds: the page that was being waited for belongs to the place before.
    let mut kept = Box::pin(next(&mut following));
    while futures_util::poll!(kept.as_mut()).is_pending() && groups(&broker, 0).await.is_empty() {
        tokio::task::yield_now().await;
    }
    append(&broker, 3..=3).await;
    assert_eq!(payload(&kept.await.unwrap()), 3);
}

#[tokio::test]
async fn a_place_is_forgotten_with_its_session() {
    let broker = single().await;
    stream(&broker, Spec { key: KeyRule::None, ..Spec::default() }).await;
    let following = begin(&broker, Some(GROUP), Start::Latest).await;
    assert_eq!(groups(&broker, 0).await, [GROUP]);
    following.forget();
    while !groups(&broker, 0).await.is_empty() {
        tokio::task::yield_now().await;
    }
    // One whose node has died is found by the janitor: nobody has a session of that name.
    drop(begin(&broker, Some(GROUP), Start::Latest).await);
    std::mem::forget(begin(&broker, Some("$session/8/d"), Start::Latest).await);
    drop(begin(&broker, Some("workers"), Start::Latest).await);
    broker.tidy_streams(true).await;
    assert_eq!(groups(&broker, 0).await, ["workers"]);
}

#[tokio::test]
async fn old_records_go_though_nothing_is_appended() {
    let broker = single().await;
    let retention = Retention { age_max_ms: 20, ..Retention::default() };
    stream(&broker, Spec { retention, ..Spec::default() }).await;
    append(&broker, 1..=3).await;
    let records = async || {
        let info = broker.stream_info(&REALM.into(), "s").await.unwrap();
        info.generations[0].1[0].ends.records
    };
    while records().await > 0 {
        broker.tidy_streams(false).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_earlier_generation_goes_when_it_is_empty_or_kept_for_nobody() {
    let broker = single().await;
    let bounded = Retention { records_max: 100, ..Retention::default() };
    let spec = |partitions, retention| Spec { partitions, retention, ..Spec::default() };
    let generations = async || broker.stream_info(&REALM.into(), "s").await.unwrap().generations.len();
    let realm: Arc<str> = REALM.into();

    stream(&broker, spec(1, bounded)).await;
    broker.alter_stream(&realm, "s", spec(2, bounded), 0).await.unwrap();
    broker.tidy_streams(true).await;
    assert_eq!(generations().await, 1, "an empty one");

    append(&broker, 1..=3).await;
    broker.alter_stream(&realm, "s", spec(1, bounded), 0).await.unwrap();
    broker.tidy_streams(true).await;
    assert_eq!(generations().await, 2, "nobody has read it yet, and anybody may");
    let mut reader = begin(&broker, Some("workers"), Start::Earliest).await;
    let ids = take(&mut reader, 2).await;
    broker.tidy_streams(true).await;
    assert_eq!(generations().await, 2, "its group is not through");
    let last = take(&mut reader, 1).await;
    ids.iter().chain(&last).for_each(|id| assert!(reader.answered(*id as u16)));
    reader.places.as_mut().unwrap().commit().await;
    broker.tidy_streams(true).await;
    assert_eq!(generations().await, 1, "its group has read it");

    append(&broker, 4..=4).await;
    broker.alter_stream(&realm, "s", spec(2, Retention::default()), 0).await.unwrap();
    let mut reader = begin(&broker, Some("workers"), Start::Earliest).await;
    take(&mut reader, 1).await;
    assert!(reader.answered(4));
    reader.places.as_mut().unwrap().commit().await;
    broker.tidy_streams(true).await;
    assert_eq!(generations().await, 2, "it is kept for ever");
}
