//! What was last read well, and how its files looked when they were last read at all.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Notify;
use weir_model::{Filter, Level, Principal, Qos};

use super::LoadError;
use super::part::{self, Look, Part};
use crate::PublishRights;
use crate::access::Parts;
use crate::authenticate::accounts::Accounts;
use crate::authenticate::accounts::book::Book;
use crate::authenticate::certificates::Certificates;
use crate::authenticate::certificates::revoked::Revoked;
use crate::authenticate::hashing::Hashing;
use crate::authenticate::jwt::keys::{Key, Keys};
use crate::authenticate::jwt::{Jwt, fetch, sources};
use crate::config::{self, Config, Method};
use crate::identity::Authenticator;
use crate::policy::{self, Action, AllowAll, Explanation, Policy};

/// Everything of which [`Parts`] are made.
pub(crate) struct State {
    policy: Arc<dyn Policy>,
    policy_files: Vec<PathBuf>,
    jwt: Arc<config::Jwt>,
    keys: Vec<Arc<Key>>,
    /// `None` = nothing could be fetched so far.
    fetched: Option<Vec<Arc<Key>>>,
    book: Option<Arc<Book>>,
    revoked: Arc<Revoked>,
    /// Shared by all generations, so that a reload does not double how many hash at once.
    hashing: Arc<Hashing>,
    unknown_key: Arc<Notify>,
    looks: HashMap<Part, Vec<Look>>,
    /// What was last said of an address that cannot be fetched from, which is tried again and again.
    fetch_failure: Option<String>,
}

impl State {
    pub(crate) fn new(config: &Config, dir: &Path) -> State {
        State {
            policy: Arc::new(AllowAll),
            // A preset turns out to have none.
            policy_files: vec![dir.join(&config.policy)],
            jwt: Arc::new(config.jwt.clone()),
            keys: Vec::new(),
            fetched: None,
            book: None,
            revoked: Arc::default(),
            hashing: Arc::new(Hashing::new(config.hashing_at_once_max, config.hashing_waiting_max)),
            unknown_key: Arc::default(),
            looks: HashMap::new(),
            fetch_failure: None,
        }
    }

    /// Rung when a token names a key that is not known.
    pub(crate) fn unknown_key(&self) -> Arc<Notify> {
        Arc::clone(&self.unknown_key)
    }

    /// Whether keys of an address have been fetched at least once.
    pub(crate) fn has_fetched(&self) -> bool {
        self.fetched.is_some()
    }

    /// Reads one part, counts how it went, and reports what is new about that.
    ///
    /// # Errors
    /// It stays as it was.
    pub(crate) fn load(&mut self, part: Part, config: &Config, dir: &Path) -> Result<bool, LoadError> {
        let loaded = self.read(part, config, dir);
        let is_fetch = part == Part::JwksUrl;
        match &loaded {
            Ok(_) => part.loaded(),
            Err(error) => {
                let words = is_fetch.then(|| error.to_string());
                part.failed(error, is_fetch && self.fetch_failure == words);
                self.fetch_failure = words.or(self.fetch_failure.take());
            }
        }
        if is_fetch && loaded.is_ok() {
            self.fetch_failure = None;
        }
        loaded
    }

    /// Reads one part; whether anything may be different now. After an error it is as it was.
    pub(crate) fn read(&mut self, part: Part, config: &Config, dir: &Path) -> Result<bool, LoadError> {
        // Looked at before reading: what is written meanwhile looks different the next time.
        let looks = part::look(&self.files(part, config, dir));
        self.looks.insert(part, looks);
        match part {
            Part::Policy => {
                let loaded = policy::load(&config.policy, dir)?;
                self.policy = Arc::from(loaded.policy);
                if self.policy_files != loaded.files {
                    self.looks.insert(part, part::look(&loaded.files));
                    self.policy_files = loaded.files;
                }
            }
            Part::Jwt => self.keys = sources::keys(&config.jwt, dir)?,
            Part::JwksUrl => return self.fetch(config, dir),
            Part::Accounts => {
                let file = config.accounts.file.iter().map(|file| Book::load(&dir.join(file)));
                self.book = file.map(|book| book.map(Arc::new)).next().transpose()?;
            }
            Part::Certificates => {
                self.revoked = Arc::new(Revoked::load(&config.certificates.crl_files, dir)?);
            }
        }
        Ok(true)
    }

