//! Publishers wait for a link, and go on.

use std::future::poll_fn;
use std::task::Poll;

use weir_cluster::Link;
use weir_cluster::link::Config;
use weir_model::Qos;

use crate::testbed::{hash, pair, record, until};

/// Waits as a publisher does, for far less than a test may take.
async fn is_low(link: &Link) -> bool {
    let low = poll_fn(|cx| if link.wait_until_low(cx.waker()) { Poll::Pending } else { Poll::Ready(()) });
    tokio::time::timeout(std::time::Duration::from_secs(30), low).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_link_goes_on_when_the_peer_takes_again() {
    let config = Config { frames_bytes_high: 10_000, held_bytes_max: 20_000, ..Config::default() };
    let (a, b) = pair(config).await;
    let link = a.link_to(&b);
    b.inbox.hold(true);
    // More than the streams of the connection hold.
    while !link.presses(hash("t")) {
        link.push_frames(hash("t"), &record("t", 0, 30_000, Qos::AtMostOnce), 1);
        tokio::task::yield_now().await;
    }
    while !link.presses_sure(hash("u")) {
        link.push_sure(hash("u"), &record("u", 0, 1000, Qos::AtLeastOnce), 1).unwrap();
    }
    b.inbox.hold(false);
    assert!(is_low(&link).await);
    assert!(!link.presses(hash("t")) && !link.presses_sure(hash("u")));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_qos0_goes_on_when_the_connection_ends() {
    let config = Config { frames_bytes_high: 10_000, ..Config::default() };
    let (a, b) = pair(config).await;
    let link = a.link_to(&b);
    b.inbox.hold(true);
    while !link.presses(hash("t")) {
        link.push_frames(hash("t"), &record("t", 0, 30_000, Qos::AtMostOnce), 1);
        tokio::task::yield_now().await;
    }
    b.endpoint.close(weir_net::peer::code::DONE, "gone");
    until("the connection has ended", || !link.is_up()).await;
    assert!(is_low(&link).await);
    b.inbox.hold(false);
}
