//! LOGIN: which realm, and who. fox-wamp asks nobody who they are; here an `authid` and a `ticket` (a password or a
//! token) may stand beside the realm, and whoever says neither is let in where the node lets in the unknown.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use weir_broker::access::{Credentials, Identity};
use weir_broker::addressed::SESSION_PREFIX;
use weir_model::Reason;
use weir_net::close_gracefully;
use weir_wire::hyper::{Reply, code};
use weir_wire::wamp::{Batching, Format, Id, Serialization};

use super::channel::Hyper;
use super::form;
use super::introduce::{Introduced, Login, refuse};
use crate::connection::Connection;
use crate::mqtt::handshake::Peer;
use crate::mqtt::{Closer, Shared};
use crate::wamp::handshake::{self, Entering, Refused};
use crate::wamp::{meta, reason};

/// What is inside, where WAMP's words are used.
pub const INSIDE: Serialization = Serialization { format: Format::MsgPack, batching: Batching::One };

/// Takes a client in after its LOGIN; `None` when it was refused or left.
pub async fn accept(
    shared: &Arc<Shared>,
    introduced: Introduced,
    peer: Peer,
) -> Option<(Connection<Hyper>, Closer)> {
    let Introduced { mut stream, login, rest } = introduced;
    match open(shared, &login, &peer).await {
        Ok((channel, closer)) => {
            meta::joined(&channel.wamp, peer.listener).await;
            let mut connection = Connection::new(stream, channel, rest);
            Reply::Ok { id: login.id, qid: None, data: None }.append(&mut connection.out);
            counter!("weir_gateway_connections_total", "listener" => peer.listener).increment(1);
            Some((connection, closer))
        }
        Err(refused) => {
            counter!("weir_gateway_connects_refused_total").increment(1);
            tracing::debug!(error = refused.error, what = refused.what, "a login was refused");
            let what = if refused.what.is_empty() { refused.error } else { &refused.what };
            if refuse(&mut stream, Some(login.id), code::NOT_AUTHORIZED, what).await.is_ok() {
                close_gracefully(&mut stream, shared.linger).await;
            }
            None
        }
    }
}

async fn open(shared: &Arc<Shared>, login: &Login, peer: &Peer) -> Result<(Hyper, Closer), Refused> {
    let realm = handshake::realm(shared, &login.realm)?;
    handshake::admit(shared, peer)?;
    let id = handshake::session_id()?;
    let patience = Duration::from_millis(shared.config.connect_timeout_ms);
    let proved = tokio::time::timeout(patience, prove(shared, login, id, peer)).await;
    let late = |_| Refused::new("wamp.error.authentication_failed", "authentication took too long");
    let identity = proved.map_err(late)??;
    let method = if login.ticket.is_some() { "ticket" } else { "anonymous" };
    let form = form::form_id();
    let entering = Entering { id, method, identity, realm, serialization: INSIDE, form };
    let (mut wamp, closer) = handshake::enter(shared, entering, peer).await?;
    // Names are fox-wamp's, whatever WAMP's own clients are told in this realm.
    wamp.rules.fox = true;
    Ok((Hyper::new(wamp), closer))
}

async fn prove(shared: &Shared, login: &Login, id: Id, peer: &Peer) -> Result<Identity, Refused> {
    let credentials = Credentials {
        client_id: format!("{SESSION_PREFIX}{id}").into(),
        username: login.authid.clone(),
        password: login.ticket.as_ref().map(|ticket| ticket.clone().into_bytes()),
        address: Some(peer.address.ip()),
        listener: peer.listener,
        local: peer.local,
        certificate: peer.certificate.clone(),
    };
    shared.broker.access().authenticate(&credentials).await.map_err(|why| {
        if let (Reason::BadCredentials, Some(address)) = (why, credentials.address) {
            shared.failures.failed(address);
        }
        counter!("weir_gateway_wamp_sessions_refused_total", "reason" => why.as_str()).increment(1);
        crate::mqtt::authenticate::note_refusal(&credentials, why);
        Refused::new(reason::uri(why, false), why.to_string())
    })
}
