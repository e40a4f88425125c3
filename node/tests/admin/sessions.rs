//! Sessions are listed page by page, shown, kicked and deleted, whatever their names are.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use weir_admin::proto::{
    SessionsDeleteRequest, SessionsGetRequest, SessionsKickRequest, SessionsListRequest,
};
use weir_admin::tonic::Code;
use weir_bench::client::{Error, Message, Options, Will};
use weir_model::Qos;
use weir_testkit::{PATIENCE, RawMqtt};

use crate::scene::{admin, clean, connect, ended, kept, node, refusal, subscribe, until};

/// CONNECT of MQTT 5 for a session that is kept, and DISCONNECT.
fn come_and_go(client_id: &str) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 5, 0, 0, 0, 5, 0x11, 0, 0, 0x0e, 0x10];
    body.extend((client_id.len() as u16).to_be_bytes());
    body.extend(client_id.as_bytes());
    let mut packet = vec![0x10, body.len() as u8];
    packet.extend(body);
    packet.extend([0xe0, 0]);
    packet
}

#[tokio::test]
async fn three_thousand_sessions_are_listed_once_each_in_order() {
    const COUNT: usize = 3000;
    let node = node().set("gateway.flapping_connects_max", 0).set("store.url", "memory").start();
    let address = node.address("mqtt");
    let making = tokio::task::spawn_blocking(move || {
        for number in 0..COUNT {
            let mut client = RawMqtt::connect(address);
            client.send(&come_and_go(&format!("c{number:04}")));
            client.frame();
        }
    });
    making.await.expect("made");
    let mut sessions = admin(&node).await.sessions();
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = SessionsListRequest { page_size: 700, page_token, ..Default::default() };
        let page = sessions.list(request).await.expect("a page").into_inner();
        assert!(page.sessions.len() <= 700);
        seen.extend(page.sessions.into_iter().map(|session| session.client_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let expected: Vec<_> = (0..COUNT).map(|number| format!("c{number:04}")).collect();
    assert_eq!(seen, expected);

    let of = |change: &dyn Fn(&mut SessionsListRequest)| {
        let mut request = SessionsListRequest::default();
        change(&mut request);
        request
    };
    let prefixed = of(&|request| request.client_id_prefix = "c012".to_owned());
    assert_eq!(sessions.list(prefixed).await.expect("a page").into_inner().sessions.len(), 10);
    let connected = of(&|request| request.connected = Some(true));
    assert!(sessions.list(connected).await.expect("a page").into_inner().sessions.is_empty());
}

#[tokio::test]
async fn pages_that_cannot_be_are_refused_by_their_field() {
    let node = node().start();
    let mut sessions = admin(&node).await.sessions();
    let large = SessionsListRequest { page_size: 10_001, ..Default::default() };
    let (code, detail) = refusal(sessions.list(large).await);
    assert_eq!((code, detail.field.as_str()), (Code::InvalidArgument, "page_size"));
    for token in ["?", "AAAA", &"A".repeat(100_000)] {
        let odd = SessionsListRequest { page_token: token.to_owned(), ..Default::default() };
        let (code, detail) = refusal(sessions.list(odd).await);
        assert_eq!((code, detail.reason.as_str()), (Code::InvalidArgument, "page_token"));
    }
    let elsewhere = SessionsListRequest { node_id: "nowhere".to_owned(), ..Default::default() };
    assert_eq!(refusal(sessions.list(elsewhere).await).1.field, "node_id");
}

#[tokio::test]
async fn a_session_is_shown_with_its_subscriptions_and_what_waits_for_it() {
    let node = node().start();
    let named = Options { username: Some("ann".to_owned()), ..kept("reader") };
    let mut reader = connect(&node, &named).await;
    subscribe(&mut reader, "news/#").await;
    subscribe(&mut reader, "$share/g/jobs/+").await;
    let mut sessions = admin(&node).await.sessions();
    let get = SessionsGetRequest { client_id: "reader".to_owned(), ..Default::default() };
    let shown = sessions.get(get.clone()).await.expect("shown").into_inner();
    let session = shown.session.expect("a session");
    assert!(session.connected && session.persistent && session.address.starts_with("127.0.0.1:"));
    assert_eq!((session.user_id.as_str(), session.listener.as_str()), ("ann", "mqtt"));
    let filters: Vec<_> = shown.subscriptions.iter().map(|one| (one.filter.as_str(), one.qos)).collect();
    assert_eq!(filters, [("$share/g/jobs/+", 1), ("news/#", 1)]);

    reader.disconnect().await.expect("a goodbye");
    let mut publisher = connect(&node, &clean("publisher")).await;
    for _ in 0..3 {
        publisher.publish(&Message::new("news/x", "n", Qos::AtLeastOnce)).await.expect("published");
    }
    let waits = until("the queue", async || {
        let shown = sessions.get(get.clone()).await.expect("shown").into_inner();
        let away = shown.session.as_ref().is_some_and(|session| !session.connected);
        (away && shown.queued_messages == 3).then_some(shown)
    });
    assert!(!waits.await.queued_more);
    let users = SessionsListRequest { user_id: Some("ann".to_owned()), ..Default::default() };
    assert_eq!(sessions.list(users).await.expect("a page").into_inner().sessions.len(), 1);
    let nobody = SessionsGetRequest { client_id: "nobody".to_owned(), ..Default::default() };
    assert_eq!(refusal(sessions.get(nobody).await).0, Code::NotFound);
}

#[tokio::test]
async fn who_is_sent_away_hears_why_if_its_packets_may_be_that_long() {
    let node = node().start();
    let mut sessions = admin(&node).await.sessions();
    let small = Options { packet_bytes_max: NonZeroU32::new(310), ..clean("small") };
    let (mut told, mut short) = (connect(&node, &clean("told")).await, connect(&node, &small).await);
    let reason = "maintenance of the east wing".to_owned();
    for name in ["told", "small"] {
        let (client_id, reason) = (name.to_owned(), reason.clone());
        let kick = SessionsKickRequest { client_id, reason, ..Default::default() };
        sessions.kick(kick).await.expect("kicked");
    }
    for (client, expected) in [(&mut told, Some(reason)), (&mut short, None)] {
        match tokio::time::timeout(PATIENCE, client.next()).await.expect("in time") {
            Err(Error::Disconnected { code, reason, .. }) => {
                assert_eq!((code.as_u8(), reason), (0x98, expected));
            }
            other => panic!("the end was expected, not {other:?}"),
        }
    }
    for reason in ["x".repeat(1025), "a\0b".to_owned()] {
        let kick = SessionsKickRequest { client_id: "told".to_owned(), reason, ..Default::default() };
        assert_eq!(refusal(sessions.kick(kick).await).1.field, "reason");
    }
}

#[tokio::test]
async fn a_kicked_session_stays_and_a_deleted_one_is_gone_with_its_will() {
    let node = node().start();
    let mut witness = connect(&node, &clean("witness")).await;
    subscribe(&mut witness, "wills/#").await;
    let will = |name: &str| Will {
        topic: format!("wills/{name}"),
        payload: b"gone".to_vec(),
        qos: Qos::AtLeastOnce,
        retain: false,
        delay_seconds: 0,
        properties: Default::default(),
    };
    let mut sessions = admin(&node).await.sessions();
    let mut client = connect(&node, &Options { will: Some(will("kicked")), ..kept("c") }).await;
    let kick = SessionsKickRequest { client_id: "c".to_owned(), ..Default::default() };
    sessions.kick(kick.clone()).await.expect("kicked");
    assert_eq!(ended(&mut client).await, 0x98);
    assert_eq!(witness.next().await.expect("a will").topic, "wills/kicked");
    let (code, _) = refusal(
        until("the end of the connection", async || {
            let again = sessions.kick(kick.clone()).await;
            again.is_err().then_some(again)
        })
        .await,
    );
    assert_eq!(code, Code::FailedPrecondition);

    let mut client = connect(&node, &Options { will: Some(will("deleted")), ..kept("c") }).await;
    assert!(client.session_present());
    subscribe(&mut client, "x").await;
    let delete = SessionsDeleteRequest { client_id: "c".to_owned(), ..Default::default() };
    sessions.delete(delete.clone()).await.expect("deleted");
    assert_eq!(ended(&mut client).await, 0x98);
    assert_eq!(witness.next().await.expect("a will").topic, "wills/deleted");
    assert_eq!(refusal(sessions.delete(delete).await).0, Code::NotFound);
    assert!(!connect(&node, &kept("c")).await.session_present());
}

#[tokio::test]
async fn names_of_any_kind_and_length_go_through() {
    let node = node().start();
    let long = "x".repeat(65_535);
    let names = ["a/b/{c}", "line\nbreak\tand \u{1F600}", "{}", "../..", "%2F?#&=", long.as_str()];
    let mut clients = Vec::new();
    for name in names {
        clients.push(connect(&node, &kept(name)).await);
    }
    let mut sessions = admin(&node).await.sessions();
    let mut seen = BTreeSet::new();
    let mut page_token = String::new();
    loop {
        let request = SessionsListRequest { page_size: 1, page_token, ..Default::default() };
        let page = sessions.list(request).await.expect("a page").into_inner();
        seen.extend(page.sessions.into_iter().map(|session| session.client_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, names.iter().map(|name| (*name).to_owned()).collect());
    for (name, client) in names.iter().zip(&mut clients) {
        let client_id = (*name).to_owned();
        let get = SessionsGetRequest { client_id: client_id.clone(), ..Default::default() };
        assert_eq!(
            sessions.get(get).await.expect("shown").into_inner().session.expect("one").client_id,
            *name
        );
        let delete = SessionsDeleteRequest { client_id: client_id.clone(), ..Default::default() };
        sessions.delete(delete).await.expect("deleted");
        assert_eq!(ended(client).await, 0x98);
        let get = SessionsGetRequest { client_id, ..Default::default() };
        assert_eq!(refusal(sessions.get(get).await).0, Code::NotFound);
    }
    for (name, code) in [("", Code::InvalidArgument), (&*"x".repeat(65_536), Code::InvalidArgument)] {
        let get = SessionsGetRequest { client_id: name.to_owned(), ..Default::default() };
        assert_eq!(refusal(sessions.get(get).await).0, code);
    }
}
