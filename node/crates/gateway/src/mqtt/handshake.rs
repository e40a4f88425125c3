//! CONNECT and CONNACK: who is it, which session, what is allowed.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_broker::access::{Credentials, Identity};
use weir_broker::binding::middleware::{Refusal, Who};
use weir_broker::publish::Publisher;
use weir_broker::session::Origin;
use weir_broker::session::directory::{Closing, Opened, Request};
use weir_broker::session::intake::Intake;
use weir_broker::session::window::Window;
use weir_broker::{Realm, Session, clock};
use weir_model::topic::{is_bridge_state, is_reserved};
use weir_model::{Message, Reason, Topic};
use weir_net::{Stream, close_gracefully, limits};
use weir_wire::mqtt::{self, Connack, Connect, ConnectError, ReasonCode, Version, encode};

use super::alias::Outgoing;
use super::authenticate::{self, Method, Proved};
use super::channel::Mqtt;
use super::inbound::{has_wildcard, is_meta_event};
use super::{Closer, Shared, audit, form, reason};
use crate::connection::Connection;
use crate::limited::Limit;
use crate::listeners::count_refused;
use crate::pace::Pace;

/// What is known of a client before it says anything.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    /// The listener's name.
    pub listener: &'static str,
    /// Whether that listener is bound to a loopback address.
    pub local: bool,
    /// The client's verified certificate (DER).
    pub certificate: Option<Arc<[u8]>>,
}

impl Peer {
    /// What its session remembers of it.
    pub fn origin(&self) -> Origin {
        let Peer { address, listener, local, .. } = *self;
        Origin { address: address.ip(), port: address.port(), listener, local }
    }
}

/// A refusal: what CONNACK says, and to which version. `None` = close without a word.
struct Refused {
    code: ReasonCode,
    version: Option<Version>,
    what: Cow<'static, str>,
}

/// Waits for the CONNECT; `None` when what came was none, or came too late. May be dropped at any time:
/// nothing knows of the client yet.
pub async fn first_packet(shared: &Shared, mut stream: Stream) -> Option<(Stream, Vec<u8>)> {
    let patience = Duration::from_millis(shared.config.connect_timeout_ms);
    let connect_max = shared.config.connect_bytes_max;
    match tokio::time::timeout(patience, read_connect(&mut stream, connect_max)).await {
        Ok(Ok(bytes)) => Some((stream, bytes)),
        Ok(Err(what)) => refuse(shared, stream, Refused { what: what.into(), ..Refused::SILENT }).await,
        Err(_) => refuse(shared, stream, Refused { what: "timeout".into(), ..Refused::SILENT }).await,
    }
}

/// Takes a client in after its first packet; `None` when it was refused or left.
pub async fn accept(
    shared: &Arc<Shared>,
    (mut stream, bytes): (Stream, Vec<u8>),
    peer: Peer,
) -> Option<(Connection<Mqtt>, Closer)> {
    let listener = peer.listener;
    match open(shared, &mut stream, peer, bytes).await {
        Ok((channel, connack, closer, rest)) => {
            let mut connection = Connection::new(stream, channel, rest);
            connection.out = connack;
            counter!("weir_gateway_connections_total", "listener" => listener).increment(1);
            Some((connection, closer))
        }
        Err(refused) => refuse(shared, stream, refused).await,
    }
}

impl Refused {
    const SILENT: Refused =
        Refused { code: ReasonCode::MalformedPacket, version: None, what: Cow::Borrowed("") };

    fn of(code: ReasonCode, version: Version, what: &'static str) -> Refused {
        Refused { code, version: Some(version), what: what.into() }
    }

    fn saying(self, why: &str) -> Refused {
        Refused { what: why.to_owned().into(), ..self }
    }
}

async fn refuse<T>(shared: &Shared, mut stream: Stream, refused: Refused) -> Option<T> {
    counter!("weir_gateway_connects_refused_total").increment(1);
    tracing::debug!(what = &*refused.what, code = ?refused.code, "a connection was refused");
    if let Some(version) = refused.version {
        let mut out = Vec::new();
        let mut connack = Connack::new(refused.code);
        connack.reason = Some(&*refused.what).filter(|what| !what.is_empty());
        encode::connack(&mut out, &connack, version);
        if stream.write_all(&out).await.is_err() || stream.flush().await.is_err() {
            return None;
        }
    }
    close_gracefully(&mut stream, shared.linger).await;
    None
}

