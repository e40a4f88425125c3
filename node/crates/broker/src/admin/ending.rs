//! Connections and sessions that an administrator ends, at whatever node they are.

use std::sync::Arc;
use std::time::Duration;

use weir_store::Fence;

use super::{At, EventKind, Farewell};
use crate::broker::Broker;
use crate::session::Session;

/// How often a session that is to be deleted is looked at until its connection is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How long a connection may take to go; a client that is back again and again takes that long.
const GOING_MAX: Duration = Duration::from_secs(5);

/// Why a session was not shown or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum EndError {
    #[error("there is no such session")]
    Unknown,
    #[error("the session has no connection")]
    Offline,
    #[error("node {node}, which has the session or may have it, does not answer")]
    Unreachable { node: Arc<str> },
    #[error("the client comes back as fast as it is sent away")]
    Stays,
    #[error("the store did not take it: {problem}")]
    Store { problem: String },
}

impl Broker {
    /// Ends the connection of a session, wherever it is; where that is.
    ///
    /// # Errors
    /// See [`EndError`].
    pub async fn kick(
        &self,
        realm: &Arc<str>,
        client_id: &Arc<str>,
        reason: &Arc<str>,
    ) -> Result<At, EndError> {
        match self.sessions().find(realm, client_id) {
            Some(session) if session.is_online() => {
                self.kick_here(&session, reason);
                Ok(At::Here)
            }
            Some(session) if session.home().is_none() => Err(EndError::Offline),
            known => {
                let home = known.as_deref().and_then(Session::home);
                self.ask_to_kick(realm, client_id, reason, home).await
            }
        }
    }

    /// Ends a session, wherever it is: its connection, its subscriptions, its queue. Its will is published.
    ///
    /// # Errors
    /// See [`EndError`].
    pub async fn delete_session(
        &self,
        realm: &Arc<str>,
        client_id: &Arc<str>,
        reason: &Arc<str>,
    ) -> Result<(), EndError> {
        match self.sessions().find(realm, client_id) {
            Some(session) if session.is_online() || session.home().is_none() => {
                self.delete_here(realm, client_id, reason).await
            }
            known => {
                let home = known.as_deref().and_then(Session::home);
                self.ask_to_delete(realm, client_id, reason, home).await
            }
        }
    }

    pub(super) fn kick_here(&self, session: &Session, reason: &Arc<str>) {
        self.send_away(session, Farewell { why: reason.clone(), elsewhere: None });
        self.admin().events.tell(|| EventKind::Kicked {
            realm: session.key.realm.clone(),
            client_id: session.key.name.clone(),
            reason: reason.clone(),
        });
    }

    pub(super) async fn delete_here(
        &self,
        realm: &Arc<str>,
        client_id: &Arc<str>,
        reason: &Arc<str>,
    ) -> Result<(), EndError> {
        let gone = async {
            let Some(first) = self.sessions().find(realm, client_id) else { return Err(EndError::Unknown) };
            let mut session = first.clone();
            loop {
                if session.is_online() {
                    self.send_away(&session, Farewell { why: reason.clone(), elsewhere: None });
                    tokio::time::sleep(LOOK_AGAIN).await;
                } else {
                    self.end_offline(&session).await?;
                }
                match self.sessions().find(realm, client_id) {
                    // One that a client has opened anew meanwhile is another one.
                    Some(now) if Arc::ptr_eq(&now, &first) => session = now,
                    Some(now) if now.stored.is_some() && now.stored == first.stored => session = now,
                    _ => return Ok(()),
                }
            }
        };
        tokio::time::timeout(GOING_MAX, gone).await.unwrap_or(Err(EndError::Stays))?;
        self.admin().events.tell(|| EventKind::Deleted {
            realm: realm.clone(),
            client_id: client_id.clone(),
            reason: reason.clone(),
        });
        Ok(())
    }

    /// Ends a session without a connection, as if its time had come.
    async fn end_offline(&self, session: &Arc<Session>) -> Result<(), EndError> {
        let Some(generation) = session.stored else {
            // It ends with its connection, which is gone.
            tokio::time::sleep(LOOK_AGAIN).await;
            return Ok(());
        };
        if !self.store().stands() {
            return Err(EndError::Store { problem: "it is away".to_owned() });
        }
        let fence = Fence { generation, fence: session.fence() };
        self.sessions().expire(&session.key, fence).await;
        let known = self.sessions().find(&session.key.realm, &session.key.name);
        if known.is_some_and(|known| Arc::ptr_eq(&known, session) && !known.is_online()) {
            // Refused, or another node was faster: the mirror says so soon.
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}
