//! The one handle the broker asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use weir_model::{Filter, Level, Principal, Qos, Reason};

use crate::identity::{Authenticator, Credentials, Exchange, Grant, Identity};
use crate::load::Source;
use crate::policy::{Action, AllowAll, Explanation, Policy};
use crate::{Anonymous, PublishRights, RefusedSubscribe};

/// What access is made of at one moment; replaced as a whole.
pub struct Parts {
    /// Asked in turn; empty = nobody is asked, everybody is who they say they are.
    pub authenticators: Vec<Box<dyn Authenticator>>,
    pub policy: Box<dyn Policy>,
    pub anonymous: Anonymous,
    pub refused_subscribe: RefusedSubscribe,
}

/// The one place the broker asks. Cheap to ask; verdicts may be kept until [`Access::version`] moves.
pub struct Access {
    parts: ArcSwap<Parts>,
    version: AtomicU64,
    changed: watch::Sender<u64>,
    /// What it was loaded from, if it was.
    pub(crate) source: Option<Source>,
}

impl Access {
    pub fn new(parts: Parts) -> Access {
        Access {
            parts: ArcSwap::from_pointee(parts),
            version: AtomicU64::new(0),
            changed: watch::Sender::new(0),
            source: None,
        }
    }

    /// Everybody is let in and may do everything.
    pub fn open() -> Access {
        let policy = Box::new(AllowAll);
        Access::new(Parts {
            authenticators: Vec::new(),
            policy,
            anonymous: Anonymous::Anywhere,
            refused_subscribe: RefusedSubscribe::Answer,
        })
    }

    /// From now on these answer; who watches [`Access::changes`] hears of it.
    pub fn replace(&self, parts: Parts) {
        self.parts.store(Arc::new(parts));
        let version = self.version.fetch_add(1, Ordering::AcqRel) + 1;
        self.changed.send_replace(version);
    }

    /// Asks the authenticators in turn, then whether who it is may connect.
    ///
    /// # Errors
    /// [`Reason::BadCredentials`] when nobody knows the client, [`Reason::NotAuthorized`] when it may
    /// not connect, [`Reason::Busy`] when too many are being checked.
    pub async fn authenticate(&self, credentials: &Credentials) -> Result<Identity, Reason> {
        let parts = self.parts.load_full();
        let identity = match parts.without_asking(credentials) {
            Some(identity) => identity,
            None => parts.ask(credentials).await?,
        };
        self.admit(identity)
    }

    /// Whether somebody who has proved who they are may connect.
    ///
    /// # Errors
    /// [`Reason::NotAuthorized`].
    pub fn admit(&self, identity: Identity) -> Result<Identity, Reason> {
        match self.parts.load().policy.may_connect(&identity.principal) {
            true => Ok(identity),
            false => Err(Reason::NotAuthorized),
        }
    }

    /// Whether somebody who is known may be in the realm that they ask for: one that the account or the token names,
    /// or any if it names none.
    pub fn may_enter(&self, identity: &Identity, realm: &str) -> bool {
        let parts = self.parts.load();
        let said = parts.authenticators.iter().find_map(|a| a.may_enter(identity, realm));
        said.unwrap_or_else(|| identity.is_free_or_in(realm))
    }

    /// Begins enhanced authentication (MQTT 5), or that of WAMP; `None` = no such method here. What it ends in goes
    /// through [`Access::admit`].
    pub fn exchange(&self, method: &str, credentials: &Credentials) -> Option<Box<dyn Exchange>> {
        let parts = self.parts.load();
        parts.authenticators.iter().find_map(|authenticator| authenticator.exchange(method, credentials))
    }

    /// Whether what an identity rests on is still there: its account unchanged, its key known, its
    /// certificate not revoked, its right to connect not taken away.
    pub fn still_holds(&self, identity: &Identity) -> bool {
        let parts = self.parts.load();
        let stands = match parts.stands_unasked(&identity.grant) {
            Some(stands) => stands,
            None => parts.authenticators.iter().find_map(|a| a.still_holds(&identity.grant)).unwrap_or(false),
        };
        stands && parts.policy.may_connect(&identity.principal)
    }