/// Reads until the first packet is whole; what came behind it comes along.
async fn read_connect(stream: &mut Stream, bytes_max: usize) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::new();
    read_frame(stream, &mut bytes, mqtt::PacketType::Connect, bytes_max).await?;
    Ok(bytes)
}

/// Reads on until `bytes` begins with a whole packet of this type; returns its length. Another type,
/// or a length beyond the limit, ends it before anything more is buffered.
pub async fn read_frame(
    stream: &mut Stream,
    bytes: &mut Vec<u8>,
    wanted: mqtt::PacketType,
    bytes_max: usize,
) -> Result<usize, &'static str> {
    let mut buffer = [0; 2048];
    loop {
        if let Some(first) = bytes.first() {
            if mqtt::PacketType::of(*first) != Some(wanted) {
                return Err("not the packet that is due");
            }
            match mqtt::frame_len(bytes, bytes_max) {
                Ok(Some(len)) if bytes.len() >= len => return Ok(len),
                Ok(_) => {}
                Err(error) => return Err(error.what),
            }
        }
        let read = stream.read(&mut buffer).await.map_err(|_| "the socket failed")?;
        if read == 0 {
            return Err("closed too early");
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}

type Accepted = (Mqtt, Vec<u8>, Closer, Vec<u8>);

async fn open(
    shared: &Arc<Shared>,
    stream: &mut Stream,
    peer: Peer,
    mut frame: Vec<u8>,
) -> Result<Accepted, Refused> {
    let len = mqtt::frame_len(&frame, shared.config.connect_bytes_max).ok().flatten().unwrap_or(frame.len());
    let mut rest = frame.split_off(len.min(frame.len()));
    let connect = mqtt::decode_connect(&frame).map_err(|ConnectError { error, answer }| Refused {
        code: error.code,
        version: answer,
        what: error.what.into(),
    })?;
    let refused = |reason, what: &'static str| Refused::of(connack_code(reason), connect.version, what);
    check(shared, &connect).map_err(|(reason, what)| refused(reason, what))?;
    let client_id: Arc<str> = match connect.client_id {
        "" => assigned_id(shared),
        given => Arc::from(given),
    };
    admit(shared, &peer).map_err(|(code, what)| Refused::of(code, connect.version, what))?;
    let credentials = authenticate::credentials(client_id.clone(), &connect, &peer);
    let denied = |(reason, what)| {
        if reason == Reason::BadCredentials {
            shared.failures.failed(peer.address.ip());
        }
        authenticate::note_refusal(&credentials, reason);
        refused(reason, what)
    };
    let proved = prove(shared, stream, &mut rest, &connect, &credentials).await.map_err(denied)?;
    let identity = Arc::new(in_named_realm(shared, &connect, proved.identity).map_err(denied)?);
    let user = identity.principal.user_id.as_ref();
    shared.flapping.admit(&client_id, user).map_err(|reason| refused(reason, "connecting too often"))?;
    let will = will(shared, &connect, &identity).map_err(denied)?;
    let realm = shared.broker.realm_or_new(&identity.realm);
    let asked = ask_middleware(shared, &realm, &peer, &identity, will.as_ref()).await;
    asked.map_err(|refusal| denied((refusal.reason, "")).saying(&refusal.why))?;
    let request = Request {
        realm: realm.clone(),
        client_id,
        identity: identity.clone(),
        clean_start: connect.clean_start,
        expiry_seconds: expiry(shared, &connect),
        will,
        keep_alive_ms: u32::from(keep_alive(shared, &connect)) * 1000,
        form: form::form_id(connect.version),
        connection: shared.broker.next_connection(),
    };
    let before = shared.broker.sessions().find(&realm.name, &request.client_id);
    let before = before.filter(|session| session.is_online()).and_then(|session| session.origin());
    let opened = shared.broker.sessions().open(request.clone()).await.map_err(|reason| match reason {
        Reason::ClientId => denied((reason, "the session is somebody else's")),
        reason => refused(reason, ""),
    })?;
    let closer = Closer::new(shared.broker.clone(), closing(&request, &opened));
    note_origin(&opened.session, before, peer.origin());
    note_granted(shared, &connect, &request);
    let connack = connack(shared, &connect, &request, opened.present, proved.data.as_deref());
    let mut channel = channel(shared, &connect, &request, opened);
    channel.method = Method::of(&connect, credentials);
    channel.follow_again();
    Ok((channel, connack, closer, rest))
}

/// Whoever names a realm behind the `@` of its user name is in that one (fox-wamp), unless it has proved to be of another.
fn in_named_realm(
    shared: &Shared,
    connect: &Connect<'_>,
    mut identity: Identity,
) -> Result<Identity, (Reason, &'static str)> {
    let named = connect.username.filter(|_| shared.config.mqtt.realm_from_username);
    let Some((_, name)) = named.and_then(|username| username.rsplit_once('@')) else { return Ok(identity) };
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err((Reason::BadCredentials, "a realm's name has a-z, 0-9 and `_`"));
    }
    let no_such = |_| (Reason::NotAuthorized, "there is no such realm");
    let realm = crate::wamp::handshake::realm(shared, name).map_err(no_such)?;
    if !shared.broker.access().may_enter(&identity, &realm) {
        return Err((Reason::NotAuthorized, "these credentials are for another realm"));
    }
    identity.realm = realm;
    Ok(identity)
}

