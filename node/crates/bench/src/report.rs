//! What was measured, for people and for programs.

pub(crate) mod text;

use serde::Serialize;

use crate::compare::Comparison;
use crate::figures::Figures;
use crate::generator::Histogram;

/// Above this share a run is not a result: what a broker does not deliver it does cheaply.
pub const LOST_PERCENT_MAX: f64 = 0.1;

/// The outcome of `weir bench`. `Display` gives the text, serde the JSON.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Report {
    Load(Box<LoadReport>),
    Compare(Comparison),
    Figures(Figures),
}

/// One scenario against one broker.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// `p2p`, `fanout`, ...
    pub scenario: &'static str,
    /// All addresses, with commas between them.
    pub url: String,
    /// What was asked for, in words.
    pub settings: String,
    pub runs: Vec<Measurement>,
    /// Field by field, of the runs that are results, or of all if most are not.
    pub median: Measurement,
}

/// One run. What a scenario does not measure is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Measurement {
    /// Measured, without warm-up and drain.
    pub seconds: f64,
    /// Of the whole run, warm-up and drain included: messages written.
    pub published: u64,
    /// Of the whole run: QoS 1 and 2 messages acknowledged without refusal.
    pub acknowledged: u64,
    /// Of the whole run.
    pub delivered: u64,
    /// Owed (published, not refused, times its receivers) and not delivered.
    pub lost: u64,
    pub lost_percent: f64,
    /// Acknowledged with a reason code of 0x80 and above.
    pub refused: u64,
    /// Connections that ended before the run did.
    pub disconnected: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_per_second: Option<f64>,
    /// In `durable`, where nobody receives: acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_per_second: Option<f64>,
    /// From when a message was due to when it was read; in `connect`, until CONNACK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// CPU time of the broker for each message delivered (or connection made), in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_cpu_us_per_message: Option<f64>,
    /// The same of the generator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator_cpu_us_per_message: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_messages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_bytes: Option<u64>,
    pub connections: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_bytes_per_connection: Option<f64>,
    /// False for a run that lost more than [`LOST_PERCENT_MAX`] or a connection, or moved nothing.
    pub is_result: bool,
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub longest_us: f64,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram) -> Option<Latency> {
        if histogram.is_empty() {
            return None;
        }
        let at = |share| histogram.quantile(share).as_secs_f64() * 1e6;
        let longest_us = histogram.longest().as_secs_f64() * 1e6;
        Some(Latency { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999), longest_us })
    }
}

impl Measurement {
    /// Fills in what was lost of `expected` deliveries, and so whether this is a result.
    pub(crate) fn with_expected(mut self, expected: u64) -> Measurement {
        self.lost = expected.saturating_sub(self.delivered);
        self.lost_percent = 100.0 * self.lost as f64 / expected.max(1) as f64;
        self.is_result = expected > 0 && self.lost_percent <= LOST_PERCENT_MAX && self.disconnected == 0;
        self
    }
}

impl LoadReport {
    /// A report of `runs`, of which there is at least one.
    pub(crate) fn new(
        scenario: &'static str,
        url: String,
        settings: String,
        runs: Vec<Measurement>,
    ) -> LoadReport {
        let median = median(&runs);
        LoadReport { scenario, url, settings, runs, median }
    }
}

/// The medians, field by field. Runs that are not results are left out unless most of them are not.
pub(crate) fn median(runs: &[Measurement]) -> Measurement {
    let good: Vec<&Measurement> = runs.iter().filter(|run| run.is_result).collect();
    let is_result = good.len() * 2 > runs.len();
    let chosen = if is_result { good } else { runs.iter().collect() };
    let number = |field: fn(&Measurement) -> f64| middle(chosen.iter().map(|run| field(run)));
    let count = |field: fn(&Measurement) -> u64| {
        let mut values: Vec<u64> = chosen.iter().map(|run| field(run)).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    };
    let maybe = |field: fn(&Measurement) -> Option<f64>| {
        let values: Vec<f64> = chosen.iter().filter_map(|run| field(run)).collect();
        (!values.is_empty()).then(|| middle(values.into_iter()))
    };
    let latency = maybe(|run| run.latency.map(|l| l.p50_us)).map(|p50_us| Latency {
        p50_us,
        p99_us: maybe(|run| run.latency.map(|l| l.p99_us)).unwrap_or_default(),
        p999_us: maybe(|run| run.latency.map(|l| l.p999_us)).unwrap_or_default(),
        longest_us: maybe(|run| run.latency.map(|l| l.longest_us)).unwrap_or_default(),
    });
    Measurement {
        seconds: number(|run| run.seconds),
        published: count(|run| run.published),
        acknowledged: count(|run| run.acknowledged),
        delivered: count(|run| run.delivered),
        lost: count(|run| run.lost),
        lost_percent: number(|run| run.lost_percent),
        refused: count(|run| run.refused),
        disconnected: count(|run| run.disconnected),
        published_per_second: maybe(|run| run.published_per_second),
        delivered_per_second: maybe(|run| run.delivered_per_second),
        connections_per_second: maybe(|run| run.connections_per_second),
        latency,
        server_cpu_us_per_message: maybe(|run| run.server_cpu_us_per_message),
        generator_cpu_us_per_message: maybe(|run| run.generator_cpu_us_per_message),
        write_messages: chosen.first().and_then(|run| run.write_messages),
        write_bytes: chosen.first().and_then(|run| run.write_bytes),
        connections: count(|run| run.connections),
        rss_bytes_per_connection: maybe(|run| run.rss_bytes_per_connection),
        is_result,
    }
}

/// The middle one; of an even number, the mean of the two in the middle.
pub(crate) fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        len if len % 2 == 1 => values[len / 2],
        len => (values[len / 2 - 1] + values[len / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rate: f64, is_result: bool) -> Measurement {
        Measurement { delivered_per_second: Some(rate), is_result, ..Measurement::default() }
    }

    #[test]
    fn a_median_leaves_out_runs_that_are_not_results() {
        let found = median(&[run(1.0, true), run(3.0, true), run(2.0, true), run(900.0, false)]);
        assert_eq!((found.delivered_per_second, found.is_result), (Some(2.0), true));
    }

    #[test]
    fn when_most_runs_are_not_results_the_median_is_none_either() {
        let found = median(&[run(1.0, true), run(3.0, false), run(2.0, false)]);
        assert_eq!((found.delivered_per_second, found.is_result), (Some(2.0), false));
    }

    #[test]
    fn a_run_that_loses_more_than_a_thousandth_is_not_a_result() {
        let delivered = |delivered| Measurement { delivered, ..Measurement::default() };
        assert!(delivered(999).with_expected(1000).is_result);
        let lossy = delivered(998).with_expected(1000);
        assert_eq!((lossy.lost, lossy.is_result), (2, false));
        assert!(!delivered(0).with_expected(0).is_result);
        let cut_off = Measurement { disconnected: 1, ..delivered(1000) };
        assert!(!cut_off.with_expected(1000).is_result);
    }

    #[test]
    fn what_was_not_measured_is_absent_from_json() {
        let json = serde_json::to_string(&run(5.0, true)).expect("plain data");
        assert!(json.contains("\"delivered_per_second\":5.0") && !json.contains("rss_bytes"), "{json}");
    }
}
