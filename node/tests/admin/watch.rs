//! What happens at a node is seen as it happens; who reads too slowly is told what it missed.

use weir_admin::client::{Client, Target};
use weir_admin::proto::{
    EventKind, SessionsKickRequest, WatchEventsRequest, WatchEventsResponse, WatchStatsRequest,
};
use weir_admin::tonic::{Code, Request};
use weir_bench::client::Message;
use weir_model::Qos;
use weir_testkit::{Cluster, PATIENCE, RawMqtt, Redis, eventually};

use crate::scene::{PROGRAM, admin, clean, connect, ended, node, refusal, subscribe, target};

async fn next(events: &mut weir_admin::tonic::Streaming<WatchEventsResponse>) -> WatchEventsResponse {
    let event = tokio::time::timeout(PATIENCE, events.message()).await.expect("in time");
    event.expect("the stream goes on").expect("an event")
}

#[tokio::test]
async fn clients_are_seen_to_come_go_and_be_kicked() {
    let node = node().start();
    let admin = admin(&node).await;
    let request = WatchEventsRequest { client_id_prefix: "seen".to_owned(), ..Default::default() };
    let mut events = admin.watch().events(request).await.expect("watching").into_inner();
    let _other = connect(&node, &clean("other")).await;
    let mut client = connect(&node, &clean("seen/1")).await;
    let event = next(&mut events).await;
    assert_eq!((event.kind(), event.client_id.as_str()), (EventKind::Connected, "seen/1"));
    let kick = SessionsKickRequest {
        client_id: "seen/1".to_owned(),
        reason: "why".to_owned(),
        ..Default::default()
    };
    admin.sessions().kick(kick).await.expect("kicked");
    assert_eq!(ended(&mut client).await, 0x98);
    let event = next(&mut events).await;
    assert_eq!((event.kind(), event.reason.as_str()), (EventKind::Kicked, "why"));
    assert_eq!(next(&mut events).await.kind(), EventKind::Disconnected);
}

