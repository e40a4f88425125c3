//! What this crate measures: a help text and a unit for every metric.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Tells the process's recorder; called once, before anything is measured.
pub fn describe() {
    describe_counter!("weir_store_commits_total", Unit::Count, "Group commits.");
    describe_counter!("weir_store_commit_records_total", Unit::Count, "Steps in group commits.");
    describe_histogram!("weir_store_commit_seconds", Unit::Seconds, "Time a group commit took.");
    describe_counter!("weir_store_syncs_total", Unit::Count, "Times the commit log was synced to the disk.");
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
        ("weir_store_stream_appended_total", "Records appended to partitions of streams."),
        (
            "weir_store_stream_trimmed_total",
            "Records let go by the bounds of their stream, or by whoever trimmed it.",
        ),
        ("weir_store_stream_compacted_total", "Records that a newer one with the same key took away."),
        ("weir_store_stream_ended_total", "Records that went with their partition."),
        ("weir_store_limited_total", "Times a limit of the store was reached, by limit."),
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
        ("weir_store_stream_records", Unit::Count, "Records in all partitions of streams."),
        ("weir_store_stream_bytes", Unit::Bytes, "Bytes of the records in partitions of streams."),
        ("weir_store_idempotency_keys", Unit::Count, "Idempotency keys that are remembered."),
    ] {
        describe_gauge!(name, unit, help);
    }
    describe_redis();
}

fn describe_redis() {
    for (name, help) in [
        ("weir_store_redis_errors_total", "Errors that Redis servers and connections answered, by kind."),
        (
            "weir_store_redis_batches_lost_total",
            "Acknowledged batches that a server does not know any more: it went back.",
        ),
        (
            "weir_store_redis_witnesses_refused_total",
            "Marks of what a node was acknowledged that another node could not read.",
        ),
        (
            "weir_store_redis_batches_taken_back_total",
            "Batches that were under way when the node's lease ended, and were never applied.",
        ),
        (
            "weir_store_redis_batches_repeated_total",
            "Batches that were asked for again and had been applied before.",
        ),
        (
            "weir_store_redis_rollbacks_total",
            "Shards whose epoch this node raised because acknowledged batches were gone.",
        ),
        (
            "weir_store_redis_rollback_replayed_total",
            "Steps that a rollback had undone and that were applied again.",
        ),
        (
            "weir_store_redis_rollback_lost_total",
            "What a rollback has undone for good, by kind: steps, or batches of which nothing is kept here.",
        ),
        (
            "weir_store_redis_raises_missed_total",
            "Answers asked for at a higher level that was not reached in time: their outcome is unknown.",
        ),
        ("weir_store_redis_connects_total", "Connections made to primaries."),
        (
            "weir_store_redis_connections_lost_total",
            "Connections that broke, timed out or led to no primary.",
        ),
        ("weir_store_redis_failovers_total", "Primaries that another server took the place of."),
        (
            "weir_store_redis_level_unproved_total",
            "Times a primary did not prove the level of acknowledgements, or not any more.",
        ),
        ("weir_store_redis_changes_heard_total", "Entries of the streams of changes that were heard."),
        ("weir_store_redis_mirror_loads_total", "Shards that were read as a whole."),
        ("weir_store_redis_mirror_gaps_total", "Shards of which changes were missed."),
        ("weir_store_redis_unreadable_total", "Rows and changes that cannot be read and were left out."),
        ("weir_store_redis_lease_deaf_total", "Renewals that were left out because the mirror was behind."),
        ("weir_store_redis_lease_lapses_total", "Times the lease was over before it was renewed."),
        ("weir_store_redis_lease_ended_total", "Leases that are over for good."),
    ] {
        describe_counter!(name, Unit::Count, help);
    }
    describe_histogram!(
        "weir_store_redis_caught_up_seconds",
        Unit::Seconds,
        "Time until the mirror had heard all that was there when it asked: how far it is behind."
    );
    for (name, help) in [
        ("weir_store_redis_memory_bytes", "Bytes of memory that all primaries use."),
        ("weir_store_redis_memory_max_bytes", "Bytes of memory that all primaries may use; 0 = no limit."),
    ] {
        describe_gauge!(name, Unit::Bytes, help);
    }
}
