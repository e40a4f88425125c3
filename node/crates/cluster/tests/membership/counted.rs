//! The counters of this process, so that a test can wait until something was counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

#[derive(Clone, Default)]
struct Counters(Arc<Mutex<HashMap<String, Arc<AtomicU64>>>>);

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Counter::from_arc(self.0.lock().expect("counters").entry(name).or_default().clone())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

static COUNTERS: OnceLock<Counters> = OnceLock::new();

/// Begins to count; before anything that is to be counted.
pub fn install() {
    COUNTERS.get_or_init(|| {
        let counters = Counters::default();
        // Another test of this process may have been first.
        let _ = metrics::set_global_recorder(counters.clone());
        counters
    });
}

/// What `name{label=value}` has counted.
pub fn count(name: &str) -> u64 {
    let counters = COUNTERS.get().expect("installed").0.lock().expect("counters");
    counters.get(name).map_or(0, |counter| counter.load(Ordering::Relaxed))
}

/// Waits until `name{label=value}` has counted more than `before`.
pub fn wait_for_more(name: &str, before: u64) {
    let begun = std::time::Instant::now();
    while count(name) <= before {
        assert!(begun.elapsed() < Duration::from_secs(60), "{name} stays at {before}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