    /// Mostly the keys are the ones that were there before.
    fn fetch(&mut self, config: &Config, dir: &Path) -> Result<bool, LoadError> {
        let Some(url) = &config.jwt.jwks_url else { return Ok(false) };
        let keys = fetch::keys(&config.jwt, url, dir)?;
        let same = self.fetched.as_ref().is_some_and(|old| Keys::same(old, &keys));
        self.fetched = Some(keys);
        Ok(!same)
    }

    /// The files a part is read from.
    pub(crate) fn files(&self, part: Part, config: &Config, dir: &Path) -> Vec<PathBuf> {
        match part {
            Part::Policy => self.policy_files.clone(),
            Part::Jwt => sources::files(&config.jwt, dir),
            Part::JwksUrl => Vec::new(),
            Part::Accounts => config.accounts.file.iter().map(|file| dir.join(file)).collect(),
            Part::Certificates => config.certificates.crl_files.iter().map(|file| dir.join(file)).collect(),
        }
    }

    pub(crate) fn files_changed(&self, part: Part, config: &Config, dir: &Path) -> bool {
        let now = part::look(&self.files(part, config, dir));
        self.looks.get(&part).is_none_or(|before| *before != now)
    }

    /// What answers from now on.
    pub(crate) fn parts(&self, config: &Config) -> Parts {
        let order = if config.order.is_empty() { config.configured() } else { config.order.clone() };
        Parts {
            authenticators: order
                .into_iter()
                .filter_map(|method| self.authenticator(method, config))
                .collect(),
            policy: Box::new(Shared(Arc::clone(&self.policy))),
            anonymous: config.anonymous,
            refused_subscribe: config.refused_subscribe,
        }
    }

    fn authenticator(&self, method: Method, config: &Config) -> Option<Box<dyn Authenticator>> {
        match method {
            Method::Jwt => {
                let keys = self.keys.iter().chain(self.fetched.iter().flatten()).cloned().collect();
                let waits_for_first = config.jwt.jwks_url.is_some() && self.fetched.is_none();
                Some(Box::new(Jwt {
                    config: Arc::clone(&self.jwt),
                    keys: Arc::new(Keys::new(keys, waits_for_first)),
                    unknown_key: Arc::clone(&self.unknown_key),
                }))
            }
            Method::Accounts => Some(Box::new(Accounts {
                book: Arc::clone(self.book.as_ref()?),
                hashing: Arc::clone(&self.hashing),
                scram: config.scram.enabled,
            })),
            Method::Certificates => {
                let identity = config.certificates.identity?;
                Some(Box::new(Certificates::new(&config.certificates, identity, Arc::clone(&self.revoked))))
            }
        }
    }
}

/// One policy for several generations of [`Parts`].
struct Shared(Arc<dyn Policy>);

impl Policy for Shared {
    fn may_connect(&self, principal: &Principal) -> bool {
        self.0.may_connect(principal)
    }

    fn publish(&self, principal: &Principal, topic: &str) -> PublishRights {
        self.0.publish(principal, topic)
    }

    fn ack_level_min(&self, principal: &Principal, topic: &str, qos: Qos, retain: bool) -> Option<Level> {
        self.0.ack_level_min(principal, topic, qos, retain)
    }

    fn subscribe(&self, principal: &Principal, filter: &Filter) -> Option<Qos> {
        self.0.subscribe(principal, filter)
    }

    fn receive(&self, principal: &Principal, topic: &str) -> bool {
        self.0.receive(principal, topic)
    }

    fn may_call(&self, principal: &Principal, topic: &str) -> bool {
        self.0.may_call(principal, topic)
    }

    fn may_register(&self, principal: &Principal, asked: &str) -> bool {
        self.0.may_register(principal, asked)
    }

    fn explain(&self, principal: &Principal, action: Action<'_>) -> Explanation {
        self.0.explain(principal, action)
    }

    fn is_open(&self) -> bool {
        self.0.is_open()
    }
}
