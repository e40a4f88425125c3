//! What a session rests on may be gone before it is open.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use weir_access::{Anonymous, Parts, RefusedSubscribe};
use weir_broker::outbox::Bell;
use weir_broker::session::directory::Opened;
use weir_model::Reason;

use super::bench::Bench;

/// From now on nobody is let in without credentials.
fn close(bench: &Bench) {
    bench.broker.access().replace(Parts {
        authenticators: Vec::new(),
        policy: weir_access::policy::load("open", Path::new("")).unwrap().policy,
        anonymous: Anonymous::Never,
        refused_subscribe: RefusedSubscribe::Answer,
    });
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
