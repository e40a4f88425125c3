//! Groups that are moved, paused, altered and ended, and streams that change under them.

use std::time::Duration;

use weir_broker::stream::Spec;
use weir_broker::stream::group::{Ended, GroupDefinition, GroupError, MemberOptions};
use weir_model::Filter;
use weir_store::{Retention, Start};

use super::bed::*;

#[tokio::test]
async fn a_paused_group_is_given_nothing_and_may_finish_what_it_holds() {
    let broker = node().await;
    stream(&broker, 1).await;
    group(&broker, GroupDefinition::default()).await;
    publish(&broker, 1, 0..2).await;
    let mut member = join(&broker).await;
    let held = take(&mut member, 2).await;
    broker.pause_group(&realm(), "s", "g", true).await.unwrap();
    publish(&broker, 1, 2..4).await;
    assert!(is_given_nothing(&mut member).await);
    assert_eq!(member.ack_sync(&receipts(&held)).await, []);
    broker.pause_group(&realm(), "s", "g", false).await.unwrap();
    assert_eq!(finish(&mut member, 2).await, [2, 3]);
    broker.shutdown().await;
}

#[tokio::test]
async fn a_group_that_is_moved_goes_on_from_there_and_its_members_stay() {
    let broker = node().await;
    stream(&broker, 3).await;
    group(&broker, GroupDefinition::default()).await;
    publish(&broker, 9, 0..30).await;
    let mut member = join(&broker).await;
    finish(&mut member, 30).await;
    broker.seek_group(&realm(), "s", "g", Start::Earliest).await.unwrap();
    let mut again = finish(&mut member, 30).await;
    again.sort_unstable();
    assert_eq!(again, (0..30).collect::<Vec<_>>());
    broker.pause_group(&realm(), "s", "g", true).await.unwrap();
    publish(&broker, 9, 30..40).await;
    broker.seek_group(&realm(), "s", "g", Start::Latest).await.unwrap();
    broker.pause_group(&realm(), "s", "g", false).await.unwrap();
    publish(&broker, 9, 40..41).await;
    assert_eq!(finish(&mut member, 1).await, [40]);
    broker.shutdown().await;
}

#[tokio::test]
async fn members_of_a_group_or_stream_that_is_deleted_hear_it_and_a_new_one_begins_anew() {
    let broker = node().await;
    stream(&broker, 1).await;
    group(&broker, GroupDefinition::default()).await;
    publish(&broker, 1, 0..3).await;
    let mut member = join(&broker).await;
    finish(&mut member, 3).await;
    broker.delete_group(&realm(), "s", "g").await.unwrap();
    assert_eq!(next(&mut member).await, Err(Ended::GroupDeleted));
    let gone = broker.join_group(&realm(), "s", "g", MemberOptions::default()).await;
    assert!(matches!(gone, Err(GroupError::NoGroup { .. })));
    group(&broker, GroupDefinition::default()).await;
    let mut member = join(&broker).await;
    assert_eq!(finish(&mut member, 3).await, [0, 1, 2]);
    broker.delete_stream(&realm(), "s").await.unwrap();
    assert_eq!(next(&mut member).await, Err(Ended::StreamDeleted));
    let gone = broker.join_group(&realm(), "s", "g", MemberOptions::default()).await;
    assert!(matches!(gone, Err(GroupError::NoStream { .. })));
    stream(&broker, 1).await;
    assert!(broker.groups(&realm(), "s").await.unwrap().is_empty(), "its groups went with it");
    broker.shutdown().await;
}

#[tokio::test]
async fn an_altered_stream_is_read_generation_by_generation() {
    let broker = node().await;
    stream(&broker, 2).await;
    group(&broker, GroupDefinition::default()).await;
    publish(&broker, 8, 0..20).await;
    let mut member = join(&broker).await;
    let held = take(&mut member, 20).await;
    let spec = Spec { filters: vec![Filter::new("t/#").unwrap()], partitions: 5, ..Spec::default() };
    let stream = broker.alter_stream(&realm(), "s", spec, 0).await.unwrap();
    let earlier = stream.definition.earlier[0].generation;
    publish(&broker, 8, 20..40).await;
    assert!(is_given_nothing(&mut member).await, "the old generation is not finished");
    assert!(!broker.groups_have_finished(&stream, earlier).await.unwrap());
    assert_eq!(member.ack_sync(&receipts(&held)).await, []);
    let mut seen = finish(&mut member, 20).await;
    seen.sort_unstable();
    assert_eq!(seen, (20..40).collect::<Vec<_>>());
    assert!(broker.groups_have_finished(&stream, earlier).await.unwrap());
    broker.shutdown().await;
}

