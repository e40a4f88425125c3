//! What this crate measures: a help text and a unit for every metric.

use metrics::{Unit, describe_counter, describe_gauge};

/// Tells the process's recorder; called once, before anything is measured.
pub fn describe() {
    crate::link::metrics::describe();
    describe_gauge!("weir_cluster_members", Unit::Count, "Live members, this node among them.");
    describe_gauge!(
        "weir_cluster_members_suspected",
        Unit::Count,
        "Members that are silent and not yet counted as dead."
    );
    describe_gauge!("weir_cluster_members_lost", Unit::Count, "Members that died and have not come back.");
    describe_counter!("weir_cluster_deaths_total", Unit::Count, "Members that counted as dead.");
    describe_counter!("weir_cluster_leaves_total", Unit::Count, "Members that left cleanly.");
    describe_counter!("weir_cluster_refused_total", Unit::Count, "Nodes that were refused, by reason.");
    describe_counter!(
        "weir_cluster_refused_by_peer_total",
        Unit::Count,
        "Gossip connections that a peer ended with a refusal, by its code."
    );
    describe_counter!(
        "weir_cluster_stalls_total",
        Unit::Count,
        "Times this node itself stood still for so long that it cannot judge its peers."
    );
    describe_counter!(
        "weir_cluster_gossip_messages_total",
        Unit::Count,
        "Gossip messages, by way: datagram or stream sent, or received."
    );
    describe_counter!(
        "weir_cluster_gossip_dropped_total",
        Unit::Count,
        "Gossip messages that were not sent or not read, by reason; gossip repeats itself."
    );
    describe_gauge!("weir_cluster_gossip_connections", Unit::Count, "Open gossip connections.");
}
