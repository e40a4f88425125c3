//! Share groups with members on several nodes.

use std::collections::HashMap;

use weir_broker::Config;
use weir_broker::share::Picking;
use weir_model::Qos;

use super::bed::{Bed, Setup};
use super::client::{CLEAN, Client, STAYS};
use super::source::Source;

const FILTER: &str = "$share/g/t";

async fn member(bed: &Bed, node: &str, id: &str, expiry: u32) -> Client {
    let client = Client::connect(&bed.node(node), id, expiry).await;
    client.subscribe(FILTER, Qos::AtLeastOnce).await;
    client
}

/// Takes until all members together have that many; what each has.
async fn all_take(members: &mut [Client], count: usize) -> HashMap<String, usize> {
    for _ in 0..5_000 {
        for member in members.iter_mut() {
            member.take().await;
        }
        if members.iter().map(|member| member.got.len()).sum::<usize>() >= count {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let mut payloads: Vec<_> = members.iter().flat_map(|member| member.payloads()).collect();
    payloads.sort_unstable();
    let expected: Vec<_> = (0..count).map(|number| format!("{number:03}")).collect();
    assert_eq!(payloads, expected, "each message to one member");
    members.iter().map(|member| (member.id.clone(), member.got.len())).collect()
}

#[tokio::test]
async fn each_message_goes_to_one_member_and_all_members_have_turns() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let bed = Bed::of(&["a", "b", "c"]).await;
        let mut members = Vec::new();
        for (node, id) in [("a", "a1"), ("b", "b1"), ("b", "b2"), ("b", "b3"), ("c", "c1")] {
            members.push(member(&bed, node, id, CLEAN).await);
        }
        let mut source = Source::on(&bed.node("a"), "p").await;
        for number in 0..50 {
            source.publish("t", &format!("{number:03}"), qos).await;
        }
        let shares = all_take(&mut members, 50).await;
        assert!(shares.values().all(|share| *share == 10), "{shares:?}");
        bed.is_at_rest().await;
    }
}

#[tokio::test]
async fn members_of_the_node_a_message_enters_come_first_where_so_configured() {
    let broker = Config { shared_picking: Picking::Local, ..Setup::default().broker };
    let bed = Bed::with(Setup { broker, ..Setup::default() }, &["a", "b"]).await;
    let mut members = vec![member(&bed, "a", "a1", CLEAN).await, member(&bed, "b", "b1", CLEAN).await];
    let mut source = Source::on(&bed.node("b"), "p").await;
    for number in 0..10 {
        source.publish("t", &format!("{number:03}"), Qos::AtLeastOnce).await;
    }
    let shares = all_take(&mut members, 10).await;
    assert_eq!((shares["a1"], shares["b1"]), (0, 10));
    assert_eq!(bed.node("b").sent_to(&bed.node("a")), 0);
    bed.is_at_rest().await;
}

#[tokio::test]
async fn what_a_lost_member_had_not_answered_goes_to_one_on_another_node() {
    let bed = Bed::of(&["a", "b", "c"]).await;
    let mut lost = member(&bed, "b", "lost", CLEAN).await;
    lost.answers = false;
    let mut source = Source::on(&bed.node("a"), "p").await;
    for number in 0..5 {
        source.publish("t", &format!("{number:03}"), Qos::AtLeastOnce).await;
    }
    lost.takes(5).await;
    let mut left = vec![member(&bed, "c", "left", CLEAN).await];
    lost.leave().await;
    all_take(&mut left, 5).await;
    bed.is_at_rest().await;
}

#[tokio::test]
async fn a_message_sent_to_a_node_whose_member_has_just_gone_is_picked_for_again() {
    let bed = Bed::of(&["a", "b", "c"]).await;
    let gone = member(&bed, "b", "gone", CLEAN).await;
    let mut left = vec![member(&bed, "c", "left", CLEAN).await];
    let mut source = Source::on(&bed.node("a"), "p").await;
    gone.unsubscribe(FILTER).await;
    for number in 0..6 {
        source.send("t", &format!("{number:03}"), Qos::AtLeastOnce, false).await;
    }
    all_take(&mut left, 6).await;
    bed.is_at_rest().await;
}

#[tokio::test]
async fn a_durable_group_gives_each_message_to_a_member_that_is_there() {
    let bed = Bed::of(&["a", "b", "c"]).await;
    let mut members = vec![member(&bed, "b", "b1", STAYS).await, member(&bed, "c", "c1", STAYS).await];
    let mut source = Source::on(&bed.node("a"), "p").await;
    for number in 0..10 {
        source.publish("t", &format!("{number:03}"), Qos::AtLeastOnce).await;
    }
    let shares = all_take(&mut members, 10).await;
    assert_eq!((shares["b1"], shares["c1"]), (5, 5));
    members[0].leave().await;
    for number in 10..14 {
        source.publish("t", &format!("{number:03}"), Qos::AtLeastOnce).await;
    }
    let shares = all_take(&mut members, 14).await;
    assert_eq!(shares["b1"], 5, "nothing for one who is away");
    members[1].leave().await;
    for number in 14..20 {
        source.publish("t", &format!("{number:03}"), Qos::AtLeastOnce).await;
    }
    // With nobody there the group keeps them, for whoever comes first, wherever.
    members[0] = members[0].move_to(&bed.node("a")).await;
    all_take(&mut members, 20).await;
    bed.is_at_rest().await;
}

#[tokio::test]
async fn a_clean_member_of_another_node_gets_what_a_durable_group_keeps() {
    let bed = Bed::of(&["a", "b"]).await;
    let mut away = member(&bed, "a", "away", STAYS).await;
    away.leave().await;
    let mut clean = vec![member(&bed, "b", "clean", CLEAN).await];
    let mut source = Source::on(&bed.node("a"), "p").await;
    for number in 0..10 {
        source.publish("t", &format!("{number:03}"), Qos::AtLeastOnce).await;
    }
    all_take(&mut clean, 10).await;
    bed.is_at_rest().await;
    let away = away.move_to(&bed.node("a")).await;
    let mut all = vec![away, clean.remove(0)];
    all_take(&mut all, 10).await;
}

#[tokio::test]
async fn what_a_persistent_member_leaves_behind_goes_to_a_clean_one_of_another_node() {
    let bed = Bed::of(&["a", "b"]).await;
    let mut stays = member(&bed, "a", "stays", STAYS).await;
    stays.answers = false;
    let mut source = Source::on(&bed.node("b"), "p").await;
    for number in 0..5 {
        source.publish("t", &format!("{number:03}"), Qos::AtLeastOnce).await;
    }
    stays.takes(5).await;
    let mut clean = vec![member(&bed, "b", "clean", CLEAN).await];
    stays.leave().await;
    all_take(&mut clean, 5).await;
    bed.is_at_rest().await;
}
