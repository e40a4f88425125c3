//! Who gets no link, and what breaks one.

use bytes::Bytes;
use weir_cluster::LinkPeer;
use weir_cluster::link::Config;
use weir_net::peer::{Alpn, PeerClosed, PeerConnection, code};

use crate::testbed::{Authority, Node, introduce, until};

async fn closed_with(connection: &PeerConnection) -> u64 {
    match connection.closed().await {
        PeerClosed::ByPeer { code, .. } => code,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_cluster_gets_no_link_and_the_others_do() {
    let authority = Authority::new();
    let (a, b) = (authority.node("a"), authority.node("b"));
    let stranger = authority.node_with("0-stranger", Config::default(), "another");
    stranger.links.update(&[a.as_peer(), b.as_peer()]);
    let all = [a.as_peer(), b.as_peer(), stranger.as_peer()];
    a.links.update(&all);
    b.links.update(&all);
    let linked = |node: &Node, peer: &Node| node.find_link(peer).is_some_and(|link| link.is_up());
    until("a and b are linked", || linked(&a, &b) && linked(&b, &a)).await;
    for (node, peer) in [(&a, &stranger), (&stranger, &a), (&b, &stranger), (&stranger, &b)] {
        assert!(!linked(node, peer));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_instead_of_a_hello_is_refused_and_harms_nobody() {
    let authority = Authority::new();
    let (a, b) = (authority.node("a"), authority.node("b"));
    introduce(&[&a, &b]).await;
    let stranger = authority.endpoint("x");
    for garbage in [&b"\xff\xff\xff\xff\xff"[..], b"\x03\0\0\0abc", b"\0\0\0\0"] {
        let connection = stranger.connect(b.address(), Alpn::Link).await.unwrap();
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        send.write_chunk(Bytes::from_static(garbage)).await.unwrap();
        assert_eq!(closed_with(&connection).await, u64::from(code::MALFORMED));
    }
    assert!(a.link_to(&b).is_up());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_no_member_or_an_old_incarnation_gets_no_link() {
    let authority = Authority::new();
    let (a, b) = (authority.node("a"), authority.node("b"));
    // A dials; b does not know it, and then knows a later incarnation of it.
    a.links.update(&[b.as_peer()]);
    b.links.update(&[LinkPeer { incarnation: 2, ..a.as_peer() }]);
    let later = authority.node("c");
    introduce_only(&b, &later, &a).await;
    assert!(!a.link_to(&b).is_up());
    b.links.update(&[a.as_peer()]);
    until("the right incarnation is linked", || a.link_to(&b).is_up()).await;
}

/// Links `b` and `c` while `b` keeps a wrong idea of `a`.
async fn introduce_only(b: &Node, c: &Node, a: &Node) {
    c.links.update(&[b.as_peer()]);
    b.links.update(&[c.as_peer(), LinkPeer { incarnation: 2, ..a.as_peer() }]);
    until("b and c are linked", || c.link_to(b).is_up()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stays_silent_is_sent_away() {
    let authority = Authority::new();
    let config = Config { hello_timeout_ms: 50, ..Config::default() };
    let b = authority.node_with("b", config, "test");
    let stranger = authority.endpoint("x");
    let connection = stranger.connect(b.address(), Alpn::Link).await.unwrap();
    assert_eq!(closed_with(&connection).await, u64::from(code::MALFORMED));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_end_when_they_are_stopped() {
    let authority = Authority::new();
    let (a, b) = (authority.node("a"), authority.node("b"));
    introduce(&[&a, &b]).await;
    a.links.stop().await;
    assert!(a.links.all().is_empty());
    assert_eq!(a.inbox.gone.lock().len(), 1);
    until("the other end is down", || !b.link_to(&a).is_up()).await;
}
