//! Figures of a node, for `weir top`: what the ledger and the census say, rates, and quantiles out of histograms.

use std::collections::BTreeMap;

use weir_broker::clock;
use weir_broker::ledger::Loss;

use super::Shared;
use crate::proto::{Latency, SlowSubscriber, WatchStatsResponse};

/// What the set before said.
#[derive(Default)]
pub struct Stats(Option<(u64, [u64; 3])>);

impl Stats {
    /// One set; looks at every session with a connection.
    pub fn look(&mut self, shared: &Shared, slow_max: usize) -> WatchStatsResponse {
        let broker = &shared.broker;
        let (ledger, now_ms) = (broker.ledger(), clock::now_ms());
        let text = shared.machine.metrics();
        let census = broker.sessions().census();
        let dropped = Loss::ALL.iter().map(|loss| ledger.dropped(*loss)).sum();
        let totals = [ledger.received.get(), ledger.delivered.get() + ledger.resent.get(), dropped];
        let before = self.0.replace((now_ms, totals));
        let rate = |at: usize| {
            let (then_ms, old) = before.unwrap_or((now_ms, totals));
            let seconds = now_ms.saturating_sub(then_ms) as f64 / 1000.0;
            if seconds > 0.0 { totals[at].saturating_sub(old[at]) as f64 / seconds } else { 0.0 }
        };
        let slow = broker.slow().peek(slow_max).subscribers.into_iter().map(|slow| SlowSubscriber {
            client_id: slow.client.to_string(),
            waiting_bytes: slow.waiting_bytes as u64,
            above_high_seconds: slow.above_high_seconds,
            dropped: slow.dropped,
        });
        let (resident_bytes, cpu_seconds) = process();
        WatchStatsResponse {
            unix_ms: clock::unix().0,
            node_id: shared.machine.name().to_owned(),
            uptime_ms: u64::try_from(broker.uptime().as_millis()).unwrap_or(u64::MAX),
            sessions: census.sessions as u64,
            connected: census.connected as u64,
            messages_in: totals[0],
            copies_out: totals[1],
            copies_dropped: totals[2],
            copies_waiting: census.waiting,
            retained: broker.realms().iter().map(|realm| realm.retained.len() as u64).sum(),
            messages_in_per_second: rate(0),
            copies_out_per_second: rate(1),
            copies_dropped_per_second: rate(2),
            resident_bytes,
            cpu_seconds,
            latencies: latencies(&text),
            slow: slow.collect(),
        }
    }
}

/// Memory and CPU of this process, as proc(5) says them in pages and ticks.
fn process() -> (u64, f64) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let resident = read("status").lines().find_map(|line| {
        let kib: u64 = line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    });
    let stat = read("stat");
    // The name before it may hold anything, parentheses too. Fields 14 and 15 are user and system time, in hundredths.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    (resident.unwrap_or(0), ticks as f64 / 100.0)
}

/// Every histogram in seconds of the Prometheus text, all its series taken together.
fn latencies(text: &str) -> Vec<Latency> {
    let mut histograms: BTreeMap<&str, Vec<(f64, u64)>> = BTreeMap::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once("_seconds_bucket{") else { continue };
        let Some((labels, count)) = rest.rsplit_once("} ") else { continue };
        let bound = labels.split(',').find_map(|label| label.strip_prefix("le=\"")?.strip_suffix('"'));
        let Some(bound) = bound.and_then(|bound| bound.parse::<f64>().ok()) else { continue };
        let Ok(count) = count.trim().parse::<u64>() else { continue };
        let buckets = histograms.entry(name).or_default();
        match buckets.iter_mut().find(|(known, _)| *known == bound) {
            Some((_, sum)) => *sum += count,
            None => buckets.push((bound, count)),
        }
    }
    let told = histograms.into_iter().map(|(name, mut buckets)| {
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let count = buckets.last().map_or(0, |(_, count)| *count);
        let (p50_seconds, p99_seconds) = (quantile(&buckets, 0.5), quantile(&buckets, 0.99));
        Latency { name: name.to_owned(), count, p50_seconds, p99_seconds }
    });
    told.filter(|latency| latency.count > 0).collect()
}

/// As Prometheus does it: evenly spread within a bucket; above the last bound, that bound.
fn quantile(buckets: &[(f64, u64)], part: f64) -> f64 {
    let Some((_, total)) = buckets.last() else { return 0.0 };
    let rank = part * *total as f64;
    let (mut low, mut below) = (0.0, 0);
    for (bound, count) in buckets {
        if *count as f64 >= rank && *count > below {
            if bound.is_infinite() {
                return low;
            }
            return low + (bound - low) * (rank - below as f64) / (count - below) as f64;
        }
        (low, below) = (*bound, *count);
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_come_out_of_buckets_of_all_series() {
        let text = "\
# TYPE weir_store_commit_seconds histogram
weir_store_commit_seconds_bucket{shard=\"a\",le=\"0.001\"} 50
weir_store_commit_seconds_bucket{shard=\"a\",le=\"0.01\"} 99
weir_store_commit_seconds_bucket{shard=\"a\",le=\"+Inf\"} 100
weir_store_commit_seconds_bucket{shard=\"b\",le=\"0.001\"} 50
weir_store_commit_seconds_bucket{shard=\"b\",le=\"0.01\"} 99
weir_store_commit_seconds_bucket{shard=\"b\",le=\"+Inf\"} 100
weir_other_total 3
";
        let told = latencies(text);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].name.as_str(), told[0].count), ("weir_store_commit", 200));
        assert!((told[0].p50_seconds - 0.001).abs() < 1e-9, "{told:?}");
        assert!((told[0].p99_seconds - 0.01).abs() < 1e-9, "{told:?}");
    }

    #[test]
    fn what_is_above_all_bounds_is_at_least_the_last_one() {
        assert!((quantile(&[(0.1, 0), (f64::INFINITY, 10)], 0.5) - 0.1).abs() < 1e-9);
        assert!(quantile(&[], 0.5) == 0.0);
    }

    #[test]
    fn the_process_has_memory() {
        assert!(process().0 > 0);
    }
}
