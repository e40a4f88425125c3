//! Who a client is: at once by what CONNECT shows, or step by step (enhanced authentication,
//! MQTT-4.12), at its beginning and again while it is connected.

use std::sync::Arc;

use metrics::counter;
use tokio::io::AsyncWriteExt;
use weir_broker::access::{Access, Credentials, Exchange, Identity, Step};
use weir_broker::session::owner;
use weir_broker::store::SessionOp;
use weir_model::Reason;
use weir_net::Stream;
use weir_wire::mqtt::{self, Auth, Connect, Packet, ReasonCode, Version, encode};

use super::audit::clip;
use super::channel::Mqtt;
use super::handshake::{Peer, read_frame};
use crate::connection::{Channel, Flow, Work};

/// Steps of one exchange; no method needs as many.
const STEPS_MAX: usize = 8;

/// Why somebody is not who it says, or is not let in.
pub type Refusal = (Reason, &'static str);

/// Somebody who is let in.
pub struct Proved {
    pub identity: Identity,
    /// The last word of an exchange, for CONNACK.
    pub data: Option<Vec<u8>>,
}

/// The authentication method a connection was opened with, and a re-authentication in progress.
pub struct Method {
    name: Box<str>,
    credentials: Credentials,
    exchange: Option<Box<dyn Exchange>>,
}

/// What a step of a re-authentication came to.
struct Renewal {
    exchange: Box<dyn Exchange>,
    step: Result<Step, Reason>,
}

/// What a client showed.
pub fn credentials(client_id: Arc<str>, connect: &Connect<'_>, peer: &Peer) -> Credentials {
    Credentials {
        client_id,
        username: connect.username.map(str::to_owned),
        password: connect.password.map(<[u8]>::to_vec),
        address: Some(peer.address.ip()),
        listener: peer.listener,
        local: peer.local,
        certificate: peer.certificate.clone(),
    }
}

/// Finds out who a client is. `rest`: bytes that came behind CONNECT, where its AUTH packets begin.
pub async fn prove(
    access: &Access,
    stream: &mut Stream,
    rest: &mut Vec<u8>,
    method: Option<(&str, &[u8])>,
    credentials: &Credentials,
    packet_bytes_max: usize,
) -> Result<Proved, Refusal> {
    let Some((method, first)) = method else {
        let identity = access.authenticate(credentials).await.map_err(|reason| (reason, ""))?;
        return Ok(Proved { identity, data: None });
    };
    let exchange = access.exchange(method, credentials);
    let mut exchange = exchange.ok_or((Reason::AuthMethod, "no such authentication method"))?;
    let mut data = first.to_vec();
    for _ in 0..STEPS_MAX {
        match exchange.step(&data).await.map_err(|reason| (reason, ""))? {
            Step::Done { identity, data } => {
                let identity = access.admit(identity).map_err(|reason| (reason, ""))?;
                return Ok(Proved { identity, data: Some(data) });
            }
            Step::Continue(challenge) => {
                let mut out = Vec::new();
                say(&mut out, ReasonCode::ContinueAuthentication, method, &challenge);
                let sent = async {
                    stream.write_all(&out).await?;
                    stream.flush().await
                };
                sent.await.map_err(|_| (Reason::Unavailable, "the socket failed"))?;
                data = hear(stream, rest, method, packet_bytes_max).await?;
            }
        }
    }
    Err((Reason::Protocol, "too many steps"))
}

/// The client's next AUTH (MQTT-4.12.0-3: nothing else may come).
async fn hear(
    stream: &mut Stream,
    rest: &mut Vec<u8>,
    method: &str,
    packet_bytes_max: usize,
) -> Result<Vec<u8>, Refusal> {
    let len = read_frame(stream, rest, mqtt::PacketType::Auth, packet_bytes_max)
        .await
        .map_err(|what| (Reason::Protocol, what))?;
    let frame: Vec<u8> = rest.drain(..len).collect();
    match mqtt::decode(&frame, Version::V5) {
        Ok(Packet::Auth(auth)) if continues(&auth, method) => Ok(auth.data.unwrap_or_default().to_vec()),
        Ok(_) => Err((Reason::Protocol, "another method, or not a continuation")),
        Err(error) => Err((Reason::Malformed, error.what)),
    }
}

fn continues(auth: &Auth<'_>, method: &str) -> bool {
    auth.code == ReasonCode::ContinueAuthentication && auth.method == Some(method)
}

fn say(out: &mut Vec<u8>, code: ReasonCode, method: &str, data: &[u8]) {
    let mut auth = Auth::new(code, method);
    auth.data = Some(data).filter(|data| !data.is_empty());
    encode::auth(out, &auth);
}

impl Method {
    /// Keeps what a re-authentication needs; `None` for a client that used no method.
    pub fn of(connect: &Connect<'_>, credentials: Credentials) -> Option<Box<Method>> {
        let name = connect.authentication_method?.into();
        Some(Box::new(Method { name, credentials, exchange: None }))
    }
}

impl Mqtt {
    /// AUTH while connected: only by the method of its CONNECT (MQTT-4.12.1-1).
    pub fn reauthenticate(&mut self, auth: &Auth<'_>, out: &mut Vec<u8>) -> Flow {
        let access = self.publisher.broker.access().clone();
        let Some(method) = &mut self.method else {
            return self.end(Reason::Protocol, "AUTH without an authentication method", out);
        };
        if auth.method != Some(&*method.name) {
            return self.end(Reason::Protocol, "another authentication method", out);
        }
        let exchange = match auth.code {
            ReasonCode::Reauthenticate => access.exchange(&method.name, &method.credentials),
            ReasonCode::ContinueAuthentication => method.exchange.take(),
            _ => None,
        };
        let Some(mut exchange) = exchange else {
            return self.end(Reason::Protocol, "no re-authentication in progress", out);
        };
        let data = auth.data.unwrap_or_default().to_vec();
        Flow::Work(Box::pin(async move {
            let step = exchange.step(&data).await;
            Box::new(Renewal { exchange, step }) as Work
        }))
    }

    /// Goes on after a step of a re-authentication; gives back work that is none.
    pub fn reauthenticated(&mut self, work: Work, out: &mut Vec<u8>) -> Result<Flow, Work> {
        let Renewal { exchange, step } = *work.downcast::<Renewal>()?;
        let Some(method) = &mut self.method else { return Ok(Flow::Continue) };
        match step {
            Ok(Step::Continue(challenge)) => {
                say(out, ReasonCode::ContinueAuthentication, &method.name, &challenge);
                method.exchange = Some(exchange);
                Ok(Flow::Continue)
            }
            Ok(Step::Done { identity, data }) => {
                say(out, ReasonCode::Success, &method.name, &data);
                Ok(self.renew(identity, out))
            }
            Err(reason) => {
                note_refusal(&method.credentials, reason);
                if reason != Reason::BadCredentials {
                    return Ok(self.end(reason, "", out));
                }
                if let Some(address) = method.credentials.address {
                    self.config.failures.failed(address);
                }
                // DISCONNECT has no code for bad credentials (MQTT-3.14.2.1).
                Ok(self.end(Reason::NotAuthorized, "no proof", out))
            }
        }
    }

    fn renew(&mut self, identity: Identity, out: &mut Vec<u8>) -> Flow {
        let same = identity.principal.user_id == self.publisher.principal.user_id;
        match self.publisher.broker.access().admit(identity) {
            Ok(identity) if same => {
                let session = self.session().clone();
                if let Some(fence) = self.fence {
                    self.submit(SessionOp::Renew { fence, owner: owner::kept(&identity) });
                }
                self.publisher.set_identity(&Arc::new(identity));
                self.publisher.broker.sessions().renewed(&session);
                Flow::Continue
            }
            _ => self.end(Reason::NotAuthorized, "somebody else", out),
        }
    }

    /// Why this connection is told to go: what it was let in on is over, or an administrator says so.
    pub fn told_to_go(&mut self, out: &mut Vec<u8>) -> Flow {
        let access = self.publisher.broker.access();
        let identity = self.session().identity();
        let over = identity.as_ref().is_some_and(|identity| identity.is_over(weir_broker::clock::unix()));
        let gone = identity.as_ref().is_some_and(|identity| !access.still_holds(identity));
        let farewell = self.publisher.broker.farewell(self.connection);
        match (over, gone, &farewell.elsewhere) {
            (true, ..) => self.end(Reason::NotAuthorized, "the credentials have expired", out),
            (_, true, _) => self.end(Reason::NotAuthorized, "the credentials were revoked", out),
            (.., Some(elsewhere)) => self.moved(elsewhere, &farewell.why, out),
            _ => self.end(Reason::Administrative, &farewell.why, out),
        }
    }
}

/// Notes a refusal of access, for the operator: who came from where, and why it was turned away.
pub fn note_refusal(credentials: &Credentials, reason: Reason) {
    counter!("weir_gateway_access_refused_total", "reason" => reason.as_str()).increment(1);
    tracing::info!(
        target: "weir::audit",
        client_id = clip(&credentials.client_id),
        username = credentials.username.as_deref().map(clip),
        address = credentials.address.map(|address| address.to_string()),
        listener = credentials.listener,
        %reason,
        "connection refused"
    );
}
