//! Measures the embedded store: raw group commits, and enqueues through the contract.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use weir_store::suite::{client, enqueue, message, open, resuming, step};
use weir_store::{Config, Level, SessionOp, Step, raw_append_rate};

fn main() {
    let dir = tempfile::tempdir_in(std::env::args().nth(1).unwrap_or_else(|| ".".to_owned())).unwrap();
    for batch in [4096] {
        let rate =
            raw_append_rate(&dir.path().join(batch.to_string()), Level::Fsynced, batch, 200, 3.0).unwrap();
        println!("raw fsynced, groups of {batch}: {rate:.0} records/s");
    }
    for url in ["embedded"] {
        for acked in [false, true] {
            enqueues(url, &dir.path().join(format!("{url}{acked}")), acked);
        }
    }
}

/// CPU seconds used so far by each thread whose name begins with `weir-`.
fn cpu() -> Vec<(String, f64)> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path.join("stat")).unwrap_or_default();
    let stats = tasks.map(|task| read(task.unwrap().path()));
    let parse = |stat: String| {
        let (name, rest) = stat.split_once('(')?.1.split_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = fields[11].parse::<f64>().ok()? + fields[12].parse::<f64>().ok()?;
        Some((name.to_owned(), ticks / 100.0))
    };
    stats.filter_map(parse).filter(|(name, _)| name.starts_with("weir-")).collect()
}

fn enqueues(url: &str, dir: &std::path::Path, acked: bool) {
    let config = Config {
        url: url.to_owned(),
        queue_messages_max: 1_000_000,
        queue_bytes_max: 1 << 30,
        ..Config::default()
    };
    let (store, _) = weir_store::open(&config, dir).unwrap();
    let keys: Vec<_> = (0..100).map(|n| client(&format!("c{n}"))).collect();
    let fences: Vec<_> = keys.iter().map(|key| open(&*store, key, resuming()).fence).collect();
    let (begun, answered) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let (mut sent, mut submit_time, mut submits) = (0u64, Duration::ZERO, 0u64);
    while begun.elapsed() < Duration::from_secs(4) {
        while sent - answered.load(Ordering::Acquire) > 20_000 {
            std::thread::sleep(Duration::from_micros(100));
        }
        let mut steps: Vec<Step> = Vec::with_capacity(32);
        for n in 0..16 {
            let place = ((sent + n) % 100) as usize;
            steps.push(step(&keys[place], [enqueue(fences[place].generation, message("x", 200))]));
            if acked {
                let number = ((sent + n) / 100).saturating_sub(5);
                steps.push(step(&keys[place], [SessionOp::Ack { fence: fences[place], number }]));
            }
        }
        sent += 16;
        let answered = answered.clone();
        let before = Instant::now();
        store.submit(
            steps,
            Box::new(move |answer| {
                assert!(answer.iter().all(Result::is_ok));
                answered.fetch_add(16, Ordering::Release);
            }),
        );
        submit_time += before.elapsed();
        submits += 1;
    }
    while answered.load(Ordering::Acquire) < sent {
        std::thread::sleep(Duration::from_millis(1));
    }
    for (name, seconds) in cpu() {
        println!("  {name}: {:.2} us CPU per enqueue", seconds / sent as f64 * 1e6);
    }
    let rate = sent as f64 / begun.elapsed().as_secs_f64();
    let rss = std::fs::read_to_string("/proc/self/statm").unwrap();
    let rss = rss.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4 / 1024;
    println!(
        "{url}, acked {acked}: {rate:.0} enqueues/s, submit {} ns, rss {rss} MiB",
        submit_time.as_nanos() as u64 / submits
    );
}
