//! CONNECT and CONNACK: who is it, which session, what is allowed.

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_broker::access::{Action, Credentials, Identity};
use weir_broker::publish::Publisher;
use weir_broker::session::directory::{Closing, Opened, Request};
use weir_broker::session::intake::Intake;
use weir_broker::session::window::Window;
use weir_broker::{Realm, clock};
use weir_model::topic::{is_bridge_state, is_reserved};
use weir_model::{CLIENT_ID_BYTES_MAX, Message, Reason, Topic};
use weir_net::{Stream, close_gracefully};
use weir_wire::mqtt::{self, Connack, Connect, ConnectError, ReasonCode, Version, encode};

use super::alias::Outgoing;
use super::channel::Mqtt;
use super::inbound::has_wildcard;
use super::{Closer, Shared, form, reason};
use crate::connection::Connection;

/// What is known of a client before it says anything.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub address: SocketAddr,
    /// The listener's name.
    pub listener: &'static str,
}

/// A refusal: what CONNACK says, and to which version. `None` = close without a word.
struct Refused {
    code: ReasonCode,
    version: Option<Version>,
    what: &'static str,
}

/// Takes a client in; `None` when it was refused or left.
pub async fn accept(
    shared: &Arc<Shared>,
    mut stream: Stream,
    peer: Peer,
) -> Option<(Connection<Mqtt>, Closer)> {
    let patience = Duration::from_millis(shared.config.connect_timeout_ms);
    let connect_max = shared.config.connect_bytes_max;
    let bytes = match tokio::time::timeout(patience, read_connect(&mut stream, connect_max)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(what)) => return refuse(shared, stream, Refused { what, ..Refused::SILENT }).await,
        Err(_) => return refuse(shared, stream, Refused { what: "timeout", ..Refused::SILENT }).await,
    };
    match open(shared, peer, &bytes).await {
        Ok((channel, connack, closer, rest)) => {
            let answer_max = shared.config.answer_bytes_max;
            let mut connection = Connection::new(stream, channel, rest, answer_max);
            connection.out = connack;
            counter!("weir_gateway_connections_total", "listener" => peer.listener).increment(1);
            Some((connection, closer))
        }
        Err(refused) => refuse(shared, stream, refused).await,
    }
}

impl Refused {
    const SILENT: Refused = Refused { code: ReasonCode::MalformedPacket, version: None, what: "" };
}

async fn refuse<T>(shared: &Shared, mut stream: Stream, refused: Refused) -> Option<T> {
    counter!("weir_gateway_connects_refused_total").increment(1);
    tracing::debug!(what = refused.what, code = ?refused.code, "a connection was refused");
    if let Some(version) = refused.version {
        let mut out = Vec::new();
        let mut connack = Connack::new(refused.code);
        connack.reason = Some(refused.what).filter(|what| !what.is_empty());
        encode::connack(&mut out, &connack, version);
        if stream.write_all(&out).await.is_err() || stream.flush().await.is_err() {
            return None;
        }
    }
    close_gracefully(&mut stream, shared.linger).await;
    None
}

/// Reads until the first packet is whole; what came behind it comes along. A first byte that is no
/// CONNECT, or a length beyond the limit, ends it before anything is buffered.
async fn read_connect(stream: &mut Stream, bytes_max: usize) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        let read = stream.read(&mut buffer).await.map_err(|_| "the socket failed")?;
        if read == 0 {
            return Err("closed before CONNECT");
        }
        bytes.extend_from_slice(&buffer[..read]);
        if mqtt::PacketType::of(bytes[0]) != Some(mqtt::PacketType::Connect) {
            return Err("the first packet is not CONNECT");
        }
        match mqtt::frame_len(&bytes, bytes_max) {
            Ok(Some(len)) if bytes.len() >= len => return Ok(bytes),
            Ok(_) => {}
            Err(error) => return Err(error.what),
        }
    }
}

type Accepted = (Mqtt, Vec<u8>, Closer, Vec<u8>);

