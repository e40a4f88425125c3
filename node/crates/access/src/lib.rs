//! Who you are and what you may do: the questions the rest of Weir asks, answered once per
//! connection (authentication) and once per canonical topic (authorization).
//!
//! This version ships one policy: everybody may do everything ([`Access::open`]). What follows
//! (tokens, accounts, certificates, policies) comes in behind the same two traits.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use weir_model::{Principal, Qos, Reason};

/// Who may connect without credentials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Anonymous {
    /// Only on listeners bound to a loopback address; a node with any other is refused at start.
    #[default]
    Loopback,
    /// On every listener, also one the whole network reaches.
    Anywhere,
}

/// The `[access]` section.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where clients may connect without credentials: `loopback` or `anywhere`.
    pub anonymous: Anonymous,
}

/// What a client showed when it connected.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    pub client_id: Arc<str>,
    pub username: Option<String>,
    pub password: Option<Vec<u8>>,
    pub address: Option<IpAddr>,
    /// The listener's name (`mqtt`, `https`, ..).
    pub listener: &'static str,
}

/// Who somebody is, and in which realm.
#[derive(Debug, Clone)]
pub struct Identity {
    pub principal: Principal,
    pub realm: Arc<str>,
}

/// Finds out who a client is. Several are asked in turn.
pub trait Authenticator: Send + Sync {
    /// `None` = not mine, ask the next one.
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Option<Result<Identity, Reason>>>;
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    Publish {
        topic: &'a str,
        qos: Qos,
        retain: bool,
    },
    /// The filter is judged as a whole set, `$share/<name>/` included.
    Subscribe {
        filter: &'a str,
        qos: Qos,
    },
    /// A message on its way to a subscriber, by whatever path.
    Receive {
        topic: &'a str,
    },
}

/// Says what a principal may do. Quick and synchronous: it is asked on the message path.
pub trait Policy: Send + Sync {
    fn may(&self, principal: &Principal, action: Action<'_>) -> bool;
}

/// The one place the broker asks. Cheap to ask; verdicts may be cached until [`Access::version`] moves.
pub struct Access {
    authenticators: Vec<Box<dyn Authenticator>>,
    policy: Box<dyn Policy>,
    version: AtomicU64,
}

impl Access {
    pub fn new(authenticators: Vec<Box<dyn Authenticator>>, policy: Box<dyn Policy>) -> Access {
        Access { authenticators, policy, version: AtomicU64::new(0) }
    }

    /// Everybody is let in and may do everything.
    pub fn open() -> Access {
        Access::new(vec![Box::new(Anybody)], Box::new(AllowAll))
    }

    /// Asks the authenticators in turn; nobody knowing the client is [`Reason::BadCredentials`].
    pub async fn authenticate(&self, credentials: &Credentials) -> Result<Identity, Reason> {
        for authenticator in &self.authenticators {
            if let Some(verdict) = authenticator.authenticate(credentials).await {
                return verdict;
            }
        }
        Err(Reason::BadCredentials)
    }

    pub fn may(&self, principal: &Principal, action: Action<'_>) -> bool {
        self.policy.may(principal, action)
    }

    /// Moves whenever a verdict may have changed.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}

/// Takes everybody for who they say they are. The user name is the user id.
struct Anybody;

impl Authenticator for Anybody {
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Option<Result<Identity, Reason>>> {
        let principal = Principal {
            client_id: credentials.client_id.clone(),
            user_id: credentials.username.as_deref().map(Arc::from),
            ..Principal::default()
        };
        let realm = Arc::from(weir_model::DEFAULT_REALM);
        Box::pin(std::future::ready(Some(Ok(Identity { principal, realm }))))
    }
}

struct AllowAll;

impl Policy for AllowAll {
    fn may(&self, _: &Principal, _: Action<'_>) -> bool {
        true
    }
}
