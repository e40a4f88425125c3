//! What is seen from outside: logs on stderr, metrics for whoever asks, and the room to take clients.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::config;

mod audit;
mod describe;

pub use describe::describe;

/// How often histograms are folded, so that an unread `/metrics` does not grow.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Seconds; from a memory store's commit to a disk that is in trouble.
const SECONDS_BUCKETS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Renders all metrics in the Prometheus text format.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// Logs go to stderr, coloured on a terminal; audit events also to `node.audit_file`. A second call in one
/// process changes nothing.
///
/// # Errors
/// The audit file cannot be opened.
pub fn install_log(node: &config::Node) -> anyhow::Result<audit::Guard> {
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter(node.log.to_env_filter());
    let (audit, guard) = audit::Audit::open(node.audit_per_second_max, node.audit_file.as_deref())?;
    let audit = audit.with_filter(Targets::new().with_target(audit::TARGET, tracing::Level::INFO));
    // Fails only when there is one already: a second node in a test's process.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(log).with(audit));
    Ok(guard)
}

/// Installs the process's recorder and keeps it folded as long as the runtime lives.
///
/// # Errors
/// This process has a recorder already.
pub fn install_metrics() -> anyhow::Result<Render> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&SECONDS_BUCKETS)?
        .install_recorder()
        .context("metrics cannot be recorded")?;
    describe();
    tokio::spawn(keep_folded(handle.clone()));
    Ok(Arc::new(move || handle.render()))
}

async fn keep_folded(handle: PrometheusHandle) {
    let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        tick.tick().await;
        handle.run_upkeep();
    }
}

/// Raises the soft limit of open files to the hard one; a connection is an open file.
/// Returns the limit that holds now, `None` = unlimited.
#[must_use]
pub fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, soft = ?limit.current, hard = ?limit.maximum, "open files stay limited");
        }
    }
    getrlimit(Resource::Nofile).current
}