/// CONNACK has a code of its own for a server that is busy (MQTT-3.2.2.2).
fn connack_code(reason: Reason) -> ReasonCode {
    match reason {
        Reason::Busy => ReasonCode::ServerBusy,
        reason => reason::code(reason),
    }
}

/// Whether a CONNECT is looked at all: not while memory is short, nor from an address that guesses.
fn admit(shared: &Shared, peer: &Peer) -> Result<(), (ReasonCode, &'static str)> {
    if shared.broker.pressure().stops_accepting() {
        count_refused(limits::Refused::Pressure);
        return Err((ReasonCode::ServerBusy, "short of memory"));
    }
    let failures = shared.failures.admit(peer.address.ip());
    failures.map_err(|reason| (reason::code(reason), "too many failed authentications"))
}

/// Whether middleware lets in who has proved who it is.
async fn ask_middleware(
    shared: &Shared,
    realm: &Realm,
    peer: &Peer,
    identity: &Identity,
    will: Option<&weir_broker::store::Will>,
) -> Result<(), Refusal> {
    let who = Who {
        client_id: &identity.principal.client_id,
        user: identity.principal.user_id.as_deref(),
        realm: &realm.name,
        protocol: form::PROTOCOL,
        address: Some(peer.address.ip()),
    };
    shared.broker.on_connect(realm, &who, will.map(|will| &will.message.topic)).await
}

/// Remembers where a session's connection comes from, and says when it came from elsewhere before.
fn note_origin(session: &Session, before: Option<Origin>, now: Origin) {
    if let Some(before) = before.filter(|before| before.address != now.address) {
        audit::note_takeover(session, before.address, &now);
    }
    session.set_origin(now);
}

/// Finds out who it is; an exchange of several steps has the time of one CONNECT.
async fn prove(
    shared: &Shared,
    stream: &mut Stream,
    rest: &mut Vec<u8>,
    connect: &Connect<'_>,
    credentials: &Credentials,
) -> Result<Proved, authenticate::Refusal> {
    let method = connect.authentication_method.filter(|_| connect.version == Version::V5);
    let method = method.map(|name| (name, connect.authentication_data.unwrap_or_default()));
    let bytes_max = shared.config.connect_bytes_max;
    let proof = authenticate::prove(shared.broker.access(), stream, rest, method, credentials, bytes_max);
    let patience = Duration::from_millis(shared.config.connect_timeout_ms);
    match method {
        Some(_) => {
            let late = |_| (Reason::NotAuthorized, "authentication took too long");
            tokio::time::timeout(patience, proof).await.map_err(late)?
        }
        None => proof.await,
    }
}

