//! HELLO and WELCOME: who is it, which realm, what is allowed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use ring::rand::{SecureRandom as _, SystemRandom};
use weir_broker::access::{Credentials, Identity};
use weir_broker::addressed::{self, SESSION_PREFIX};
use weir_broker::binding::middleware::Who;
use weir_broker::form::FormId;
use weir_broker::publish::Publisher;
use weir_broker::session::directory::{Closing, Opened, Request};
use weir_broker::{Compat, Realm};
use weir_model::{Principal, Reason};
use weir_net::{Stream, close_gracefully, limits};
use weir_wire::wamp::message::{Feature, Role, Roles, Welcome, WelcomeDetails};
use weir_wire::wamp::rawsocket::FRAME_HEADER_BYTES;
use weir_wire::wamp::uri::{self, Rules};
use weir_wire::wamp::{ID_MAX, Id, Message, Serialization, decode, encode};

use super::channel::{Wamp, abort};
use super::introduce::{Introduced, write};
use super::reason::{self, NO_SUCH_REALM, PROTOCOL_VIOLATION};
use super::{authenticate, form, meta};
use crate::connection::Connection;
use crate::listeners::count_refused;
use crate::mqtt::handshake::Peer;
use crate::mqtt::{Closer, Shared};
use crate::pace::Pace;

/// What is told of the software, without a version: nobody is helped by it who should be.
const AGENT: &str = "weir";

/// A refusal: what ABORT says.
pub struct Refused {
    pub error: &'static str,
    pub what: String,
}

impl Refused {
    pub fn new(error: &'static str, what: impl Into<String>) -> Refused {
        Refused { error, what: what.into() }
    }

    pub fn of(reason: Reason) -> Refused {
        Refused::new(reason::uri(reason, false), "")
    }
}

/// A stream on which a session is being made.
pub struct Opening<'a> {
    pub stream: &'a mut Stream,
    pub serialization: Serialization,
    pub rest: &'a mut Vec<u8>,
}

/// Appends a message in a frame.
pub fn framed(out: &mut Vec<u8>, message: &Message<'_>, serialization: Serialization) {
    let from = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    encode(out, message, serialization);
    let [_, a, b, c] = ((out.len() - from - FRAME_HEADER_BYTES) as u32).to_be_bytes();
    out[from + 1..from + FRAME_HEADER_BYTES].copy_from_slice(&[a, b, c]);
}

/// Takes a client in after its first message; `None` when it was refused or left.
pub async fn accept(
    shared: &Arc<Shared>,
    introduced: Introduced,
    peer: Peer,
) -> Option<(Connection<Wamp>, Closer)> {
    let Introduced { mut stream, serialization, peer_bytes_max, first, mut rest } = introduced;
    let listener = peer.listener;
    let opening = Opening { stream: &mut stream, serialization, rest: &mut rest };
    match open(shared, opening, &first, peer).await {
        Ok((mut channel, welcome, closer)) => {
            channel.peer_bytes_max = peer_bytes_max;
            meta::joined(&channel, listener).await;
            let mut connection = Connection::new(stream, channel, rest);
            connection.out = welcome;
            counter!("weir_gateway_connections_total", "listener" => listener).increment(1);
            Some((connection, closer))
        }
        Err(refused) => {
            counter!("weir_gateway_connects_refused_total").increment(1);
            tracing::debug!(error = refused.error, what = refused.what, "a session was refused");
            let mut out = Vec::new();
            framed(&mut out, &Message::Abort(abort(refused.error, &refused.what)), serialization);
            if write(&mut stream, &out).await.is_ok() {
                close_gracefully(&mut stream, shared.linger).await;
            }
            None
        }
    }
}

