//! Records that no member manages.

use std::time::Duration;

use weir_broker::stream::Spec;
use weir_broker::stream::group::GroupDefinition;
use weir_broker::stream::group::redrive::Redrive;
use weir_broker::stream::reader::Reader;
use weir_store::{Page, Record, Start};

use super::bed::*;

async fn dead_letters(broker: &weir_broker::Broker) -> Vec<Record> {
    let stream = broker.stream(&realm(), "dead").unwrap();
    let mut reader = Reader::new(broker, stream, Start::Earliest);
    let batch = reader.read(Page { rows_max: 100, bytes_max: 1 << 20 }).await.unwrap();
    batch.records.into_iter().map(|(_, record)| record).collect()
}

fn property<'a>(record: &'a Record, name: &str) -> &'a str {
    let properties = record.message.properties.as_ref().expect("properties");
    let found = properties.user.iter().find(|(known, _)| &**known == name);
    found.map(|(_, value)| &**value).expect("the property")
}

fn tries(deliveries_max: u32) -> GroupDefinition {
    GroupDefinition {
        deliveries_max,
        dead_letter: Some("dead".into()),
        ack_wait_ms: 50,
        ..GroupDefinition::default()
    }
}

#[tokio::test]
async fn who_nacks_everything_fills_the_dead_letters_with_what_became_of_each_record() {
    let broker = node().await;
    stream(&broker, 1).await;
    broker.create_stream(&realm(), "dead", Spec::default()).await.unwrap();
    group(&broker, tries(3)).await;
    publish(&broker, 2, 0..4).await;
    let mut member = join(&broker).await;
    for _ in 0..3 {
        for delivered in take(&mut member, 4).await {
            member.nack(delivered.receipt, None).unwrap();
        }
    }
    until("all are finished", async || lag(&broker).await == 0).await;
    let dead = dead_letters(&broker).await;
    assert_eq!(dead.len(), 4);
    for record in &dead {
        assert_eq!(property(record, "weir-dead-deliveries"), "3");
        assert_eq!(property(record, "weir-dead-stream"), "s");
        assert_eq!(property(record, "weir-dead-reason"), "nacked");
        assert!(property(record, "weir-dead-position").parse::<weir_model::Position>().is_ok());
    }
    assert_eq!(info(&broker).await.dead_lettered, 4);
    broker.shutdown().await;
}

#[tokio::test]
async fn who_never_answers_fills_them_too_and_later_records_go_on() {
    let broker = node().await;
    stream(&broker, 1).await;
    broker.create_stream(&realm(), "dead", Spec::default()).await.unwrap();
    group(&broker, tries(2)).await;
    publish(&broker, 1, 0..1).await;
    let mut member = join(&broker).await;
    for deliveries in 1..=2 {
        assert_eq!(take(&mut member, 1).await[0].deliveries, deliveries);
    }
    until("it is a dead letter", async || dead_letters(&broker).await.len() == 1).await;
    publish(&broker, 1, 1..3).await;
    assert_eq!(finish(&mut member, 2).await, [1, 2]);
    assert_eq!(lag(&broker).await, 0);
    broker.shutdown().await;
}

#[tokio::test]
async fn a_record_is_finished_only_when_its_dead_letter_is_kept() {
    let broker = node().await;
    stream(&broker, 1).await;
    broker.create_stream(&realm(), "dead", Spec::default()).await.unwrap();
    group(&broker, tries(1)).await;
    broker.delete_stream(&realm(), "dead").await.unwrap();
    publish(&broker, 2, 0..2).await;
    let mut member = join(&broker).await;
    let held = take(&mut member, 2).await;
    member.nack(held[0].receipt, None).unwrap();
    assert_eq!(member.ack_sync(&[held[1].receipt]).await, []);
    assert!(is_given_nothing(&mut member).await);
    assert_eq!(lag(&broker).await, 1, "there is nowhere to keep it");
    broker.create_stream(&realm(), "dead", Spec::default()).await.unwrap();
    until("it is kept", async || dead_letters(&broker).await.len() == 1).await;
    until("it is finished", async || lag(&broker).await == 0).await;
    broker.shutdown().await;
}

#[tokio::test]
async fn without_dead_letters_such_records_are_finished_and_counted() {
    let broker = node().await;
    stream(&broker, 1).await;
    group(&broker, GroupDefinition { dead_letter: None, ..tries(1) }).await;
    publish(&broker, 1, 0..3).await;
    let mut member = join(&broker).await;
    for delivered in take(&mut member, 3).await {
        member.nack(delivered.receipt, Some(Duration::from_secs(9))).unwrap();
    }
    until("all are finished", async || lag(&broker).await == 0).await;
    assert_eq!(info(&broker).await.dropped, 3);
    broker.shutdown().await;
}

#[tokio::test]
async fn dead_letters_are_published_again_to_their_topics_without_what_they_say() {
    let broker = node().await;
    stream(&broker, 1).await;
    broker.create_stream(&realm(), "dead", Spec::default()).await.unwrap();
    group(&broker, tries(1)).await;
    publish(&broker, 2, 0..4).await;
    let mut member = join(&broker).await;
    for delivered in take(&mut member, 4).await {
        member.nack(delivered.receipt, None).unwrap();
    }
    until("all are dead letters", async || dead_letters(&broker).await.len() == 4).await;
    let three = Redrive { max: 3, ..Redrive::default() };
    assert_eq!(broker.redrive(&realm(), "dead", &three).await.unwrap().published, 3);
    let again = take(&mut member, 3).await;
    assert!(again.iter().all(|delivered| delivered.record.message.properties.is_none()));
    assert_eq!(member.ack(&receipts(&again)), []);
    assert_eq!(broker.redrive(&realm(), "dead", &Redrive::default()).await.unwrap().published, 1);
    let last = take(&mut member, 1).await;
    let mut all = [payloads(&again), payloads(&last)].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    assert_eq!(broker.redrive(&realm(), "dead", &Redrive::default()).await.unwrap().published, 0);
    broker.shutdown().await;
}
