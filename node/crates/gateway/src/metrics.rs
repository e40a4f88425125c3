//! What this crate measures: a help text and a unit for every metric.

use metrics::{Unit, describe_counter};

/// Tells the process's recorder; called once, before anything is measured.
pub fn describe() {
    let count = |name: &'static str, help: &'static str| describe_counter!(name, Unit::Count, help);
    count("weir_gateway_connections_total", "Clients let in, by listener.");
    count(
        "weir_gateway_connections_refused_total",
        "Connections refused before anybody asked who it is, by the limit or rule.",
    );
    count("weir_gateway_connects_refused_total", "Connections refused before or at CONNECT.");
    count(
        "weir_gateway_access_refused_total",
        "Clients that authentication or policy turned away, by reason.",
    );
    count("weir_gateway_subscriptions_refused_total", "Filters of SUBSCRIBE that were refused, by reason.");
    count(
        "weir_gateway_stream_reads_ended_total",
        "Subscriptions to streams that ended on the broker's side, by reason.",
    );
    count("weir_gateway_disconnects_total", "Connections that ended, by reason.");
    count(
        "weir_gateway_limited_total",
        "Times a limit made a client wait, granted it less or refused it, by its key.",
    );
    count("weir_gateway_broken_packets_total", "Packets that broke the protocol.");
    count("weir_gateway_accept_errors_total", "Connections that the system could not hand over.");
    count("weir_gateway_handshakes_failed_total", "TLS, QUIC and proxy handshakes that failed, by listener.");
    count("weir_gateway_redirected_total", "Clients of a draining node that were told of another one.");
    count(
        "weir_gateway_retained_again_total",
        "Retained values given to a persistent session once more, which had seen another one last.",
    );
    count("weir_gateway_held_total", "Times a publisher was held for lack of memory.");
    count("weir_gateway_throttled_total", "Times a connection was held to one of its rates.");
    count("weir_gateway_flapping_total", "CONNECTs refused because their client flaps.");
    count("weir_gateway_mqtt_requests_total", "MQTT 5 requests that became calls.");
    count("weir_gateway_hyper_errors_total", "Requests of Hyper clients answered with ERR.");
    count("weir_gateway_wamp_errors_total", "Requests of WAMP clients answered with ERROR, by message.");
    count("weir_gateway_wamp_events_cut_total", "Events too long for a frame, sent without their arguments.");
    count("weir_gateway_wamp_messages_too_long_total", "Messages longer than a WAMP client takes, left out.");
    count("weir_gateway_wamp_realms_refused_total", "HELLOs for realms that there are not.");
    count("weir_gateway_wamp_sessions_refused_total", "WAMP sessions refused for who asks, by reason.");
    count(
        "weir_gateway_wamp_meta_events_total",
        "Events about sessions, subscriptions and registrations that were wanted.",
    );
    count(
        "weir_gateway_wamp_meta_events_dropped_total",
        "Events about registrations that were too many at a time.",
    );
    count("weir_gateway_auth_throttled_total", "CONNECTs refused for many failed ones from their address.");
}
