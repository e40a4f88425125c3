//! What is measured of links: a help text and a unit for every metric, and the handles.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
};

/// Tells the process's recorder; called once, before anything is measured.
pub(crate) fn describe() {
    for (name, help) in [
        ("weir_cluster_link_records_total", "Records sent to peers and taken from them, by direction."),
        ("weir_cluster_link_dropped_total", "QoS 0 records that found no room in a link."),
        ("weir_cluster_link_resent_total", "Records sent again after a connection was cut."),
        ("weir_cluster_link_repeats_total", "Records that came again and were dropped by their number."),
        (
            "weir_cluster_link_lost_total",
            "Records that were on the way or waited when a connection or link ended.",
        ),
        ("weir_cluster_link_full_total", "Times a link could not take records that must arrive."),
        ("weir_cluster_link_connections_total", "Connections made with peers for links."),
        ("weir_cluster_link_refused_total", "Connections with proven nodes that got no link, by reason."),
        ("weir_cluster_link_violations_total", "Connections closed because a peer broke the link protocol."),
        ("weir_cluster_link_barriers_total", "Barriers, by what they waited for."),
        ("weir_cluster_link_silent_total", "Peers that did not pass a barrier in time."),
        ("weir_cluster_link_interest_changes_total", "Changes of peers' interest taken."),
        ("weir_cluster_link_full_sets_total", "Times all of this node's interest was told to a peer."),
        ("weir_cluster_link_resyncs_total", "Times a peer's interest was asked for anew, by reason."),
    ] {
        describe_counter!(name, Unit::Count, help);
    }
    describe_counter!(
        "weir_cluster_link_bytes_total",
        Unit::Bytes,
        "Bytes of records and notices, by direction."
    );
    describe_gauge!("weir_cluster_links", Unit::Count, "Peers there are links to, connected or not.");
    describe_gauge!("weir_cluster_link_up", Unit::Count, "Links that are connected.");
    describe_histogram!(
        "weir_cluster_link_rtt_seconds",
        Unit::Seconds,
        "Round-trip times of connected links."
    );
}

/// Handles, so that a frame costs additions only.
pub(crate) struct Meters {
    pub sent_records: Counter,
    pub sent_bytes: Counter,
    pub received_records: Counter,
    pub received_bytes: Counter,
    pub dropped: Counter,
    pub resent: Counter,
    pub repeats: Counter,
    pub lost: Counter,
    pub full: Counter,
    pub interest_changes: Counter,
    pub full_sets: Counter,
    pub links: Gauge,
    pub up: Gauge,
    pub rtt: Histogram,
}

impl Meters {
    pub fn new() -> Meters {
        Meters {
            sent_records: counter!("weir_cluster_link_records_total", "direction" => "sent"),
            sent_bytes: counter!("weir_cluster_link_bytes_total", "direction" => "sent"),
            received_records: counter!("weir_cluster_link_records_total", "direction" => "received"),
            received_bytes: counter!("weir_cluster_link_bytes_total", "direction" => "received"),
            dropped: counter!("weir_cluster_link_dropped_total"),
            resent: counter!("weir_cluster_link_resent_total"),
            repeats: counter!("weir_cluster_link_repeats_total"),
            lost: counter!("weir_cluster_link_lost_total"),
            full: counter!("weir_cluster_link_full_total"),
            interest_changes: counter!("weir_cluster_link_interest_changes_total"),
            full_sets: counter!("weir_cluster_link_full_sets_total"),
            links: metrics::gauge!("weir_cluster_links"),
            up: metrics::gauge!("weir_cluster_link_up"),
            rtt: metrics::histogram!("weir_cluster_link_rtt_seconds"),
        }
    }
}
