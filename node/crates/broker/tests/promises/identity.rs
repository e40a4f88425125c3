//! What a session rests on may be gone before it is open.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use weir_access::{Anonymous, Parts, RefusedSubscribe};
use weir_broker::ledger::Loss;
use weir_broker::outbox::Bell;
use weir_broker::publish::{Answering, Verdict};
use weir_broker::session::directory::Opened;
use weir_model::{Qos, Reason};

use super::bench::{Bench, publish};

/// From now on nobody is let in without credentials.
fn close(bench: &Bench) {
    bench.broker.access().replace(Parts { anonymous: Anonymous::Never, ..everything() });
}

#[tokio::test]
async fn what_is_revoked_while_it_is_proved_opens_no_session() {
    let bench = Bench::start().await;
    let proved = bench.request("c", 60);
    close(&bench);
    let opened = bench.broker.sessions().open(proved).await;
    assert_eq!(opened.map(|_| ()), Err(Reason::NotAuthorized));
    assert_eq!(bench.broker.sessions().count(), (0, 0));
}

async fn hears_a_kick(opened: &Opened) {
    let heard = async {
        while !opened.session.outbox.heard(Bell::Kick) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), heard).await.expect("a kick");
}

#[tokio::test]
async fn what_is_revoked_while_it_is_proved_anew_ends_the_connection() {
    let bench = Bench::start().await;
    let opened = bench.connect("c", 60).await;
    close(&bench);
    // All that were there have been judged; from now on nobody looks again by itself.
    hears_a_kick(&opened).await;
    opened.session.set_identity(Arc::clone(&bench.request("c", 60).identity));
    bench.broker.sessions().renewed(&opened.session);
    hears_a_kick(&opened).await;
}

/// Everybody may do everything.
fn everything() -> Parts {
    Parts {
        authenticators: Vec::new(),
        policy: weir_access::policy::load("open", Path::new("")).unwrap().policy,
        anonymous: Anonymous::Anywhere,
        refused_subscribe: RefusedSubscribe::Answer,
    }
}

/// From now on nobody may have anything.
fn silence(bench: &Bench) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.toml"), "[[rule]]\nallow = [\"publish\"]\nfilters = [\"#\"]\n")
        .unwrap();
    let policy = weir_access::policy::load("p.toml", dir.path()).unwrap().policy;
    bench.broker.access().replace(Parts { policy, ..everything() });
}

#[tokio::test]
async fn what_was_gathered_before_a_right_was_lost_is_not_given_out_after() {
    let bench = Bench::start().await;
    let subscriber = bench.connect("s", 0).await;
    bench.subscribe(&subscriber, "t", Qos::AtLeastOnce).await;
    let mut publisher = bench.publisher("p").await;
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let before = bench.broker.ledger().dropped(Loss::Denied);
        bench.broker.access().replace(everything());
        let verdict = publisher.publish(publish(b"1", qos, false), Answering::Nothing);
        assert_eq!(verdict, Verdict::Accepted { matched: true });
        silence(&bench);
        publisher.push();
        assert_eq!(bench.broker.ledger().dropped(Loss::Denied), before + 1);
    }
    assert!(bench.frames(&subscriber).is_empty() && bench.copies(&subscriber).is_empty());
}

#[tokio::test]
async fn what_waits_for_a_connection_that_has_lost_its_right_is_dropped_and_counted() {
    let bench = Bench::start().await;
    let subscriber = bench.connect("s", 0).await;
    bench.subscribe(&subscriber, "t", Qos::AtMostOnce).await;
    let mut publisher = bench.publisher("p").await;
    publisher.publish(publish(b"1", Qos::AtMostOnce, false), Answering::Nothing);
    publisher.push();
    silence(&bench);
    let denied = async {
        while bench.broker.ledger().dropped(Loss::Denied) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), denied).await.expect("it is dropped");
    assert!(bench.frames(&subscriber).is_empty());
    assert!(!subscriber.session.outbox.heard(Bell::Kick));
}