    /// Who somebody is now who was let in earlier, and may be away: an account has the roles that its file
    /// gives it now. `None` = what that rested on is gone, or the right to connect is.
    pub fn now(&self, identity: &Identity) -> Option<Arc<Principal>> {
        let parts = self.parts.load();
        let principal = match parts.stands_unasked(&identity.grant) {
            Some(stands) => stands.then(|| identity.principal.clone()),
            None => parts.authenticators.iter().find_map(|a| a.now(identity)).flatten(),
        }?;
        parts.policy.may_connect(&principal).then_some(principal)
    }

    pub fn publish_rights(&self, principal: &Principal, topic: &str) -> PublishRights {
        self.parts.load().policy.publish(principal, topic)
    }

    /// The lowest acknowledgement level that this publish may ask for; `None` = none below that of the node.
    pub fn ack_level_min(&self, principal: &Principal, topic: &str, qos: Qos, retain: bool) -> Option<Level> {
        self.parts.load().policy.ack_level_min(principal, topic, qos, retain)
    }

    /// The highest QoS a subscription may have; `None` = refused.
    pub fn subscribe_right(&self, principal: &Principal, filter: &Filter) -> Option<Qos> {
        self.parts.load().policy.subscribe(principal, filter)
    }

    /// What a client sees of a subscription it may not have.
    pub fn refused_subscribe(&self) -> RefusedSubscribe {
        self.parts.load().refused_subscribe
    }

    /// Whether a message of this topic may reach the principal, by whatever path.
    pub fn may_receive(&self, principal: &Principal, topic: &str) -> bool {
        self.parts.load().policy.receive(principal, topic)
    }

    /// Whether the principal may call the procedure that a topic names.
    pub fn may_call(&self, principal: &Principal, topic: &str) -> bool {
        self.parts.load().policy.may_call(principal, topic)
    }

    /// Whether it may register that procedure, or all that a filter means.
    pub fn may_register(&self, principal: &Principal, asked: &str) -> bool {
        self.parts.load().policy.may_register(principal, asked)
    }

    /// Which rule decides.
    pub fn explain(&self, principal: &Principal, action: Action<'_>) -> Explanation {
        self.parts.load().policy.explain(principal, action)
    }

    /// Whether everybody may do everything.
    pub fn is_open(&self) -> bool {
        self.parts.load().policy.is_open()
    }

    /// Moves whenever a verdict may have changed.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Tells of every change of version.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

impl Parts {
    /// Whether a grant given without asking would be given now; `None` for the others.
    fn stands_unasked(&self, grant: &Grant) -> Option<bool> {
        match grant {
            Grant::Open => Some(self.authenticators.is_empty() && self.anonymous != Anonymous::Never),
            Grant::Anonymous => Some(matches!(self.anonymous, Anonymous::Loopback | Anonymous::Anywhere)),
            _ => None,
        }
    }

    /// Who is let in without being asked.
    fn without_asking(&self, credentials: &Credentials) -> Option<Identity> {
        let nobody_asks = self.authenticators.is_empty();
        let anonymous = match self.anonymous {
            Anonymous::Never => false,
            Anonymous::Auto => nobody_asks && credentials.local,
            Anonymous::Loopback => credentials.local,
            Anonymous::Anywhere => true,
        };
        let principal =
            |user_id| Principal { client_id: credentials.client_id.clone(), user_id, ..Principal::default() };
        match (nobody_asks, anonymous) {
            // The user name is the user id, as nobody can say otherwise.
            (true, true) => {
                Some(Identity::new(principal(credentials.username.as_deref().map(Arc::from)), Grant::Open))
            }
            (false, true) if credentials.is_empty() => Some(Identity::new(principal(None), Grant::Anonymous)),
            _ => None,
        }
    }

    async fn ask(&self, credentials: &Credentials) -> Result<Identity, Reason> {
        for authenticator in &self.authenticators {
            if let Some(verdict) = authenticator.authenticate(credentials).await {
                return verdict;
            }
        }
        Err(Reason::BadCredentials)
    }
}