async fn open(shared: &Arc<Shared>, peer: Peer, bytes: &[u8]) -> Result<Accepted, Refused> {
    let len = mqtt::frame_len(bytes, shared.config.connect_bytes_max).ok().flatten().unwrap_or(bytes.len());
    let (frame, rest) = bytes.split_at(len.min(bytes.len()));
    let connect = mqtt::decode_connect(frame).map_err(|ConnectError { error, answer }| Refused {
        code: error.code,
        version: answer,
        what: error.what,
    })?;
    let refused = |reason, what| Refused { code: reason::code(reason), version: Some(connect.version), what };
    check(&connect).map_err(|(reason, what)| refused(reason, what))?;
    let client_id: Arc<str> = match connect.client_id {
        "" => assigned_id(shared),
        given => Arc::from(given),
    };
    let credentials = Credentials {
        client_id: client_id.clone(),
        username: connect.username.map(str::to_owned),
        password: connect.password.map(<[u8]>::to_vec),
        address: Some(peer.address.ip()),
        listener: peer.listener,
    };
    let access = shared.broker.access();
    let identity = access.authenticate(&credentials).await.map_err(|reason| refused(reason, ""))?;
    let will = will(shared, &connect, &identity).map_err(|(reason, what)| refused(reason, what))?;
    let realm = shared.broker.realm_or_new(&identity.realm);
    let request = Request {
        realm: realm.clone(),
        client_id,
        user_id: identity.principal.user_id.clone(),
        clean_start: connect.clean_start,
        expiry_seconds: expiry(shared, &connect),
        will,
        keep_alive_ms: u32::from(keep_alive(shared, &connect)) * 1000,
        form: form::form_id(connect.version),
        connection: shared.broker.next_connection(),
    };
    let opened =
        shared.broker.sessions().open(request.clone()).await.map_err(|reason| refused(reason, ""))?;
    let closer = Closer::new(shared.broker.clone(), closing(&request, &opened));
    let connack = connack(shared, &connect, &request, opened.present);
    let channel = channel(shared, &connect, identity, &request, opened);
    Ok((channel, connack, closer, rest.to_vec()))
}

/// What the standard asks of a CONNECT beyond its form.
fn check(connect: &Connect<'_>) -> Result<(), (Reason, &'static str)> {
    let empty = connect.client_id.is_empty();
    if connect.client_id.len() > CLIENT_ID_BYTES_MAX {
        return Err((Reason::ClientId, "client identifier too long"));
    }
    match connect.version {
        // MQTT 3.1 knows no empty client id; 3.1.1 only with a clean session (MQTT-3.1.3-8).
        Version::V31 if empty => Err((Reason::ClientId, "client identifier empty")),
        Version::V311 if empty && !connect.clean_start => Err((Reason::ClientId, "client identifier empty")),
        Version::V5 if connect.authentication_method.is_some() => {
            Err((Reason::AuthMethod, "no such authentication method"))
        }
        _ => Ok(()),
    }
}

fn assigned_id(shared: &Shared) -> Arc<str> {
    let unique = (clock::unix().0, shared.broker.next_connection());
    format!("weir-{:x}-{:x}", unique.0, unique.1).into()
}

fn expiry(shared: &Shared, connect: &Connect<'_>) -> u32 {
    let asked = match connect.version {
        Version::V5 => connect.session_expiry_seconds.unwrap_or(0),
        _ if connect.clean_start => 0,
        _ => u32::MAX,
    };
    asked.min(shared.broker.config().session_expiry_seconds_max)
}

/// The keep-alive that holds: what was asked, or the configured longest.
fn keep_alive(shared: &Shared, connect: &Connect<'_>) -> u16 {
    match (shared.config.keep_alive_seconds_max, connect.keep_alive) {
        (0, asked) => asked,
        (max, 0) => max,
        (max, asked) => asked.min(max),
    }
}

