//! Limits met: how often the gateway's limits made a client wait, or granted less than was asked for.
//!
//! Counted when a wait begins, not while it lasts. Refusals and rates have counts of their own.

use metrics::counter;

/// A limit of the gateway's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Answers wait for a client that takes none: it is read no further.
    AnswerBytes,
    /// A client id that is too long.
    ClientIdBytes,
    /// A keep-alive that is longer than is granted, or none.
    KeepAlive,
}

impl Limit {
    /// Its key in the configuration: the label of the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Limit::AnswerBytes => "answer_bytes_max",
            Limit::ClientIdBytes => "client_id_bytes_max",
            Limit::KeepAlive => "keep_alive_seconds_max",
        }
    }

    /// Counts that it was met.
    pub fn count(self) {
        counter!("weir_gateway_limited_total", "limit" => self.as_str()).increment(1);
    }
}
