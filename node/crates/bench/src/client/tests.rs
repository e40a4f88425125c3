//! The client against a server that plays a script.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;
use weir_model::Qos;
use weir_wire::mqtt::{
    Ack, Connack, Disconnect, List, Packet, Publish, ReasonCode, Suback, SubscriptionIds, Version, decode,
    encode, frame_len,
};

use super::*;

/// The server's side of one connection: it expects frames and answers them.
struct Script {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Script {
    /// The next frame, whole.
    async fn frame(&mut self) -> Vec<u8> {
        loop {
            let len = frame_len(&self.input, usize::MAX).expect("a client sends frames");
            if let Some(len) = len.filter(|len| *len <= self.input.len()) {
                return self.input.drain(..len).collect();
            }
            let count = self.stream.read_buf(&mut self.input).await.expect("a readable socket");
            assert!(count > 0, "the client has closed");
        }
    }

    /// Expects exactly these bytes.
    async fn expect(&mut self, bytes: &[u8]) {
        assert_eq!(self.frame().await, bytes);
    }

    async fn send(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        fill(&mut out);
        self.stream.write_all(&out).await.expect("a writable socket");
    }

    async fn publish(&mut self, publish: Publish<'_>) {
        let fill = |out: &mut Vec<u8>| {
            encode::publish(out, &publish, Version::V5);
        };
        self.send(fill).await;
    }
}

fn id(id: u16) -> NonZeroU16 {
    NonZeroU16::new(id).expect("not zero")
}

/// Connects a client to a script, which has taken the CONNECT and answers `connack`.
async fn meet(options: &Options, connack: Connack<'_>) -> (Result<Client, Error>, Script) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let url = Url::parse(&format!("mqtt://{address}")).expect("a URL");
    let serve = async {
        let (stream, _) = listener.accept().await.expect("the client");
        let mut script = Script { stream, input: Vec::new() };
        let frame = script.frame().await;
        assert!(matches!(decode(&frame, Version::V5), Ok(Packet::Connect(_))));
        script.send(|out| encode::connack(out, &connack, options.version)).await;
        script
    };
    tokio::join!(Client::connect(&url, options), serve)
}

async fn met(options: &Options) -> (Client, Script) {
    let (client, script) = meet(options, Connack::new(ReasonCode::Success)).await;
    (client.expect("accepted"), script)
}

#[tokio::test]
async fn a_refused_connection_says_by_whom_and_why() {
    let connack = Connack { reason: Some("not you"), ..Connack::new(ReasonCode::NotAuthorized) };
    let (client, _script) = meet(&Options::default(), connack).await;
    let error = client.err().expect("refused").to_string();
    assert!(error.contains("refused the connection: not authorized (0x87): not you"), "{error}");
}

#[tokio::test]
async fn a_qos_2_publish_goes_through_all_four_steps() {
    let (mut client, mut script) = met(&Options::default()).await;
    let serve = async {
        assert_eq!(script.frame().await[0], 0x34);
        script.send(|out| encode::pubrec(out, &Ack::new(id(1), ReasonCode::Success), Version::V5)).await;
        script.expect(&[0x62, 2, 0, 1]).await;
        script.send(|out| encode::pubcomp(out, &Ack::new(id(1), ReasonCode::Success), Version::V5)).await;
    };
    let message = Message::new("a", "x", Qos::ExactlyOnce);
    let (published, ()) = tokio::join!(client.publish(&message), serve);
    let ack = published.expect("published").expect("acknowledged");
    assert_eq!((ack.kind, ack.packet_id), (AckKind::Pubrec, id(1)));
}

#[tokio::test]
async fn a_refused_publish_is_an_error_with_its_reason() {
    let (mut client, mut script) = met(&Options::default()).await;
    let serve = async {
        script.frame().await;
        let ack = Ack { reason: Some("full"), ..Ack::new(id(1), ReasonCode::QuotaExceeded) };
        script.send(|out| encode::puback(out, &ack, Version::V5)).await;
    };
    let message = Message::new("a", "x", Qos::AtLeastOnce);
    let (published, ()) = tokio::join!(client.publish(&message), serve);
    let error = published.expect_err("refused").to_string();
    assert_eq!(error, "the server refused a message to a: quota exceeded (0x97): full");
}

#[tokio::test]
async fn a_message_that_comes_while_an_ack_is_awaited_is_kept_and_acknowledged() {
    let (mut client, mut script) = met(&Options::default()).await;
    let serve = async {
        script.frame().await;
        let (ids, user) = ([7, 9], [("k", "v")]);
        let mut publish = Publish::new("b", b"y");
        publish.qos = Qos::AtLeastOnce;
        publish.packet_id = Some(id(300));
        publish.subscription_ids = SubscriptionIds::of(&ids);
        publish.properties.user = List::of(&user);
        script.publish(publish).await;
        script.send(|out| encode::puback(out, &Ack::new(id(1), ReasonCode::Success), Version::V5)).await;
    };
    let message = Message::new("a", "x", Qos::AtLeastOnce);
    let (published, ()) = tokio::join!(client.publish(&message), serve);
    published.expect("published");
    let incoming = client.next().await.expect("a message");
    assert_eq!((incoming.topic.as_str(), incoming.payload.as_slice()), ("b", &b"y"[..]));
    assert_eq!(incoming.subscription_ids, [7, 9]);
    assert_eq!(incoming.properties.user, [("k".to_owned(), "v".to_owned())]);
    script.expect(&[0x40, 2, 1, 44]).await;
}

#[tokio::test]
async fn a_second_copy_of_an_unreleased_qos_2_message_is_acknowledged_and_not_delivered() {
    let (mut client, mut script) = met(&Options::default()).await;
    let twice = Publish { qos: Qos::ExactlyOnce, packet_id: Some(id(5)), ..Publish::new("a", b"once") };
    script.publish(twice).await;
    script.publish(Publish { dup: true, ..twice }).await;
    script.publish(Publish::new("a", b"last")).await;
    assert_eq!(client.next().await.expect("the first").payload, b"once");
    assert_eq!(client.next().await.expect("the last").payload, b"last");
    for _ in 0..2 {
        script.expect(&[0x50, 2, 0, 5]).await;
    }
}

#[tokio::test]
async fn with_manual_acks_nothing_is_acknowledged_before_it_is_said() {
    let (mut client, mut script) = met(&Options { manual_acks: true, ..Options::default() }).await;
    let publish = Publish { qos: Qos::AtLeastOnce, packet_id: Some(id(8)), ..Publish::new("a", b"x") };
    script.publish(publish).await;
    let incoming = client.next().await.expect("a message");
    let serve = async {
        script.expect(&[0xc0, 0]).await;
        script.send(encode::pingresp).await;
    };
    let (pinged, ()) = tokio::join!(client.ping(), serve);
    pinged.expect("the ping came first");
    client.acknowledge(&incoming).await.expect("acknowledged");
    script.expect(&[0x40, 2, 0, 8]).await;
}

#[tokio::test]
async fn a_message_is_sent_again_with_its_id_and_dup() {
    let (mut client, mut script) = met(&Options { version: Version::V311, ..Options::default() }).await;
    let message = Message::new("a", "x", Qos::AtLeastOnce);
    for (dup, first_byte) in [(false, 0x32), (true, 0x3a)] {
        client.publish_with_id(&message, id(77), dup).await.expect("written");
        script.expect(&[first_byte, 6, 0, 1, b'a', 0, 77, b'x']).await;
    }
    script.send(|out| encode::puback(out, &Ack::new(id(77), ReasonCode::Success), Version::V311)).await;
    let ack = client.acknowledged().await.expect("an answer");
    assert_eq!((ack.packet_id, ack.is_final()), (id(77), true));
}

#[tokio::test]
async fn an_alias_stands_for_the_topic_it_was_set_for() {
    let (mut client, mut script) = met(&Options { topic_alias_maximum: 4, ..Options::default() }).await;
    script.publish(Publish { topic_alias: Some(id(2)), ..Publish::new("long/topic", b"1") }).await;
    script.publish(Publish { topic_alias: Some(id(2)), ..Publish::new("", b"2") }).await;
    for _ in 0..2 {
        assert_eq!(client.next().await.expect("a message").topic, "long/topic");
    }
}

#[tokio::test]
async fn codes_of_a_subscribe_come_in_the_order_asked() {
    let (mut client, mut script) = met(&Options::default()).await;
    let serve = async {
        script.frame().await;
        let codes = [ReasonCode::GrantedQos1, ReasonCode::NotAuthorized];
        script.send(|out| encode::suback(out, &Suback::new(id(1), List::of(&codes)), Version::V5)).await;
    };
    let wanted = [Subscription::new("a", Qos::AtLeastOnce), Subscription::new("b", Qos::AtMostOnce)];
    let (codes, ()) = tokio::join!(client.subscribe(&wanted, Some(3)), serve);
    assert_eq!(codes.expect("answered"), [ReasonCode::GrantedQos1, ReasonCode::NotAuthorized]);
}

#[tokio::test]
async fn a_servers_goodbye_is_an_error_that_says_where_to_go() {
    let (mut client, mut script) = met(&Options::default()).await;
    let code = ReasonCode::UseAnotherServer;
    let goodbye = Disconnect { server_reference: Some("other:1883"), ..Disconnect::new(code) };
    script.send(|out| encode::disconnect(out, &goodbye, Version::V5)).await;
    let Err(Error::Disconnected { code, server_reference, .. }) = client.next().await else {
        panic!("the server has disconnected");
    };
    assert_eq!((code, server_reference.as_deref()), (ReasonCode::UseAnotherServer, Some("other:1883")));
}

#[tokio::test]
async fn a_server_that_answers_nothing_is_not_waited_for_for_ever() {
    let options = Options { timeout: Duration::from_millis(50), ..Options::default() };
    let (mut client, _script) = met(&options).await;
    let error = client.publish(&Message::new("a", "x", Qos::AtLeastOnce)).await.expect_err("no answer");
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn what_the_server_or_mqtt_cannot_take_is_refused_before_it_is_sent() {
    let connack = Connack { packet_bytes_max: NonZeroU32::new(20), ..Connack::new(ReasonCode::Success) };
    let (client, mut script) = meet(&Options::default(), connack).await;
    let mut client = client.expect("accepted");
    let large = client.publish(&Message::new("a", vec![0; 30], Qos::AtMostOnce)).await;
    assert!(matches!(large, Err(Error::TooLarge { bytes_max: 20, .. })));
    let long = client.publish(&Message::new("a".repeat(70_000), "", Qos::AtMostOnce)).await;
    assert!(matches!(long, Err(Error::FieldTooLong { field: "topic", .. })));
    client.publish(&Message::new("a", "x", Qos::AtMostOnce)).await.expect("small enough");
    script.expect(&[0x30, 5, 0, 1, b'a', 0, b'x']).await;
}
