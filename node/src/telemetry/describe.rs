//! Help texts and units of all metrics, for whoever reads `/metrics`.

use metrics::{Unit, describe_counter, describe_gauge};

/// Tells the process's recorder what every crate measures.
pub fn describe() {
    weir_net::metrics::describe();
    weir_store::metrics::describe();
    weir_cluster::metrics::describe();
    weir_access::metrics::describe();
    weir_runtime::metrics::describe();
    weir_broker::metrics::describe();
    weir_gateway::metrics::describe();
    weir_admin::metrics::describe();
    describe_gauge!(
        "weir_node_ready",
        Unit::Count,
        "1 while clients may be sent here, as /health/ready says."
    );
    describe_gauge!(
        "weir_node_degraded",
        Unit::Count,
        "1 while the node serves with less than it should have."
    );
    describe_gauge!(
        "weir_node_missing",
        Unit::Count,
        "What is missing for the node to be all well: its store, nodes that are lost, links to live nodes."
    );
    describe_counter!(
        "weir_node_audit_suppressed_total",
        Unit::Count,
        "Audit events left out: too many in a second, or the file's disk was too slow."
    );
    describe_counter!(
        "weir_node_audit_write_failures_total",
        Unit::Count,
        "Audit events that could not be written to the file."
    );
}
