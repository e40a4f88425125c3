//! What is measured of calls.

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use super::state::Noted;

/// Handles, so that a call costs additions only.
pub(super) struct Meters {
    calls: Counter,
    results: Counter,
    errors: Counter,
    timeouts: Counter,
    progress_dropped: Counter,
    late: Counter,
    unknown: Counter,
    queued: Counter,
    refused: Counter,
    revoked: Counter,
    registrations: Gauge,
    pub realms_refused: Counter,
    pub unsent: Counter,
    pub malformed: Counter,
}

pub(crate) fn describe() {
    for (name, help) in [
        ("weir_broker_calls_total", "Calls of this node's sessions."),
        ("weir_broker_call_answers_total", "Final answers to callers of this node: result or error."),
        ("weir_broker_call_timeouts_total", "Calls that were ended because they took too long."),
        ("weir_broker_call_progress_dropped_total", "Progress for callers that did not take it fast enough."),
        (
            "weir_broker_call_answers_ignored_total",
            "Answers of callees nobody waits for: late, or of an unknown invocation.",
        ),
        ("weir_broker_calls_queued_total", "Calls that waited for a callee below its concurrency limit."),
        (
            "weir_broker_calls_refused_total",
            "Calls that a limit refused: of a session's calls, of a queue, or of all callees.",
        ),
        ("weir_broker_registrations_revoked_total", "Registrations that somebody else has forced out."),
        ("weir_broker_call_realms_refused_total", "Realms with calls that were one too many."),
        ("weir_broker_call_messages_unsent_total", "Messages about calls that found no room in a link."),
        (
            "weir_broker_call_messages_malformed_total",
            "Messages of peers about calls that could not be read.",
        ),
    ] {
        describe_counter!(name, Unit::Count, help);
    }
    describe_gauge!(
        "weir_broker_registrations",
        Unit::Count,
        "Procedures and patterns that are registered and whose home is this node."
    );
}

impl Meters {
    pub fn new() -> Meters {
        Meters {
            calls: counter!("weir_broker_calls_total"),
            results: counter!("weir_broker_call_answers_total", "result" => "result"),
            errors: counter!("weir_broker_call_answers_total", "result" => "error"),
            timeouts: counter!("weir_broker_call_timeouts_total"),
            progress_dropped: counter!("weir_broker_call_progress_dropped_total"),
            late: counter!("weir_broker_call_answers_ignored_total", "reason" => "late"),
            unknown: counter!("weir_broker_call_answers_ignored_total", "reason" => "unknown"),
            queued: counter!("weir_broker_calls_queued_total"),
            refused: counter!("weir_broker_calls_refused_total"),
            revoked: counter!("weir_broker_registrations_revoked_total"),
            registrations: gauge!("weir_broker_registrations"),
            realms_refused: counter!("weir_broker_call_realms_refused_total"),
            unsent: counter!("weir_broker_call_messages_unsent_total"),
            malformed: counter!("weir_broker_call_messages_malformed_total"),
        }
    }

    pub fn note(&self, noted: &[Noted]) {
        for noted in noted {
            match noted {
                Noted::Called => self.calls.increment(1),
                Noted::Answered => self.results.increment(1),
                Noted::Failed => self.errors.increment(1),
                Noted::TimedOut => self.timeouts.increment(1),
                Noted::ProgressDropped => self.progress_dropped.increment(1),
                Noted::LateAnswer => self.late.increment(1),
                Noted::UnknownInvocation => self.unknown.increment(1),
                Noted::Queued => self.queued.increment(1),
                Noted::Refused => self.refused.increment(1),
                Noted::Created => self.registrations.increment(1),
                Noted::Deleted => self.registrations.decrement(1),
                Noted::Revoked => self.revoked.increment(1),
            }
        }
    }
}
