//! What this crate measures: a help text and a unit for every metric.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Tells the process's recorder; called once, before anything is measured.
pub fn describe() {
    describe_counter!("weir_store_commits_total", Unit::Count, "Group commits.");
    describe_counter!("weir_store_commit_records_total", Unit::Count, "Steps in group commits.");
    describe_histogram!("weir_store_commit_seconds", Unit::Seconds, "Time a group commit took.");
    describe_counter!(
        "weir_store_queue_dropped_total",
        Unit::Count,
        "Oldest messages that full queues let go for new ones."
    );
    describe_counter!("weir_store_refused_total", Unit::Count, "Steps the store refused, by reason.");
    for (name, help) in [
        ("weir_store_queue_added_total", "Messages put in queues."),
        (
            "weir_store_queue_acknowledged_total",
            "Messages taken out of queues: delivered, expired or moved to another queue.",
        ),
        ("weir_store_queue_ended_total", "Messages in queues that went with their session."),
        ("weir_store_queue_not_taken_total", "Messages that full queues did not take."),
    ] {
        describe_counter!(name, Unit::Count, help);
    }
    for (name, unit, help) in [
        ("weir_store_queued_messages", Unit::Count, "Messages in the queues of all sessions and groups."),
        ("weir_store_queued_bytes", Unit::Bytes, "Bytes of the messages in queues."),
        ("weir_store_delayed_messages", Unit::Count, "Messages that wait for their delay."),
        ("weir_store_delayed_bytes", Unit::Bytes, "Bytes of the messages that wait for their delay."),
        ("weir_store_retained_messages", Unit::Count, "Retained messages."),
        ("weir_store_retained_bytes", Unit::Bytes, "Bytes of the retained messages."),
    ] {
        describe_gauge!(name, unit, help);
    }
}