async fn open(
    shared: &Arc<Shared>,
    opening: Opening<'_>,
    first: &[u8],
    peer: Peer,
) -> Result<(Wamp, Vec<u8>, Closer), Refused> {
    let serialization = opening.serialization;
    let limits = shared.config.wamp.limits();
    let hello = match decode(first, serialization.format, &limits) {
        Ok(Message::Hello(hello)) => hello,
        Ok(other) => {
            let what = format!("{} before WELCOME", other.message_type());
            return Err(Refused::new(PROTOCOL_VIOLATION, what));
        }
        Err(error) => return Err(Refused::new(PROTOCOL_VIOLATION, error.to_string())),
    };
    let realm = realm(shared, &hello.realm)?;
    admit(shared, &peer)?;
    let id = session_id()?;
    let credentials = Credentials {
        client_id: format!("{SESSION_PREFIX}{id}").into(),
        username: None,
        password: None,
        address: Some(peer.address.ip()),
        listener: peer.listener,
        local: peer.local,
        certificate: peer.certificate.clone(),
    };
    let patience = Duration::from_millis(shared.config.connect_timeout_ms);
    let proof = authenticate::prove(shared, opening, &hello, id, credentials);
    let proved = tokio::time::timeout(patience, proof).await;
    let late = |_| Refused::new("wamp.error.authentication_failed", "authentication took too long");
    let (identity, method) = proved.map_err(late)??;
    let entering =
        Entering { id, method, identity, realm, serialization, form: form::form_id(serialization) };
    let (mut channel, closer) = enter(shared, entering, &peer).await?;
    let Publisher { realm, principal, .. } = &channel.publisher;
    let mut out = Vec::new();
    framed(&mut out, &Message::Welcome(welcome(id, realm, principal, method)), serialization);
    channel.rpc = super::rpc::Rpc::of(hello.details.roles.as_ref());
    Ok((channel, out, closer))
}

/// Somebody who is known by now.
pub struct Entering {
    pub id: Id,
    /// What let it in.
    pub method: &'static str,
    pub identity: Identity,
    pub realm: Arc<str>,
    pub serialization: Serialization,
    /// How events are encoded for it.
    pub form: FormId,
}

/// Opens its session.
pub async fn enter(shared: &Arc<Shared>, entering: Entering, peer: &Peer) -> Result<(Wamp, Closer), Refused> {
    let Entering { id, method, identity, realm, serialization, form } = entering;
    let identity = in_realm(shared, identity, &realm)?;
    let client_id: Arc<str> = format!("{SESSION_PREFIX}{id}").into();
    let principal = identity.principal.clone();
    let realm = shared.broker.realm_or_new(&realm);
    let who = Who {
        client_id: &client_id,
        user: principal.user_id.as_deref(),
        realm: &realm.name,
        protocol: shared.broker.form(form).protocol(),
        address: Some(peer.address.ip()),
    };
    let asked = shared.broker.on_connect(&realm, &who, None).await;
    asked.map_err(|refusal| Refused::new(reason::uri(refusal.reason, false), refusal.why.to_string()))?;
    let request = Request {
        realm: realm.clone(),
        client_id,
        identity: identity.clone(),
        clean_start: true,
        expiry_seconds: 0,
        will: None,
        keep_alive_ms: 0,
        form,
        connection: shared.broker.next_connection(),
    };
    let opened = shared.broker.sessions().open(request.clone()).await.map_err(Refused::of)?;
    let closer = Closer::new(shared.broker.clone(), closing(&request, &opened));
    opened.session.set_origin(peer.origin());
    Ok((channel(shared, (id, method), &request, opened, serialization), closer))
}

/// The realm asked for, if there is one of that name or may be.
pub fn realm(shared: &Shared, name: &str) -> Result<Arc<str>, Refused> {
    let config = &shared.config.wamp;
    // Strict, whatever other URIs may be: a realm is a name for people.
    uri::check(name, Rules { strict: false, fox: false })
        .map_err(|error| Refused::new("wamp.error.invalid_uri", format!("realm: {error}")))?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.len() > 255 || !name.chars().all(is_plain) {
        return Err(Refused::new(NO_SUCH_REALM, "a realm's name has letters, digits, `_`, `-` and `.`"));
    }
    let name: Arc<str> = name.into();
    let is_listed = config.realms.is_empty() || config.realms.iter().any(|realm| **realm == *name);
    let is_known = || shared.broker.realm(&name).is_some();
    let has_room = || config.realms_max == 0 || shared.broker.realms().len() < config.realms_max;
    if !is_listed || (config.realms.is_empty() && !is_known() && !has_room()) {
        counter!("weir_gateway_wamp_realms_refused_total").increment(1);
        return Err(Refused::new(NO_SUCH_REALM, "there is no such realm"));
    }
    Ok(name)
}

