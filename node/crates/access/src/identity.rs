//! Who somebody is: what a client showed, and what the authenticators made of it.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
pub use weir_model::Grant;
use weir_model::{Principal, Reason, UnixMillis};

/// What a client showed when it connected. Passwords and tokens are never logged.
#[derive(Clone, Default)]
pub struct Credentials {
    pub client_id: Arc<str>,
    pub username: Option<String>,
    pub password: Option<Vec<u8>>,
    /// Where the client is, as far as is known: behind a trusted balancer, what that one says.
    pub address: Option<IpAddr>,
    /// The listener's name (`mqtt`, `https`, ..).
    pub listener: &'static str,
    /// Whether that listener is bound to a loopback address.
    pub local: bool,
    /// The client's certificate (DER), verified by the TLS layer.
    pub certificate: Option<Arc<[u8]>>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("address", &self.address)
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Whether nothing was shown that could be checked.
    pub fn is_empty(&self) -> bool {
        self.username.is_none() && self.password.is_none() && self.certificate.is_none()
    }
}

/// Who somebody is, in which realm, until when, and what that rests on.
#[derive(Debug, Clone)]
pub struct Identity {
    pub principal: Arc<Principal>,
    pub realm: Arc<str>,
    /// When a token ends; `None` = holds as long as its grant.
    pub expires_at: Option<UnixMillis>,
    /// When that is gone ([`crate::Access::still_holds`]) the session ends.
    pub grant: Grant,
}

impl Identity {
    /// In the default realm, without an end.
    pub fn new(principal: Principal, grant: Grant) -> Identity {
        let realm = Arc::from(weir_model::DEFAULT_REALM);
        Identity { principal: Arc::new(principal), realm, expires_at: None, grant }
    }

    /// Whether it is in this realm, or bound to none.
    pub(crate) fn is_free_or_in(&self, realm: &str) -> bool {
        *self.realm == *realm || *self.realm == *weir_model::DEFAULT_REALM
    }

    /// Whether its time has passed.
    pub fn is_over(&self, now: UnixMillis) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// Finds out who a client is. Several are asked in turn.
pub trait Authenticator: Send + Sync {
    /// `None` = not mine, ask the next one. What costs CPU runs off the async threads.
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Option<Result<Identity, Reason>>>;

    /// Begins an exchange of several steps (MQTT 5 enhanced authentication, CHALLENGE and AUTHENTICATE of WAMP).
    /// `None` = not mine.
    fn exchange(&self, method: &str, credentials: &Credentials) -> Option<Box<dyn Exchange>> {
        let _ = (method, credentials);
        None
    }

    /// Whether somebody of this authenticator's kind may be in a realm that they ask for. `None` = not mine.
    fn may_enter(&self, identity: &Identity, realm: &str) -> Option<bool> {
        let _ = (identity, realm);
        None
    }

    /// Whether a grant of this authenticator's kind still stands. `None` = not mine.
    fn still_holds(&self, grant: &Grant) -> Option<bool> {
        let _ = grant;
        None
    }

    /// Who somebody is now that a grant of this authenticator's kind let in earlier; the inner `None` =
    /// nobody any more. `None` = not mine.
    fn now(&self, identity: &Identity) -> Option<Option<Arc<Principal>>> {
        let holds = self.still_holds(&identity.grant)?;
        Some(holds.then(|| identity.principal.clone()))
    }
}

/// An exchange in progress: one client's, driven by its AUTH packets (MQTT-4.12), or by its HELLO and AUTHENTICATE
/// (WAMP, "Authentication").
pub trait Exchange: Send {
    /// Takes what the client sent. After an error or [`Step::Done`] it is over.
    fn step<'a>(&'a mut self, data: &'a [u8]) -> BoxFuture<'a, Result<Step, Reason>>;
}

/// What an exchange answers.
#[derive(Debug)]
pub enum Step {
    /// Send this and wait for the client's next.
    Continue(Vec<u8>),
    /// The client is known; the data goes out with CONNACK, or with AUTH 0x00 after a re-authentication.
    Done { identity: Identity, data: Vec<u8> },
}
