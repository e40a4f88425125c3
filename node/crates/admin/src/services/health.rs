//! The standard health service (`grpc.health.v1`): what the node says of itself, for each service and for all of them.

use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The services of `weir.admin.v1`.
const SERVICES: [&str; 8] =
    ["Sessions", "Topics", "Cluster", "Accounts", "Config", "Watch", "Streams", "Handlers"];

/// Says NOT_SERVING of the whole server and of each service until the node is ready, while it drains, while it is cut
/// off and when it stops; SERVING else. Calls are answered all the same: it is for who chooses among nodes.
pub async fn report(
    reporter: HealthReporter,
    mut ready: watch::Receiver<bool>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        let is_ready = *ready.borrow_and_update();
        say(&reporter, is_ready).await;
        tokio::select! {
            changed = ready.changed() => if changed.is_err() { break },
            // An error: the server itself is gone.
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
    }
    say(&reporter, false).await;
}

/// The same of the whole server and of each service.
pub async fn say(reporter: &HealthReporter, is_ready: bool) {
    let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    for name in SERVICES {
        reporter.set_service_status(format!("weir.admin.v1.{name}"), status).await;
    }
    reporter.set_service_status("", status).await;
}
