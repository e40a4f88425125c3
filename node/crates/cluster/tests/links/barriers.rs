//! Barriers: whoever passed one knows what was said before it.

use std::sync::Arc;
use std::time::Duration;

use weir_cluster::Barrier;
use weir_cluster::link::Config;
use weir_model::Filter;

use crate::testbed::{Authority, REALM, introduce, node_id, pair, until};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_barrier_every_peer_knows_the_interest() {
    let authority = Authority::new();
    let (a, b, c) = (authority.node("a"), authority.node("b"), authority.node("c"));
    introduce(&[&a, &b, &c]).await;
    for n in 0..200 {
        let text = format!("t/{n}");
        b.links.interest().add(&REALM.into(), &Filter::new(&text).unwrap());
        let result = b.links.barrier(Barrier::Interest, LONG).await;
        assert!(result.all_passed() && result.passed.len() == 2, "{result:?}");
        assert_eq!((a.inbox.wants("b", &text), c.inbox.wants("b", &text)), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_barriers_at_once_all_pass() {
    let (a, b) = pair(Config::default()).await;
    let calls: Vec<_> = (0..1000)
        .map(|n| {
            let (links, inbox) = (a.links.clone(), b.inbox.clone());
            tokio::spawn(async move {
                let text = format!("t/{n}");
                links.interest().add(&REALM.into(), &Filter::new(&text).unwrap());
                let kind = if n % 2 == 0 { Barrier::Interest } else { Barrier::Mirror };
                assert!(links.barrier(kind, LONG).await.all_passed());
                assert_eq!(inbox.wants("a", &text), 1);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_waits_for_a_slow_mirror_and_names_a_silent_one() {
    let (a, b) = pair(Config::default()).await;
    b.inbox.hold_mirror(true);
    let result = a.links.barrier(Barrier::Mirror, SHORT).await;
    assert_eq!((result.passed.len(), result.silent), (0, vec![(node_id("b"), 1)]));
    assert!(a.links.barrier(Barrier::Interest, LONG).await.all_passed());
    let waiting = tokio::spawn({
        let links = a.links.clone();
        async move { links.barrier(Barrier::Mirror, LONG).await }
    });
    b.inbox.hold_mirror(false);
    assert!(waiting.await.unwrap().all_passed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_is_asked_again_on_a_new_connection_and_forgets_the_dead() {
    let (a, b) = pair(Config::default()).await;
    b.inbox.hold_mirror(true);
    let ask = |links: Arc<weir_cluster::Links>| {
        tokio::spawn(async move { links.barrier(Barrier::Mirror, LONG).await })
    };
    let cut = ask(a.links.clone());
    a.link_to(&b).cut();
    until("the link is up again", || a.link_to(&b).is_up()).await;
    b.inbox.hold_mirror(false);
    assert!(cut.await.unwrap().all_passed());

    b.inbox.hold_mirror(true);
    let dead = ask(a.links.clone());
    tokio::task::yield_now().await;
    a.links.update(&[]);
    let result = dead.await.unwrap();
    assert!(result.all_passed() && result.passed.is_empty(), "{result:?}");
    b.inbox.hold_mirror(false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_a_connection_is_silent() {
    let authority = Authority::new();
    let (a, b) = (authority.node("a"), authority.node("b"));
    a.links.update(&[b.as_peer()]);
    let result = a.links.barrier(Barrier::Interest, SHORT).await;
    assert_eq!(result.silent, [(node_id("b"), 1)]);
    assert!(b.links.barrier(Barrier::Interest, SHORT).await.all_passed());
}
