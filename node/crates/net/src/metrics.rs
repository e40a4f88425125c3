//! What this crate measures: a help text and a unit for every metric.

use metrics::{Unit, describe_counter, describe_gauge};

/// Tells the process's recorder; called once, before anything is measured.
pub fn describe() {
    describe_gauge!(
        "weir_net_connections_open",
        Unit::Count,
        "Connections there are, half-open ones included."
    );
    describe_gauge!(
        "weir_net_connections_half_open",
        Unit::Count,
        "Connections whose clients are not let in yet."
    );
    describe_counter!(
        "weir_net_limited_total",
        Unit::Count,
        "Times a limit of HTTP or WebSockets refused a client or cut it off, by its key."
    );
    describe_counter!(
        "weir_net_tls_reloads_total",
        Unit::Count,
        "Changes of certificates, keys and lists that were taken."
    );
    describe_counter!(
        "weir_net_tls_reload_failures_total",
        Unit::Count,
        "Changes of certificates, keys and lists that could not be used."
    );
    describe_counter!(
        "weir_net_peer_tls_reloads_total",
        Unit::Count,
        "Changes of the certificates for peers that were taken."
    );
    describe_counter!(
        "weir_net_peer_tls_reload_failures_total",
        Unit::Count,
        "Changes of the certificates for peers that could not be used."
    );
    describe_counter!(
        "weir_net_peer_refused_total",
        Unit::Count,
        "Connections to the peer port that were refused, by reason."
    );
}