fn will(
    shared: &Shared,
    connect: &Connect<'_>,
    identity: &Identity,
) -> Result<Option<weir_broker::store::Will>, (Reason, &'static str)> {
    let Some(will) = &connect.will else { return Ok(None) };
    let topic = Topic::new(will.topic).map_err(|_| (Reason::TopicInvalid, "will topic"))?;
    if will.properties.response_topic.is_some_and(has_wildcard) {
        return Err((Reason::Protocol, "response topic with a wildcard"));
    }
    let action = Action::Publish { topic: &topic, qos: will.qos, retain: will.retain };
    let reserved = is_reserved(&topic) && !is_bridge_state(&topic);
    if reserved || !shared.broker.access().may(&identity.principal, action) {
        return Err((Reason::NotAuthorized, "will topic"));
    }
    let message = Arc::new(Message {
        topic,
        payload: bytes::Bytes::copy_from_slice(will.payload),
        qos: will.qos,
        retain: will.retain,
        expires_at: None,
        properties: form::owned(&will.properties),
    });
    let expiry_seconds = will.properties.expiry_seconds;
    Ok(Some(weir_broker::store::Will { message, delay_seconds: will.delay_seconds, expiry_seconds }))
}

/// What the directory is owed when this connection ends without a word.
fn closing(request: &Request, opened: &Opened) -> Closing {
    Closing {
        realm: request.realm.clone(),
        session: opened.session.clone(),
        connection: request.connection,
        fence: opened.fence,
        will: request.will.is_some(),
        will_delay_seconds: request.will.as_ref().map_or(0, |will| will.delay_seconds),
        expiry_seconds: request.expiry_seconds,
        sent: opened.queue.tail,
    }
}

fn connack(shared: &Shared, connect: &Connect<'_>, request: &Request, present: bool) -> Vec<u8> {
    let broker = shared.broker.config();
    let mut connack = Connack::new(ReasonCode::Success);
    connack.session_present = present;
    if connect.version == Version::V5 {
        let asked = connect.session_expiry_seconds.unwrap_or(0);
        connack.session_expiry_seconds = (asked != request.expiry_seconds).then_some(request.expiry_seconds);
        connack.receive_maximum = NonZeroU16::new(broker.receive_max);
        connack.packet_bytes_max =
            NonZeroU32::new(u32::try_from(shared.config.packet_bytes_max).unwrap_or(u32::MAX));
        connack.assigned_client_id = connect.client_id.is_empty().then_some(&*request.client_id);
        connack.topic_alias_maximum = shared.config.topic_alias_max;
        let held = keep_alive(shared, connect);
        connack.server_keep_alive = (held != connect.keep_alive).then_some(held);
    }
    let mut out = Vec::new();
    encode::connack(&mut out, &connack, connect.version);
    out
}

fn channel(
    shared: &Arc<Shared>,
    connect: &Connect<'_>,
    identity: Identity,
    request: &Request,
    opened: Opened,
) -> Mqtt {
    let realm: Arc<Realm> = request.realm.clone();
    let stored = opened.session.stored.is_some();
    let fence = opened.fence.filter(|_| stored);
    let principal = Arc::new(identity.principal);
    let inflight_max = shared.broker.config().inflight_max;
    let receive_max = connect.receive_maximum.map_or(u16::MAX, |max| max.get());
    let frame_bytes_max = connect.packet_bytes_max.map_or(usize::MAX, |max| max.get() as usize);
    let alias_max = connect.topic_alias_maximum.min(shared.config.topic_alias_send_max);
    let rewrites = alias_max > 0 || connect.packet_bytes_max.is_some();
    Mqtt {
        publisher: Publisher::new(shared.broker.clone(), realm, opened.session, principal, fence),
        connection: request.connection,
        version: connect.version,
        bridge: connect.bridge,
        fence,
        window: Window::new(opened.queue.head.max(1), receive_max.min(inflight_max)),
        intake: Intake::resumed(opened.received),
        frame_bytes_max,
        aliases_in: None,
        aliases_out: (rewrites && connect.version == Version::V5).then(|| Box::new(Outgoing::new(alias_max))),
        // Also what was queued between opening and attaching wants reading.
        behind: stored,
        loading: None,
        owed: None,
        sent_before: opened.queue.sent,
        expiry_seconds: request.expiry_seconds,
        expiry_was_zero: request.expiry_seconds == 0,
        has_will: request.will.is_some(),
        wants_reasons: connect.request_problem_information,
        ended: None,
        config: shared.clone(),
    }
}
