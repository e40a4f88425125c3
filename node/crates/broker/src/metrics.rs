//! What this crate measures: a help text and a unit for every metric.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Tells the process's recorder; called once, before anything is measured.
pub fn describe() {
    ledger();
    sessions();
    state();
    peers();
    groups();
    readers();
    bindings();
    conditions();
    crate::calls::describe();
    let help = "Actors and connections' tasks that failed, by kind; actors are started again.";
    describe_counter!("weir_broker_actor_restarts_total", Unit::Count, help);
}

/// Publishes that depend on what their topic retains.
fn conditions() {
    let count = |name: &'static str, help: &'static str| describe_counter!(name, Unit::Count, help);
    count(
        "weir_broker_conditions_total",
        "Publishes with conditions, by what came of it: met at once, waits, not_met, expired, too_many or invalid.",
    );
    count(
        "weir_broker_conditions_decided_again_total",
        "Times a topic had changed while something was decided on it.",
    );
    let gauge = |name: &'static str, help: &'static str| describe_gauge!(name, Unit::Count, help);
    gauge(
        "weir_broker_guards",
        "Topics at which somebody waits, or with a will or an answer that is remembered.",
    );
    gauge("weir_broker_waiters", "Publishes that wait for their condition, of all nodes.");
}

/// Who reads streams alone, and what is tidied up behind readers.
fn readers() {
    let count = |name: &'static str, help: &'static str| describe_counter!(name, Unit::Count, help);
    count(
        "weir_broker_stream_missed_total",
        "Records of streams, at least, that were let go before a reader came to them.",
    );
    count(
        "weir_broker_stream_places_lost_total",
        "Times a session's place in a stream was not what it was told: another has it, or the store has forgotten it.",
    );
    count(
        "weir_broker_stream_generations_dropped_total",
        "Earlier generations of streams that nobody needs any more.",
    );
}

/// Handlers at work.
fn bindings() {
    let count = |name: &'static str, help: &'static str| describe_counter!(name, Unit::Count, help);
    describe_gauge!("weir_broker_bindings", Unit::Count, "Bindings that this node works for.");
    count(
        "weir_broker_binding_calls_total",
        "Calls of handlers, by binding, version and result: done, rejected, retried, trapped, bad_output, forbidden, \
         looped, busy or refused (by middleware).",
    );
    describe_histogram!(
        "weir_broker_binding_call_seconds",
        Unit::Seconds,
        "How long calls of handlers take, by binding and version."
    );
    count(
        "weir_broker_middleware_refused_total",
        "What middleware did not let pass, by hook: connect, authorize, publish or deliver.",
    );
    count("weir_broker_binding_dropped_total", "Messages of live bindings that found the queue full.");
    count(
        "weir_broker_binding_outputs_total",
        "Events of handlers by what became of them: published, refused (and tried again, of a stream), or given_up after \
         that.",
    );
}

/// Consumer groups.
fn groups() {
    let count = |name: &'static str, help: &'static str| describe_counter!(name, Unit::Count, help);
    count(
        "weir_broker_group_events_total",
        "Records lost, dropped or dead_lettered, and times a place went_back, was reacquired or fenced, or a member \
         stalled.",
    );
    count(
        "weir_broker_group_dead_letters_refused_total",
        "Times a dead letter was not kept; it is tried again.",
    );
    let gauge = |name: &'static str, help: &'static str| describe_gauge!(name, Unit::Count, help);
    gauge("weir_broker_group_members", "Members of consumer groups at this node.");
    gauge("weir_broker_groups_served", "Consumer groups that this node has members of.");
}

