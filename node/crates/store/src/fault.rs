//! Fault points: named places where a kill test lets the process die.
//!
//! With the feature `faults`, `WEIR_FAULT="log.after_write:3"` aborts the process when that point is
//! reached the third time. Without the feature a point costs nothing.

/// Every point, in the order in which a group commit and a checkpoint pass them.
pub const POINTS: &[&str] = &[
    "segment.after_create",
    "log.before_write",
    "log.torn_write",
    "log.after_write",
    "log.after_sync",
    "mark.after_write",
    "mark.after_sync",
    "tables.after_apply",
    "answer.before",
    "checkpoint.before_flush",
    "checkpoint.in_flush",
    "checkpoint.after_flush",
    "segment.after_delete",
];

/// Dies here if told so.
pub(crate) fn reach(point: &'static str) {
    if is_told(point) {
        std::process::abort();
    }
}

/// Whether to die now at this point: for points that leave something half done first.
pub(crate) fn is_told(point: &'static str) -> bool {
    debug_assert!(POINTS.contains(&point), "an unlisted fault point");
    is_named(point)
}

/// Dies at a point of a crate above this one, which lists its own, if told so.
pub fn reach_above(point: &'static str) {
    if is_named(point) {
        std::process::abort();
    }
}

#[cfg(feature = "faults")]
fn is_named(point: &'static str) -> bool {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static TOLD: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static REACHED: AtomicU64 = AtomicU64::new(0);
    let told = TOLD.get_or_init(|| {
        let text = std::env::var("WEIR_FAULT").ok()?;
        let (point, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((point.to_owned(), count.parse().ok()?))
    });
    match told {
        Some((name, count)) if name == point => REACHED.fetch_add(1, Ordering::Relaxed) + 1 == *count,
        _ => false,
    }
}

#[cfg(not(feature = "faults"))]
fn is_named(_point: &'static str) -> bool {
    false
}