/// Whether a HELLO is looked at all: not while memory is short, nor from an address that guesses.
pub fn admit(shared: &Shared, peer: &Peer) -> Result<(), Refused> {
    if shared.broker.pressure().stops_accepting() {
        count_refused(limits::Refused::Pressure);
        return Err(Refused::of(Reason::Busy));
    }
    let failures = shared.failures.admit(peer.address.ip());
    failures.map_err(|_| Refused::new("wamp.error.authentication_failed", "too many failed authentications"))
}

/// From 1 to 2^53, not to be guessed.
pub fn session_id() -> Result<Id, Refused> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Refused::of(Reason::Internal))?;
    Id::new(u64::from_be_bytes(bytes) % ID_MAX + 1).ok_or_else(|| Refused::of(Reason::Internal))
}

/// The identity in the realm asked for, if its account or token is for that one.
fn in_realm(shared: &Shared, mut identity: Identity, realm: &Arc<str>) -> Result<Arc<Identity>, Refused> {
    if !shared.broker.access().may_enter(&identity, realm) {
        counter!("weir_gateway_wamp_sessions_refused_total", "reason" => "realm").increment(1);
        return Err(Refused::new(reason::NOT_AUTHORIZED, "these credentials are for another realm"));
    }
    identity.realm = realm.clone();
    Ok(Arc::new(identity))
}

fn closing(request: &Request, opened: &Opened) -> Closing {
    Closing {
        realm: request.realm.clone(),
        session: opened.session.clone(),
        connection: request.connection,
        fence: opened.fence,
        will: false,
        will_delay_seconds: 0,
        expiry_seconds: 0,
        sent: opened.queue.tail,
    }
}

/// How the client is called: its user, or without one its session.
pub fn authid(principal: &Principal) -> &str {
    principal.user_id.as_deref().unwrap_or(&principal.client_id)
}

/// Its first role.
pub fn authrole(principal: &Principal) -> &str {
    let role = principal.roles.first().map(|role| &**role);
    role.unwrap_or(if principal.user_id.is_some() { addressed::USER } else { addressed::ANONYMOUS })
}

fn welcome<'a>(id: Id, realm: &'a Realm, principal: &'a Principal, method: &'a str) -> Welcome<'a> {
    use Feature as F;
    let broker = Role::with(&[
        F::PublisherIdentification,
        F::PublisherExclusion,
        F::SubscriberBlackwhiteListing,
        F::PatternBasedSubscription,
        F::EventRetention,
        F::EventHistory,
        F::SubscriptionRevocation,
        F::SubscriptionMetaApi,
        F::SessionMetaApi,
        F::TestamentMetaApi,
    ]);
    let dealer = Role::with(super::rpc::FEATURES);
    let details = WelcomeDetails {
        realm: Some((&*realm.name).into()),
        authid: Some(authid(principal).into()),
        authrole: Some(authrole(principal).into()),
        authmethod: Some(method.into()),
        authprovider: Some("static".into()),
        authextra: None,
        roles: Some(Roles { broker: Some(broker), dealer: Some(dealer), ..Roles::default() }),
        agent: Some(AGENT.into()),
    };
    Welcome { session: id, details }
}

fn channel(
    shared: &Arc<Shared>,
    (id, method): (Id, &'static str),
    request: &Request,
    opened: Opened,
    serialization: Serialization,
) -> Wamp {
    let realm = request.realm.clone();
    let fox = realm.rules.compat == Compat::Fox;
    let principal = request.identity.principal.clone();
    Wamp {
        publisher: Publisher::new(shared.broker.clone(), realm, opened.session, principal, None),
        connection: request.connection,
        id,
        serialization,
        rules: Rules { strict: shared.config.wamp.strict_uris, fox },
        peer_bytes_max: (1 << 24) - 1,
        method,
        held: None,
        subscribing: false,
        replays: VecDeque::new(),
        batch: Vec::new(),
        asked: HashMap::new(),
        last_asked: 0,
        named: None,
        testaments: Default::default(),
        pending: None,
        rpc: Default::default(),
        payload_marks: 0,
        pace: Pace::of(&shared.config),
        ended: None,
        shared: shared.clone(),
    }
}
