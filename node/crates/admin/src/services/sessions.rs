//! `Sessions`: list, show, kick, delete.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use weir_broker::admin::{At, Place, Query, SessionInfo};
use weir_model::CLIENT_ID_BYTES_MAX;

use super::{Shared, realm_name, reason};
use crate::audit;
use crate::caller::Caller;
use crate::error::Refused;
use crate::page;
use crate::proto::{
    Session, SessionsDeleteRequest, SessionsDeleteResponse, SessionsGetRequest, SessionsGetResponse,
    SessionsKickRequest, SessionsKickResponse, SessionsListRequest, SessionsListResponse, Subscription,
    sessions_server,
};

pub struct Sessions(pub Shared);

#[tonic::async_trait]
impl sessions_server::Sessions for Sessions {
    async fn list(
        &self,
        request: Request<SessionsListRequest>,
    ) -> Result<Response<SessionsListResponse>, Status> {
        let request = request.into_inner();
        let max = page::size(&self.0.config, request.page_size)?;
        let after: Option<Place> = page::behind(&request.page_token)?;
        let node = Some(request.node_id.as_str()).filter(|node| !node.is_empty());
        if let Some(node) = node
            && !self.0.machine.nodes().iter().any(|known| known.node_id == node)
        {
            return Err(Refused::not_found("node_id", "there is no such node").into());
        }
        let query = Query {
            realm: Some(request.realm).filter(|realm| !realm.is_empty()).map(Arc::from),
            client_id_prefix: request.client_id_prefix,
            user_id: request.user_id.map(|user| Some(user).filter(|user| !user.is_empty())),
            connected: request.connected,
        };
        let here = self.0.machine.name();
        let listing = self.0.broker.list_sessions(&query, after.as_ref(), max, node, here).await;
        Ok(Response::new(SessionsListResponse {
            sessions: listing.sessions.into_iter().map(|session| told(session, here)).collect(),
            next_page_token: listing.next.as_ref().map(page::token).unwrap_or_default(),
            missing_nodes: listing.missing.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn get(
        &self,
        request: Request<SessionsGetRequest>,
    ) -> Result<Response<SessionsGetResponse>, Status> {
        let request = request.into_inner();
        let (realm, client_id) = named(&request.realm, &request.client_id)?;
        let details = self.0.broker.show_session(&realm, &client_id).await.map_err(Refused::from)?;
        let queue = match details.info.persistent {
            true => self.0.broker.count_queue(&realm, &client_id).await.map_err(Refused::from)?,
            false => weir_broker::admin::Queue::default(),
        };
        let subscription = |(filter, options): (weir_model::Filter, _)| {
            subscription(&realm, &client_id, filter.as_str(), options)
        };
        Ok(Response::new(SessionsGetResponse {
            subscriptions: details.subscriptions.into_iter().map(subscription).collect(),
            session: Some(told(details.info, self.0.machine.name())),
            queued_messages: u32::try_from(queue.messages).unwrap_or(u32::MAX),
            queued_more: queue.more,
        }))
    }

    async fn kick(
        &self,
        request: Request<SessionsKickRequest>,
    ) -> Result<Response<SessionsKickResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let done = async {
            let (realm, client_id) = named(&request.realm, &request.client_id)?;
            let at = self.0.broker.kick(&realm, &client_id, &reason(&request.reason)?).await?;
            Ok(SessionsKickResponse { node_id: node(&at, self.0.machine.name()) })
        };
        let done = done.await;
        audit::changed(&caller, "sessions.kick", &request.client_id, &request.reason, done)
    }

    async fn delete(
        &self,
        request: Request<SessionsDeleteRequest>,
    ) -> Result<Response<SessionsDeleteResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let done = async {
            let (realm, client_id) = named(&request.realm, &request.client_id)?;
            self.0.broker.delete_session(&realm, &client_id, &reason(&request.reason)?).await?;
            Ok(SessionsDeleteResponse {})
        };
        let done = done.await;
        audit::changed(&caller, "sessions.delete", &request.client_id, &request.reason, done)
    }
}

/// The name of a session, if it can be one.
fn named(realm: &str, client_id: &str) -> Result<(Arc<str>, Arc<str>), Refused> {
    match client_id.len() {
        1..=CLIENT_ID_BYTES_MAX => Ok((realm_name(realm), Arc::from(client_id))),
        bytes => {
            let hint = format!("1 to {CLIENT_ID_BYTES_MAX} bytes");
            Err(Refused::field("client_id", format!("no client id has {bytes} bytes"), hint))
        }
    }
}

/// The node that has a connection; empty = none has.
fn node(at: &At, here: &str) -> String {
    match at {
        At::Nowhere => String::new(),
        At::Here => here.to_owned(),
        At::Node(name) => name.to_string(),
    }
}

fn told(info: SessionInfo, here: &str) -> Session {
    let (address, listener) = info.origin.unwrap_or_default();
    Session {
        realm: info.realm.to_string(),
        client_id: info.client_id.to_string(),
        user_id: info.user_id.map(|user| user.to_string()).unwrap_or_default(),
        connected: info.at != At::Nowhere,
        node_id: node(&info.at, here),
        persistent: info.persistent,
        subscription_count: u32::try_from(info.subscriptions).unwrap_or(u32::MAX),
        waiting_messages: info.waiting,
        address,
        listener,
        keep_alive_ms: info.keep_alive_ms,
    }
}

pub fn subscription(
    realm: &str,
    client_id: &str,
    filter: &str,
    options: weir_broker::store::SubscriptionOptions,
) -> Subscription {
    Subscription {
        realm: realm.to_owned(),
        client_id: client_id.to_owned(),
        filter: filter.to_owned(),
        qos: options.qos as u32,
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        subscription_id: options.subscription_id.unwrap_or(0),
    }
}
