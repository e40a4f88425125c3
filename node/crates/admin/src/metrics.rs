//! What administration counts.

use metrics::{Unit, describe_counter, describe_gauge};

/// Tells the process's recorder; called once, before anything is measured.
pub fn describe() {
    let count = |name: &'static str, help: &'static str| describe_counter!(name, Unit::Count, help);
    count("weir_admin_requests_total", "Calls by service and by gRPC status; streams count when they begin.");
    count("weir_admin_rebalances_total", "Times that clients were spread over the nodes, to the end.");
    count("weir_admin_refused_total", "Calls of callers who may not, by why.");
    count("weir_admin_changes_total", "Changes by what was done and how it went; each has its audit line.");
    count("weir_admin_connections_refused_total", "Connections closed before a call, by why.");
    count(
        "weir_admin_calls_ended_total",
        "Calls that lasted longer than what had let their callers in, by why.",
    );
    count("weir_admin_events_missed_total", "Events left out for readers of Watch that were too slow.");
    count(
        "weir_admin_token_file_failures_total",
        "Times the tokens file could not be used; the old tokens stay.",
    );
    describe_gauge!(
        "weir_admin_stream_calls",
        Unit::Count,
        "Calls of Streams that read, consume or publish, and last."
    );
    describe_gauge!("weir_admin_watchers", Unit::Count, "Streams of Watch that are open.");
}