#[tokio::test]
async fn records_let_go_before_they_were_read_are_counted_and_the_group_goes_on() {
    let broker = node().await;
    let retention = Retention { records_max: 10, ..Retention::default() };
    let spec = Spec { filters: vec![Filter::new("t/#").unwrap()], retention, ..Spec::default() };
    broker.create_stream(&realm(), "s", spec).await.unwrap();
    group(&broker, GroupDefinition::default()).await;
    publish(&broker, 1, 0..100).await;
    let mut member = join(&broker).await;
    assert_eq!(finish(&mut member, 10).await, (90..100).collect::<Vec<_>>());
    assert_eq!(info(&broker).await.lost, 90);
    broker.shutdown().await;
}

#[tokio::test]
async fn a_group_made_twice_is_one_and_made_otherwise_it_is_refused() {
    let broker = node().await;
    stream(&broker, 1).await;
    let definition = GroupDefinition { ack_wait_ms: 7000, ..GroupDefinition::default() };
    let realm = realm();
    let make = || broker.create_group(&realm, "s", "g", definition.clone());
    let (one, two) = tokio::join!(make(), make());
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    let other = broker.create_group(&realm, "s", "g", GroupDefinition::default()).await;
    assert!(matches!(other, Err(GroupError::Exists { .. })));
    let nameless = broker.create_group(&realm, "s", "a/b", GroupDefinition::default()).await;
    assert!(nameless.unwrap_err().to_string().contains("`name`"));
    let dead = GroupDefinition { dead_letter: Some("nowhere".into()), ..GroupDefinition::default() };
    let dead = broker.create_group(&realm, "s", "h", dead).await;
    assert!(dead.unwrap_err().to_string().contains("`dead_letter`"));
    broker.shutdown().await;
}

#[tokio::test]
async fn a_group_that_is_altered_treats_what_comes_next_by_its_new_rules() {
    let broker = node().await;
    stream(&broker, 1).await;
    group(&broker, GroupDefinition { backoff_ms: vec![3_600_000], ..GroupDefinition::default() }).await;
    publish(&broker, 1, 0..1).await;
    let mut member = join(&broker).await;
    let held = take(&mut member, 1).await;
    broker.alter_group(&realm(), "s", "g", GroupDefinition::default()).await.unwrap();
    member.nack(held[0].receipt, None).unwrap();
    assert_eq!(finish(&mut member, 1).await, [0], "without a backoff it comes at once");
    assert!(tokio::time::timeout(Duration::from_millis(100), member.next()).await.is_err());
    broker.shutdown().await;
}

#[tokio::test]
async fn as_many_groups_and_members_as_allowed_and_no_more() {
    let broker = node_with(weir_broker::Config { groups_max: 1, group_members_max: 2, ..config() }).await;
    stream(&broker, 1).await;
    group(&broker, GroupDefinition::default()).await;
    let other = broker.create_group(&realm(), "s", "h", GroupDefinition::default()).await;
    assert!(matches!(other, Err(GroupError::TooMany { max: 1 })));
    let (first, _second) = (join(&broker).await, join(&broker).await);
    let third = broker.join_group(&realm(), "s", "g", MemberOptions::default()).await;
    assert!(matches!(third, Err(GroupError::TooManyMembers { max: 2 })));
    first.close().await;
    join(&broker).await.close().await;
    let greedy = MemberOptions { in_flight_max: 10_001, ..MemberOptions::default() };
    let greedy = broker.join_group(&realm(), "s", "g", greedy).await;
    assert!(matches!(greedy, Err(GroupError::Member { field: "in_flight_max", .. })));
    broker.shutdown().await;
}
