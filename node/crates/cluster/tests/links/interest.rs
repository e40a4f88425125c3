//! Interest over links: full sets, changes, and what heals them.

use std::sync::Arc;

use weir_cluster::link::Config;
use weir_model::Filter;

use crate::testbed::{Authority, REALM, introduce, node_id, pair, until};

fn filter(text: &str) -> Filter {
    Filter::new(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_filters_are_known_to_a_peer_that_joins_while_they_change() {
    let authority = Authority::new();
    let (a, b) = (authority.node("a"), authority.node("b"));
    let (realm, interest) = (Arc::<str>::from(REALM), a.links.interest().clone());
    for n in 0..100_000 {
        interest.add(&realm, &filter(&format!("devices/{n}/+")));
    }
    let changing = tokio::task::spawn_blocking({
        let (realm, interest) = (realm.clone(), interest.clone());
        move || {
            for n in 0..20_000 {
                interest.remove(&realm, &filter(&format!("devices/{}/+", n * 3)));
                interest.add(&realm, &filter(&format!("late/{n}")));
            }
        }
    });
    introduce(&[&a, &b]).await;
    changing.await.unwrap();
    until("b knows all", || b.inbox.wanted_by("a") == 100_000 && b.inbox.wants("a", "late/19999") == 1).await;
    assert_eq!(b.inbox.wants("a", "devices/3/+"), 0);
    assert_eq!(b.inbox.wants("a", "devices/4/+"), 1);
    assert_eq!(a.links.interest().digest().filters, 100_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_wanted_until_its_last_subscriber_goes() {
    let (a, b) = pair(Config::default()).await;
    let (realm, interest) = (Arc::<str>::from(REALM), a.links.interest());
    let (plain, shared) = (filter("x/#"), filter("$share/g/jobs"));
    for _ in 0..3 {
        interest.add(&realm, &plain);
        interest.add(&realm, &shared);
    }
    until("both are known", || b.inbox.wants("a", "$share/g/jobs") == 3).await;
    assert_eq!(b.inbox.wants("a", "x/#"), 1);
    interest.remove(&realm, &shared);
    interest.remove(&realm, &plain);
    until("one member less", || b.inbox.wants("a", "$share/g/jobs") == 2).await;
    assert_eq!(b.inbox.wants("a", "x/#"), 1);
    interest.remove(&realm, &plain);
    interest.remove(&realm, &plain);
    until("nobody wants it", || b.inbox.wants("a", "x/#") == 0).await;
    interest.remove(&realm, &plain);
    assert_eq!(interest.digest().filters, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_whose_connection_was_cut_goes_on_with_the_changes() {
    let (a, b) = pair(Config::default()).await;
    let (realm, interest) = (Arc::<str>::from(REALM), a.links.interest());
    interest.add(&realm, &filter("first"));
    until("the first is known", || b.inbox.wants("a", "first") == 1).await;
    let sets = b.inbox.full_sets_of("a");
    a.link_to(&b).cut();
    interest.add(&realm, &filter("second"));
    until("the second is known", || b.inbox.wants("a", "second") == 1).await;
    assert_eq!(b.inbox.full_sets_of("a"), sets);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_missed_more_than_is_remembered_gets_all_anew() {
    let (a, b) = pair(Config { interest_changes_max: 10, ..Config::default() }).await;
    let (realm, interest) = (Arc::<str>::from(REALM), a.links.interest());
    interest.add(&realm, &filter("stays"));
    interest.add(&realm, &filter("goes"));
    until("both are known", || b.inbox.wanted_by("a") == 2).await;
    // All at once, so that more changes than are remembered come between two looks of the link.
    for n in 0..1000 {
        interest.add(&realm, &filter(&format!("new/{n}")));
    }
    interest.remove(&realm, &filter("goes"));
    until("all is known", || b.inbox.wanted_by("a") == 1001).await;
    assert_eq!((b.inbox.wants("a", "goes"), b.inbox.wants("a", "stays")), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_lost_is_noticed_by_the_digest_and_healed() {
    let (a, b) = pair(Config { digest_interval_ms: 50, ..Config::default() }).await;
    let (realm, interest) = (Arc::<str>::from(REALM), a.links.interest());
    for n in 0..1000 {
        interest.add(&realm, &filter(&format!("t/{n}")));
    }
    until("all is known", || b.inbox.wanted_by("a") == 1000).await;
    let sets = b.inbox.full_sets_of("a");
    b.inbox.lose_a_filter_of("a");
    until("all is known again", || b.inbox.wanted_by("a") == 1000).await;
    assert!(b.inbox.full_sets_of("a") > sets);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_interest_of_a_peer_that_is_dead_ends_with_its_link() {
    let authority = Authority::new();
    let (a, b) = (authority.node("a"), authority.node("b"));
    introduce(&[&a, &b]).await;
    a.links.interest().add(&REALM.into(), &filter("t"));
    until("it is known", || b.inbox.wants("a", "t") == 1).await;
    let slot = b.link_to(&a).slot();
    b.links.update(&[]);
    until("it is gone", || *b.inbox.gone.lock() == [(node_id("a").to_string(), 1)]).await;
    assert_eq!(b.inbox.wanted_by("a"), 0);
    let peer = weir_cluster::LinkPeer { incarnation: 2, ..a.as_peer() };
    until("the slot is free again", || {
        b.links.update(&[]);
        b.links.update(std::slice::from_ref(&peer));
        b.links.get(slot).is_some_and(|link| link.incarnation() == 2)
    })
    .await;
}
