//! `weir top`: rates, latencies and slow subscribers of a node, live.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use anyhow::anyhow;
use serde_json::{Value, json};
use weir_admin::proto::{WatchStatsRequest, WatchStatsResponse};

use super::Failure;
use super::admin::{Server, block_on, refused, say, say_json, text};

/// Home, and everything below it cleared.
const CLEAR: &str = "\x1b[H\x1b[J";

/// What `weir top` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    interval: f64,
    /// Slow subscribers named.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    slow: u32,
    /// Look for one interval, print, and end.
    #[arg(long)]
    once: bool,
    /// Print one JSON object a look.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Shows what the node says until ctrl-C.
pub fn run(args: &Args) -> Result<(), Failure> {
    if !(0.1..=60.0).contains(&args.interval) {
        return Err(Failure::Usage("--interval is 0.1 to 60 seconds".to_owned()));
    }
    block_on(async {
        let interval_ms = (args.interval * 1000.0) as u32;
        let request = WatchStatsRequest { interval_ms, slow_max: args.slow };
        let stats = args.server.connect_without_end().await?.watch().stats(request).await;
        let mut stats = stats.map_err(refused)?.into_inner();
        let is_screen = std::io::stdout().is_terminal() && !args.json && !args.once;
        let mut looks = 0_u64;
        while let Some(set) = stats.message().await.map_err(refused)? {
            looks += 1;
            // The first has no rates yet.
            if args.once && looks == 1 {
                continue;
            }
            match args.json {
                true => say_json(&in_json(&set))?,
                false if is_screen => say(&format!("{CLEAR}{}", screen(&set)))?,
                false => say(&screen(&set))?,
            }
            if args.once {
                return Ok(());
            }
        }
        Err(Failure::Failed(anyhow!("the node has ended")))
    })
}

fn screen(set: &WatchStatsResponse) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{}  up {}  memory {}  cpu {:.1} s",
        text(&set.node_id),
        humantime::format_duration(std::time::Duration::from_secs(set.uptime_ms / 1000)),
        bytes(set.resident_bytes),
        set.cpu_seconds,
    );
    let _ = writeln!(
        out,
        "sessions {}  connected {}  retained {}  copies waiting {}",
        set.sessions, set.connected, set.retained, set.copies_waiting
    );
    let _ = writeln!(out, "\n{:<16}{:>14}{:>18}", "", "per second", "since the start");
    for (name, rate, total) in [
        ("messages in", set.messages_in_per_second, set.messages_in),
        ("copies out", set.copies_out_per_second, set.copies_out),
        ("copies lost", set.copies_dropped_per_second, set.copies_dropped),
    ] {
        let _ = writeln!(out, "{name:<16}{rate:>14.1}{total:>18}");
    }
    if !set.latencies.is_empty() {
        let _ = writeln!(out, "\n{:<44}{:>12}{:>12}{:>12}", "latency", "count", "p50", "p99");
    }
    for latency in &set.latencies {
        let (p50, p99) = (seconds(latency.p50_seconds), seconds(latency.p99_seconds));
        let _ = writeln!(out, "{:<44}{:>12}{p50:>12}{p99:>12}", latency.name, latency.count);
    }
    if !set.slow.is_empty() {
        let _ = writeln!(
            out,
            "\n{:<40}{:>12}{:>16}{:>12}",
            "slow subscriber", "waiting", "above high", "dropped"
        );
    }
    for slow in &set.slow {
        let (name, waiting) = (text(&slow.client_id), bytes(slow.waiting_bytes));
        let short: String = name.chars().take(38).collect();
        let above = format!("{:.1} s", slow.above_high_seconds);
        let _ = writeln!(out, "{short:<40}{waiting:>12}{above:>16}{:>12}", slow.dropped);
    }
    out
}

fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", count as f64 / 1_073_741_824.0),
    }
}

fn seconds(time: f64) -> String {
    match time {
        ..0.001 => format!("{:.0} us", time * 1e6),
        ..1.0 => format!("{:.2} ms", time * 1e3),
        _ => format!("{time:.2} s"),
    }
}

fn in_json(set: &WatchStatsResponse) -> Value {
    let latency = |one: &weir_admin::proto::Latency| {
        json!({
            "name": one.name, "count": one.count, "p50_seconds": one.p50_seconds, "p99_seconds": one.p99_seconds,
        })
    };
    let slow = |one: &weir_admin::proto::SlowSubscriber| {
        json!({
            "client_id": one.client_id, "waiting_bytes": one.waiting_bytes,
            "above_high_seconds": one.above_high_seconds, "dropped": one.dropped,
        })
    };
    json!({
        "unix_ms": set.unix_ms,
        "node_id": set.node_id,
        "uptime_ms": set.uptime_ms,
        "sessions": set.sessions,
        "connected": set.connected,
        "messages_in": set.messages_in,
        "copies_out": set.copies_out,
        "copies_dropped": set.copies_dropped,
        "copies_waiting": set.copies_waiting,
        "retained": set.retained,
        "messages_in_per_second": set.messages_in_per_second,
        "copies_out_per_second": set.copies_out_per_second,
        "copies_dropped_per_second": set.copies_dropped_per_second,
        "resident_bytes": set.resident_bytes,
        "cpu_seconds": set.cpu_seconds,
        "latencies": set.latencies.iter().map(latency).collect::<Vec<_>>(),
        "slow": set.slow.iter().map(slow).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_told_in_the_unit_that_fits() {
        assert_eq!((bytes(1000), bytes(3 << 20)), ("1000 B".to_owned(), "3.0 MiB".to_owned()));
        assert_eq!((seconds(0.000_25), seconds(0.0125)), ("250 us".to_owned(), "12.50 ms".to_owned()));
    }
}