/// What other nodes have to do with.
fn peers() {
    let count = |name: &'static str, help: &'static str| describe_counter!(name, Unit::Count, help);
    count(
        "weir_broker_admin_notes_malformed_total",
        "Questions and answers of other nodes' administration that could not be read.",
    );
    count("weir_broker_clients_moved_total", "Clients of this node that were told to use one with fewer.");
    count(
        "weir_broker_link_realms_refused_total",
        "Realms that a peer spoke of and that are one too many here.",
    );
    count("weir_broker_link_records_malformed_total", "Runs of records from peers that hold what is none.");
    count(
        "weir_broker_subscribe_barriers_missed_total",
        "Times a node had not confirmed a subscription when it was waited for.",
    );
}

/// The terms of the ledger (`docs/adr/0005-the-ledger.md`).
fn ledger() {
    let count = |name: &'static str, help: &'static str| describe_counter!(name, Unit::Count, help);
    count("weir_broker_messages_received_total", "Messages offered by publishers, and the broker's own.");
    count("weir_broker_messages_accepted_total", "Messages taken.");
    count("weir_broker_messages_refused_total", "Messages not taken, by reason.");
    count(
        "weir_broker_ack_levels_total",
        "Publishes that asked for an acknowledgement level, by what came of it: raised, lowered, same, or why they were \
         refused.",
    );
    count("weir_broker_messages_unmatched_total", "Messages taken that nobody wanted.");
    count("weir_broker_copies_matched_total", "Copies owed to receivers, live ones and queued ones.");
    count("weir_broker_copies_delivered_total", "Copies written to a socket for the first time.");
    count("weir_broker_copies_resent_total", "Copies written again, with DUP.");
    count("weir_broker_copies_stored_total", "Copies put in a queue of the store.");
    count("weir_broker_copies_restored_total", "Copies that left a queue of the store, for whatever reason.");
    count("weir_broker_copies_returned_total", "Shared copies taken back from a member that did not answer.");
    count("weir_broker_copies_linked_total", "Copies given to links to other nodes.");
    count("weir_broker_sessions_taken_over_total", "Connections whose session was opened on another node.");
    count("weir_broker_copies_dropped_total", "Copies lost, by reason.");
    let bytes = |name: &'static str, help: &'static str| describe_counter!(name, Unit::Bytes, help);
    bytes("weir_broker_received_bytes_total", "Payload bytes offered by publishers.");
    bytes("weir_broker_delivered_bytes_total", "Bytes of frames with copies written to sockets.");
    let help = "Messages and copies that are not accounted for; 0 at rest.";
    describe_gauge!("weir_broker_ledger_imbalance_messages", Unit::Count, help);
}

/// What limits did to connections and sessions.
fn sessions() {
    let count = |name: &'static str, help: &'static str| describe_counter!(name, Unit::Count, help);
    count(
        "weir_broker_limited_total",
        "Times a limit made somebody wait or granted less than was asked, by its key.",
    );
    count(
        "weir_broker_repeats_answered_total",
        "Messages that came again under their idempotency key and were only answered.",
    );
    count("weir_broker_sessions_expired_total", "Sessions that ended because nobody came back in time.");
}

/// What is so at the moment.
fn state() {
    let count = |name: &'static str, help: &'static str| describe_gauge!(name, Unit::Count, help);
    count("weir_broker_sessions", "Sessions there are, with a connection or without.");
    count("weir_broker_sessions_connected", "Sessions with a connection.");
    count("weir_broker_copies_waiting", "Copies in outboxes that lie in no store.");
    count("weir_broker_retained_messages", "Retained messages.");
    count("weir_broker_slow_subscribers", "Connections whose outbox is above its high mark.");
    count(
        "weir_broker_memory_pressure_level",
        "Shortage of memory: 0 none, 1 accepts nobody, 2 takes no PUBLISH, 3 sheds QoS 0.",
    );
    let bytes = |name: &'static str, help: &'static str| describe_gauge!(name, Unit::Bytes, help);
    bytes("weir_broker_memory_bytes", "Memory in use, counted as memory_max_bytes is.");
    bytes("weir_broker_memory_max_bytes", "Memory that may be used.");
}