/// What the standard and the configuration ask of a CONNECT beyond its form.
fn check(shared: &Shared, connect: &Connect<'_>) -> Result<(), (Reason, &'static str)> {
    let empty = connect.client_id.is_empty();
    if connect.client_id.len() > shared.config.client_id_bytes_max {
        Limit::ClientIdBytes.count();
        return Err((Reason::ClientId, "client identifier too long"));
    }
    match connect.version {
        // MQTT 3.1 knows no empty client id; 3.1.1 only with a clean session (MQTT-3.1.3-8).
        Version::V31 if empty => Err((Reason::ClientId, "client identifier empty")),
        Version::V311 if empty && !connect.clean_start => Err((Reason::ClientId, "client identifier empty")),
        _ => Ok(()),
    }
}

fn assigned_id(shared: &Shared) -> Arc<str> {
    let unique = (clock::unix().0, shared.broker.next_connection());
    format!("weir-{:x}-{:x}", unique.0, unique.1).into()
}

fn expiry(shared: &Shared, connect: &Connect<'_>) -> u32 {
    asked_expiry(connect).min(shared.broker.config().session_expiry_seconds_max)
}

/// For how many seconds a client wants its session kept; before MQTT 5 for ever, unless it wants it clean.
fn asked_expiry(connect: &Connect<'_>) -> u32 {
    match connect.version {
        Version::V5 => connect.session_expiry_seconds.unwrap_or(0),
        _ if connect.clean_start => 0,
        _ => u32::MAX,
    }
}

/// Counts what a client gets less of than it asked for.
fn note_granted(shared: &Shared, connect: &Connect<'_>, request: &Request) {
    if request.expiry_seconds < asked_expiry(connect) {
        shared.broker.limited(weir_broker::Limit::SessionExpiry);
    }
    if keep_alive(shared, connect) != connect.keep_alive {
        Limit::KeepAlive.count();
    }
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
    if !shared.broker.config().allows_depth(&topic) {
        return Err((Reason::TopicInvalid, "will topic too deep"));
    }
    if will.properties.response_topic.is_some_and(has_wildcard) {
        return Err((Reason::Protocol, "response topic with a wildcard"));
    }
    let rights = shared.broker.access().publish_rights(&identity.principal, &topic);
    let reserved = (is_reserved(&topic) && !is_bridge_state(&topic)) || is_meta_event(&topic);
    if reserved || !rights.allows(will.qos, will.retain) {
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

fn connack(
    shared: &Shared,
    connect: &Connect<'_>,
    request: &Request,
    present: bool,
    proof: Option<&[u8]>,
) -> Vec<u8> {
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
        connack.authentication_method = connect.authentication_method.filter(|_| proof.is_some());
        connack.authentication_data = proof.filter(|proof| !proof.is_empty());
        connack.server_keep_alive = (held != connect.keep_alive).then_some(held);
    }
    let mut out = Vec::new();
    encode::connack(&mut out, &connack, connect.version);
    out
}

fn channel(shared: &Arc<Shared>, connect: &Connect<'_>, request: &Request, opened: Opened) -> Mqtt {
    let realm: Arc<Realm> = request.realm.clone();
    let stored = opened.session.stored.is_some();
    let fence = opened.fence.filter(|_| stored);
    let principal = request.identity.principal.clone();
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
        window_limits: false,
        window: Window::new(opened.queue.head.max(1), receive_max.min(inflight_max)),
        intake: Intake::resumed(opened.received),
        frame_bytes_max,
        aliases_in: None,
        aliases_out: (rewrites && connect.version == Version::V5).then(|| Box::new(Outgoing::new(alias_max))),
        // Also what was queued between opening and attaching wants reading.
        behind: stored,
        loading: None,
        pace: Pace::of(&shared.config),
        owed: None,
        sent_before: opened.queue.sent,
        expiry_seconds: request.expiry_seconds,
        expiry_was_zero: request.expiry_seconds == 0,
        has_will: request.will.is_some(),
        wants_reasons: connect.request_problem_information,
        method: None,
        access_version: shared.broker.access().version(),
        ended: None,
        config: shared.clone(),
    }
}
