//! The canary: a lie that a test tells the store to tell once, to see that its checker notices.
//!
//! With the feature `faults`, `WEIR_CANARY` names one of [`LIES`]. Without it no lie is told.

use weir_model::Qos;

/// Every lie, by what a client would see of it.
pub const LIES: &[&str] = &["drop-acknowledged", "double-qos2", "reorder"];

/// Whether this copy is answered as taken over and goes nowhere.
pub(crate) fn drops() -> bool {
    tells("drop-acknowledged")
}

/// Whether this copy is put in its queue twice.
pub(crate) fn doubles(qos: Qos) -> bool {
    qos == Qos::ExactlyOnce && tells("double-qos2")
}

/// Lets one message overtake the one before it on its topic.
#[cfg(feature = "faults")]
pub(crate) fn reorder(jobs: &mut [crate::embedded::Job]) {
    let pair = jobs.iter().enumerate().find_map(|(index, job)| {
        let topic = job.topic()?;
        let behind = jobs[index + 1..].iter().position(|later| later.topic() == Some(topic))?;
        Some((index, index + 1 + behind))
    });
    if let Some((earlier, later)) = pair
        && tells("reorder")
    {
        jobs.swap(earlier, later);
    }
}

#[cfg(not(feature = "faults"))]
pub(crate) fn reorder(_jobs: &mut [crate::embedded::Job]) {}

/// True exactly once for the lie that was asked for: late enough that there is traffic around it.
#[cfg(feature = "faults")]
fn tells(lie: &'static str) -> bool {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Occasions that pass before the lie.
    const PATIENCE: u64 = 20;

    debug_assert!(LIES.contains(&lie), "an unlisted lie");
    static TOLD: OnceLock<Option<String>> = OnceLock::new();
    static OCCASIONS: AtomicU64 = AtomicU64::new(0);
    let told = TOLD.get_or_init(|| std::env::var("WEIR_CANARY").ok());
    told.as_deref() == Some(lie) && OCCASIONS.fetch_add(1, Ordering::Relaxed) == PATIENCE
}

#[cfg(not(feature = "faults"))]
fn tells(_lie: &'static str) -> bool {
    false
}