#[tokio::test]
async fn losses_are_told_by_reason() {
    let node = node().set("broker.outbox_bytes_max", 4096).start();
    let kinds = vec![EventKind::Dropped.into()];
    let events = admin(&node).await.watch().events(WatchEventsRequest { kinds, ..Default::default() }).await;
    let mut events = events.expect("watching").into_inner();
    let mut slow = RawMqtt::connect(node.address("mqtt"));
    slow.send(b"\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05sloth");
    slow.frame();
    slow.send(b"\x82\x06\x00\x01\x00\x01a\x00");
    slow.frame();
    let mut publisher = connect(&node, &clean("p")).await;
    let flood = tokio::spawn(async move {
        let payload = vec![b'x'; 2000];
        loop {
            let message = Message::new("a", payload.clone(), Qos::AtMostOnce);
            if publisher.publish(&message).await.is_err() {
                return;
            }
        }
    });
    let event = next(&mut events).await;
    flood.abort();
    assert_eq!((event.kind(), event.client_id.as_str()), (EventKind::Dropped, "sloth"));
    assert!(event.count > 0 && !event.reason.is_empty(), "{event:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_too_slow_is_told_how_many_it_missed() {
    let node = node().set("gateway.flapping_connects_max", 0).start();
    let mut events = admin(&node)
        .await
        .watch()
        .events(WatchEventsRequest::default())
        .await
        .expect("watching")
        .into_inner();
    // Client ids of 60,000 bytes fill the windows of HTTP/2 at once.
    let address = node.address("mqtt");
    let coming = tokio::task::spawn_blocking(move || {
        for number in 0..1500_u32 {
            let id = format!("{number:0>60000}");
            let mut packet = vec![0x10];
            let mut rest = 12 + id.len();
            while rest > 0 {
                packet.push((rest % 128) as u8 | if rest > 127 { 0x80 } else { 0 });
                rest /= 128;
            }
            packet.extend(b"\x00\x04MQTT\x04\x02\x00\x00");
            packet.extend((id.len() as u16).to_be_bytes());
            packet.extend(id.as_bytes());
            let mut client = RawMqtt::connect(address);
            client.send(&packet);
            client.frame();
        }
    });
    coming.await.expect("all came");
    let mut missed = 0;
    let mut seen = 0;
    while missed == 0 {
        let event = next(&mut events).await;
        match event.kind() {
            EventKind::Missed => missed = event.count,
            _ => seen += 1,
        }
    }
    assert!(missed > 0 && seen > 0 && seen < 3000, "{missed} {seen}");
    let counted = || node.metrics().value("weir_admin_events_missed_total");
    eventually("the count", || (counted() >= missed as f64).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_reader_its_deadline_or_its_node() {
    let mut node = node().start();
    let admin = admin(&node).await;
    let watchers = || node.metrics().value("weir_admin_watchers");
    let events = admin.watch().events(WatchEventsRequest::default()).await.expect("watching");
    eventually("a watcher", || (watchers() == 1.0).then_some(()));
    drop(events);
    eventually("the end of what nobody reads", || (watchers() == 0.0).then_some(()));

    let mut request = Request::new(WatchEventsRequest::default());
    request.set_timeout(std::time::Duration::from_millis(300));
    let endless = Target { calls_end: false, ..target(&node) };
    let endless = Client::connect(&endless).await.expect("connected");
    let mut events = endless.watch().events(request).await.expect("watching").into_inner();
    let end = tokio::time::timeout(PATIENCE, events.message()).await.expect("in time");
    assert_eq!(end.expect_err("late").code(), Code::DeadlineExceeded);

    let mut events =
        admin.watch().events(WatchEventsRequest::default()).await.expect("watching").into_inner();
    let ending = tokio::task::spawn_blocking(move || node.sigterm_and_wait());
    let end = tokio::time::timeout(PATIENCE, events.message()).await.expect("in time");
    assert!(!matches!(end, Ok(Some(_))), "{end:?}");
    assert!(ending.await.expect("it ends").success());
}

#[tokio::test]
async fn figures_come_one_set_an_interval_with_rates() {
    let node = node().start();
    let request = WatchStatsRequest { interval_ms: 100, ..Default::default() };
    let stats = admin(&node).await.watch().stats(request).await.expect("watching");
    let mut stats = stats.into_inner();
    let first = stats.message().await.expect("told").expect("a set");
    assert!(first.messages_in_per_second == 0.0 && first.resident_bytes > 0);
    let mut client = connect(&node, &clean("c")).await;
    subscribe(&mut client, "a").await;
    client.publish(&Message::new("a", "x", Qos::AtLeastOnce)).await.expect("published");
    let mut rate = 0.0;
    while rate == 0.0 {
        let set = stats.message().await.expect("told").expect("a set");
        rate = set.messages_in_per_second;
        assert!(set.connected <= 1);
    }
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_by_its_field() {
    let node = node().set("admin.watchers_max", 1).start();
    let admin = admin(&node).await;
    for kinds in [vec![0], vec![99]] {
        let request = WatchEventsRequest { kinds, ..Default::default() };
        assert_eq!(refusal(admin.watch().events(request).await).1.field, "kinds");
    }
    let fast = WatchStatsRequest { interval_ms: 1, ..Default::default() };
    assert_eq!(refusal(admin.watch().stats(fast).await).1.field, "interval_ms");
    let _first = admin.watch().events(WatchEventsRequest::default()).await.expect("watching");
    let (code, _) = refusal(admin.watch().events(WatchEventsRequest::default()).await);
    assert_eq!(code, Code::ResourceExhausted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_at_every_node_is_seen_from_any_one() {
    let redis = Redis::start();
    let mut cluster =
        Cluster::of(PROGRAM, &redis.url()).nodes(2).each(|_, node| node.listen("admin")).start();
    let lasting = Target { calls_end: false, ..target(cluster.node(0)) };
    let near = Client::connect(&lasting).await.expect("connected");
    let kinds = [EventKind::Connected, EventKind::Kicked, EventKind::Unheard, EventKind::MemberLeft];
    let request = WatchEventsRequest {
        kinds: kinds.map(i32::from).to_vec(),
        client_id_prefix: "seen".to_owned(),
        all_nodes: true,
    };
    let mut events = near.watch().events(request).await.expect("watching").into_inner();
    let mut client = connect(cluster.node(1), &clean("unseen")).await;
    // The other node is asked once it is linked: until then nothing of it is heard.
    let mut number = 0;
    let first = loop {
        let _client = connect(cluster.node(1), &clean(&format!("seen/{number}"))).await;
        number += 1;
        let soon = std::time::Duration::from_millis(500);
        match tokio::time::timeout(soon, events.message()).await {
            Ok(event) => break event.expect("the stream goes on").expect("an event"),
            Err(_) => assert!(number < 60, "nothing is heard"),
        }
    };
    assert_eq!((first.kind(), first.node_id.as_str()), (EventKind::Connected, "node-1"));
    let mut seen = connect(cluster.node(0), &clean("seen/here")).await;
    let kick = SessionsKickRequest { client_id: "seen/here".to_owned(), ..Default::default() };
    near.sessions().kick(kick).await.expect("kicked");
    assert_eq!(ended(&mut seen).await, 0x98);
    loop {
        let event = next(&mut events).await;
        if event.kind() == EventKind::Kicked {
            break assert_eq!((event.node_id.as_str(), event.client_id.as_str()), ("node-0", "seen/here"));
        }
    }
    client.ping().await.expect("it is still there");
    // A node that is silent is told of once, and goes on being asked.
    cluster.stop(1);
    let silent = loop {
        let event = next(&mut events).await;
        if event.kind() != EventKind::Connected {
            break event;
        }
    };
    cluster.cont(1);
    assert!([EventKind::Unheard, EventKind::MemberLeft].contains(&silent.kind()), "{silent:?}");
    assert_eq!(silent.member, "node-1");
    drop(client);
    cluster.kill9(1);
}
