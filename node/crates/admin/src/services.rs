//! The services, one file each, and what they share.

mod accounts;
mod cluster;
mod config;
mod handlers;
mod health;
mod sessions;
mod stats;
mod streams;
mod topics;
mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::watch as watched;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;
use weir_broker::{Broker, Realm};
use weir_net::tls;

use crate::config::Config;
use crate::error::Refused;
use crate::machine::Machine;
use crate::proto;
use crate::tokens::Tokens;
pub use health::report;

/// Bytes of what somebody says why.
const REASON_BYTES_MAX: usize = 1024;

/// What all services know; cheap to clone.
#[derive(Clone)]
pub struct Shared(Arc<Inner>);

pub struct Inner {
    pub config: Config,
    pub broker: Broker,
    pub machine: Arc<dyn Machine>,
    pub tokens: Arc<Tokens>,
    /// Of this listener.
    pub tls: Option<tls::ServerConfig>,
    /// True when the node stops: streams end.
    pub stopping: watched::Receiver<bool>,
    /// Streams of `Watch`.
    pub watchers: AtomicUsize,
}

impl std::ops::Deref for Shared {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Shared {
    pub fn new(
        config: Config,
        broker: Broker,
        machine: Arc<dyn Machine>,
        tokens: Arc<Tokens>,
        tls: Option<tls::ServerConfig>,
        stopping: watched::Receiver<bool>,
    ) -> Self {
        let watchers = AtomicUsize::new(0);
        Self(Arc::new(Inner { config, broker, machine, tokens, tls, stopping, watchers }))
    }

    /// Reads tokens and the listener's certificates again now; what could not be used. Blocks on the file system.
    pub fn reload(&self) -> Vec<String> {
        let tls = self.tls.as_ref().and_then(|tls| tls.reload().err()).map(|error| error.to_string());
        let tokens = self.tokens.reload().err().map(|error| error.to_string());
        tls.into_iter().chain(tokens).collect()
    }

    /// The realm that a request names.
    fn realm(&self, name: &str) -> Result<Arc<Realm>, Refused> {
        let realm = self.broker.realm(&realm_name(name));
        realm.ok_or_else(|| Refused::not_found("realm", "there is no such realm"))
    }
}

/// The name of the realm that a request means.
fn realm_name(name: &str) -> Arc<str> {
    Arc::from(if name.is_empty() { weir_model::DEFAULT_REALM } else { name })
}

/// What somebody says why, if it is not too long and a client may be told it (MQTT-1.5.4-2).
fn reason(text: &str) -> Result<Arc<str>, Refused> {
    match text.len() {
        _ if text.contains('\0') => Err(Refused::field("reason", "it has a NUL", "no U+0000")),
        0..=REASON_BYTES_MAX => Ok(Arc::from(text)),
        bytes => {
            let hint = format!("at most {REASON_BYTES_MAX} bytes");
            Err(Refused::field("reason", format!("{bytes} bytes are too many"), hint))
        }
    }
}

/// Does what blocks on the file system where nobody waits for the thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Refused::internal("the work was cut short")))
}

/// The health service alone, which says that nobody is served, and who tells it otherwise.
pub async fn health() -> (HealthReporter, Routes) {
    let (reporter, health) = tonic_health::server::health_reporter();
    health::say(&reporter, false).await;
    (reporter, Routes::new(health))
}

/// All other services of the listener, with reflection.
pub fn routes(shared: Shared) -> Result<Routes, tonic_reflection::server::Error> {
    let max = shared.config.message_bytes_max;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?
        .max_decoding_message_size(max);
    macro_rules! served {
        ($server:ident :: $name:ident, $service:expr) => {
            proto::$server::$name::new($service(shared.clone())).max_decoding_message_size(max)
        };
    }
    Ok(Routes::default()
        .add_service(reflection)
        .add_service(served!(sessions_server::SessionsServer, sessions::Sessions))
        .add_service(served!(topics_server::TopicsServer, topics::Topics))
        .add_service(served!(cluster_server::ClusterServer, cluster::Cluster))
        .add_service(served!(accounts_server::AccountsServer, accounts::Accounts))
        .add_service(served!(config_server::ConfigServer, config::Config))
        .add_service(served!(watch_server::WatchServer, watch::Watch))
        .add_service(served!(streams_server::StreamsServer, streams::Streams::new))
        .add_service(served!(handlers_server::HandlersServer, handlers::Handlers)))
}
