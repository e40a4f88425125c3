//! What this crate measures: a help text and a unit for every metric.

use metrics::{Unit, describe_counter, describe_gauge};

/// Tells the process's recorder; called once, before anything is measured.
pub fn describe() {
    describe_counter!(
        "weir_access_authentications_total",
        Unit::Count,
        "Credentials looked at, by the authenticator that knew them and how it went."
    );
    describe_counter!(
        "weir_access_reloads_total",
        Unit::Count,
        "Times that policy, keys, accounts or revocation lists were read, the first time too."
    );
    describe_counter!(
        "weir_access_reload_failures_total",
        Unit::Count,
        "Times that they could not be read, and stayed as they were."
    );
    describe_gauge!(
        "weir_access_loaded_timestamp_seconds",
        Unit::Seconds,
        "When they were last read well, in seconds since 1970."
    );
}
