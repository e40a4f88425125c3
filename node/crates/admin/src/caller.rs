//! Who calls, as the guard has found, for the services.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;
use tonic::Request;

use crate::error::Refused;
use crate::scope::Scopes;
use crate::standing::Proof;

/// Whoever makes a call; it is in the extensions of each request that has passed the guard.
#[derive(Debug, Clone)]
pub struct Caller {
    /// For the audit log: `token <id> (<name>)`, `certificate <subject>` or `loopback`.
    pub who: Arc<str>,
    pub from: SocketAddr,
    pub scopes: Arc<Scopes>,
    /// What it was let in by; calls that last end with it.
    pub proof: Proof,
    /// When the caller has no more use for the answer, if it said so. The guard ends what answers once; streams end
    /// themselves.
    pub deadline: Option<Instant>,
}

impl Caller {
    /// Whoever makes this call.
    ///
    /// # Errors
    /// It has not passed the guard.
    pub fn of<T>(request: &Request<T>) -> Result<Caller, Refused> {
        request.extensions().get::<Caller>().cloned().ok_or_else(Refused::no_credentials)
    }

    /// What policies call the caller: `token:<name>`, `certificate:<name>` or `loopback`.
    #[must_use]
    pub fn role(&self) -> String {
        let token =
            self.who.strip_prefix("token ").and_then(|text| text.split_once(" (")?.1.strip_suffix(')'));
        match (token, self.who.strip_prefix("certificate ")) {
            (Some(name), _) => format!("token:{name}"),
            (None, Some(name)) => format!("certificate:{name}"),
            (None, None) => self.who.to_string(),
        }
    }
}
