//! What this crate measures: a help text and a unit for every metric, and handles for what is counted per call.

use metrics::{Counter, Unit, counter, describe_counter, describe_gauge, describe_histogram};

use crate::outcome::{Failure, Trap};

/// Tells the process's recorder; called once, before anything is measured.
pub fn describe() {
    describe_counter!("weir_runtime_calls_total", Unit::Count, "Calls of handlers, by result.");
    describe_counter!("weir_runtime_traps_total", Unit::Count, "Calls that broke off, by kind of trap.");
    describe_counter!("weir_runtime_refused_total", Unit::Count, "Uploads that were not taken, by reason.");
    describe_counter!(
        "weir_runtime_cache_total",
        Unit::Count,
        "Looks into the directory of compiled handlers, by result: hit, miss or damaged."
    );
    describe_counter!(
        "weir_runtime_cache_write_failures_total",
        Unit::Count,
        "Compiled handlers that could not be kept on disk."
    );
    describe_histogram!("weir_runtime_compile_seconds", Unit::Seconds, "Time that compiling an upload took.");
    describe_gauge!("weir_runtime_instances", Unit::Count, "Instances that are alive, by class.");
    describe_gauge!("weir_runtime_memory_bytes", Unit::Bytes, "Memory that instances have asked for.");
}

/// Counters that every call touches, looked up once.
pub(crate) struct Calls {
    ok: Counter,
    rejected: Counter,
    retry: Counter,
    trapped: Counter,
    too_much_output: Counter,
    bad_output: Counter,
    busy: Counter,
    traps: [Counter; Trap::ALL.len()],
}

impl Calls {
    pub fn new() -> Calls {
        let calls = |result: &'static str| counter!("weir_runtime_calls_total", "result" => result);
        Calls {
            ok: calls("ok"),
            rejected: calls("rejected"),
            retry: calls("retry"),
            trapped: calls("trapped"),
            too_much_output: calls("too_much_output"),
            bad_output: calls("bad_output"),
            busy: calls("busy"),
            traps: Trap::ALL.map(|kind| counter!("weir_runtime_traps_total", "kind" => kind.as_str())),
        }
    }

    pub fn count<T>(&self, result: &Result<T, Failure>) {
        let counter = match result {
            Ok(_) => &self.ok,
            Err(Failure::Rejected(_)) => &self.rejected,
            Err(Failure::Retry(_)) => &self.retry,
            Err(Failure::TooMuchOutput { .. }) => &self.too_much_output,
            Err(Failure::BadOutput(_)) => &self.bad_output,
            Err(Failure::Busy) => &self.busy,
            Err(Failure::Trapped { kind, .. }) => {
                self.traps[*kind as usize].increment(1);
                &self.trapped
            }
        };
        counter.increment(1);
    }
}
