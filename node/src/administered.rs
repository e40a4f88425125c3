//! What administration asks of the whole node.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use weir_admin::machine::AccountSettings;
use weir_admin::proto::NodeState;
use weir_admin::{Change, Machine, NodeView};
use weir_broker::Broker;
use weir_cluster::StoreKind;
use weir_net::tls;

use crate::config::{self, Catalog, Config};
use crate::health;
use crate::place::Place;
use crate::telemetry::Render;

mod redact;

use redact::without_secrets;

/// How often is looked whether the node is cut off, or has a way back.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The node, as its administration sees it.
pub struct Administered {
    name: String,
    config: Config,
    broker: Broker,
    place: Option<Arc<Place>>,
    kind: StoreKind,
    metrics: Render,
    /// The TLS of clients.
    tls: Option<tls::ServerConfig>,
    /// The listeners of clients; told when all are open.
    addresses: OnceLock<Vec<(&'static str, SocketAddr)>>,
    /// True when it is to drain.
    drain: watch::Sender<bool>,
    /// True while clients are wanted.
    ready: watch::Sender<bool>,
}

/// What it is made of.
pub struct Whole {
    pub config: Config,
    pub broker: Broker,
    pub place: Option<Arc<Place>>,
    pub kind: StoreKind,
    pub metrics: Render,
    pub tls: Option<tls::ServerConfig>,
}

impl Administered {
    #[must_use]
    pub fn new(whole: Whole) -> Arc<Self> {
        let Whole { config, broker, place, kind, metrics, tls } = whole;
        let drain = watch::Sender::new(false);
        let told = drain.clone();
        broker.admin().on_drain(move || {
            told.send_replace(true);
        });
        let name = config.node.name();
        let (addresses, ready) = (OnceLock::new(), watch::Sender::new(false));
        Arc::new(Self { name, config, broker, place, kind, metrics, tls, addresses, drain, ready })
    }

    /// The listeners are open.
    pub fn listens(&self, addresses: Vec<(&'static str, SocketAddr)>) {
        let _ = self.addresses.set(addresses);
    }

    fn serves(&self) -> bool {
        !*self.drain.borrow()
    }

    fn listeners(&self) -> Vec<(String, String)> {
        let all = self.addresses.get().into_iter().flatten();
        all.map(|(name, at)| ((*name).to_owned(), at.to_string())).collect()
    }

    /// Says whether clients are wanted, as the health of the node has it, for ever. It begins when they are.
    pub async fn tell_health(self: Arc<Self>, health: Arc<health::Watch>) {
        let mut drain = self.drain.subscribe();
        loop {
            let drains = *drain.borrow_and_update();
            let is_ready = !drains && health.look().state.is_ready(false);
            self.ready.send_if_modified(|was| std::mem::replace(was, is_ready) != is_ready);
            // The sender lives in `self`.
            let _ = tokio::time::timeout(LOOK_AGAIN, drain.changed()).await;
        }
    }

    /// Waits until an administrator wants the node to drain.
    pub async fn is_to_drain(&self) {
        // The sender lives in `self`.
        let _ = self.drain.subscribe().wait_for(|drains| *drains).await;
    }
}

impl Machine for Administered {
    fn name(&self) -> &str {
        &self.name
    }

    fn nodes(&self) -> Vec<NodeView> {
        if let Some(place) = &self.place {
            let mut nodes = place.view();
            // What it tells the others it does not hear itself.
            for this in nodes.iter_mut().filter(|node| node.is_this) {
                (this.serves, this.listeners) = (self.serves(), self.listeners());
            }
            return nodes;
        }
        vec![NodeView {
            node_id: self.name.clone(),
            incarnation: self.broker.incarnation(),
            is_this: true,
            state: NodeState::Live,
            peer_address: None,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            serves: self.serves(),
            linked: true,
            listeners: self.listeners(),
        }]
    }

    fn cluster_id(&self) -> Option<String> {
        self.place.as_ref().map(|_| self.config.cluster.id.clone())
    }

    fn store(&self) -> &'static str {
        self.kind.as_str()
    }

    fn drain(&self) {
        self.drain.send_replace(true);
    }

    fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    fn is_open(&self) -> bool {
        self.broker.access().is_open() && !self.config.access.has_authenticator()
    }

    fn metrics(&self) -> String {
        (self.metrics)()
    }

    fn config(&self) -> (String, String) {
        let json = in_json(&self.config, &Catalog::new()).to_string();
        (without_secrets(&config::print(&self.config)), without_secrets(&json))
    }

    fn validate(&self, toml: &str) -> Result<(), String> {
        config::load_text(toml, Vec::new()).map(drop).map_err(|error| error.to_string())
    }

    fn diff(&self, toml: &str) -> Result<Vec<Change>, String> {
        let then =
            config::load_text(toml, self.config.overrides.clone()).map_err(|error| error.to_string())?;
        Ok(differences(&self.config, &then))
    }

    fn reload(&self) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async {
            let mut problems = Vec::new();
            if let Err(error) = self.broker.access().reload().await {
                problems.push(error.to_string());
            }
            if let Some(tls) = self.tls.clone() {
                let reloaded = tokio::task::spawn_blocking(move || tls.reload()).await;
                problems.extend(reloaded.ok().and_then(Result::err).map(|error| error.to_string()));
            }
            if let Some(place) = &self.place {
                problems.extend(place.reload().await.err().map(|error| error.to_string()));
            }
            problems
        })
    }

    fn accounts(&self) -> AccountSettings {
        let access = &self.config.access;
        AccountSettings {
            file: access.accounts.file.clone(),
            scram_iterations: access.scram.iterations,
            policy: access.policy.clone(),
        }
    }
}

/// All that is set, secrets as `"***"`.
fn in_json(config: &Config, catalog: &Catalog) -> serde_json::Value {
    let mut json = serde_json::to_value(config).unwrap_or_default();
    for key in catalog.keys().filter(|key| key.secret) {
        let pointer = format!("/{}", key.path.replace('.', "/"));
        if let Some(value) = json.pointer_mut(&pointer).filter(|value| !value.is_null()) {
            *value = "***".into();
        }
    }
    json
}

/// Every key whose value would be another, in the order of the keys.
fn differences(now: &Config, then: &Config) -> Vec<Change> {
    let catalog = Catalog::new();
    let table = |config: &Config| toml::Value::try_from(config).ok();
    let (now, then) = (table(now), table(then));
    let at = |config: &Option<toml::Value>, path: &str| -> Option<toml::Value> {
        path.split('.').try_fold(config.as_ref()?, |value, name| value.get(name)).cloned()
    };
    let told = |value: Option<toml::Value>, secret: bool| match value {
        None => String::new(),
        Some(_) if secret => "\"***\"".to_owned(),
        Some(value) => without_secrets(&value.to_string()),
    };
    let mut changes: Vec<Change> = catalog
        .keys()
        .filter_map(|key| {
            let (now, then) = (at(&now, &key.path), at(&then, &key.path));
            let differs = now != then;
            let change =
                || Change { key: key.path.clone(), now: told(now, key.secret), then: told(then, key.secret) };
            differs.then(change)
        })
        .collect();
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_differs_in_what_it_says_and_secrets_are_not_shown() {
        let now = Config::default();
        let text = "[listen]\nmqtt = \"off\"\n[store]\nurl = \"redis://:hunter2@host:6379\"\n";
        let then = config::load_text(text, Vec::new()).unwrap();
        let changes = differences(&now, &then);
        let keys: Vec<_> = changes.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(keys, ["listen.mqtt", "store.url"]);
        assert_eq!((changes[0].now.as_str(), changes[0].then.as_str()), ("\"127.0.0.1:1883\"", "\"off\""));
        assert!(!changes[1].then.contains("hunter2"), "{changes:?}");
    }

    #[test]
    fn what_flags_say_holds_whatever_the_text_says() {
        let flag = config::Setting {
            key: "listen.mqtt".to_owned(),
            value: "off".into(),
            place: "--mqtt".to_owned(),
        };
        let now = config::load_text("", vec![flag]).unwrap();
        let then = config::load_text("[listen]\nmqtt = 1999", now.overrides.clone()).unwrap();
        assert_eq!(differences(&now, &then), []);
    }
}
