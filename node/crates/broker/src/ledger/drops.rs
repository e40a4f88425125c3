//! Drops: losses gathered for the `$SYS/drops` stream while somebody watches it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use serde::Serialize;

use super::Loss;

/// Where the stream is published.
pub const TOPIC: &str = "$SYS/drops";

/// Clients whose losses are told apart at a time; beyond, losses are gathered by reason alone.
const CLIENTS_MAX: usize = 256;

/// One event of the stream: copies lost for one reason, by one client as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dropped {
    pub reason: &'static str,
    /// Copies.
    pub count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Arc<str>>,
    /// The topic of one of them, or of what took their place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<Box<str>>,
}

type Pending = HashMap<(Loss, Option<Arc<str>>), Dropped>;

/// What was lost and not yet told; empty while nobody watches.
#[derive(Default)]
pub struct Drops {
    watched: AtomicBool,
    pending: Mutex<Pending>,
}

impl Drops {
    /// Whether somebody watches from now on.
    pub fn watch(&self, watched: bool) {
        if self.watched.swap(watched, Ordering::Relaxed) && !watched {
            *self.pending.lock() = Pending::default();
        }
    }

    /// Gathers a loss. What is lost of `$SYS` itself is not told, or a slow watcher would never be
    /// told anything else.
    pub fn note(&self, loss: Loss, copies: u64, client: Option<&Arc<str>>, topic: Option<&str>) {
        if !self.watched.load(Ordering::Relaxed) || topic.is_some_and(|topic| topic.starts_with("$SYS/")) {
            return;
        }
        let mut pending = self.pending.lock();
        let mut key = (loss, client.cloned());
        if pending.len() >= CLIENTS_MAX && !pending.contains_key(&key) {
            key.1 = None;
        }
        let client = key.1.clone();
        let entry = pending.entry(key).or_insert_with(|| Dropped {
            reason: loss.as_str(),
            count: 0,
            client,
            topic: topic.map(Box::from),
        });
        entry.count += copies;
    }

    /// Takes up to `max` events, those of most copies first.
    pub fn take(&self, max: usize) -> Vec<Dropped> {
        let mut pending = self.pending.lock();
        if max == 0 || pending.is_empty() {
            return Vec::new();
        }
        let mut all: Vec<_> = std::mem::take(&mut *pending).into_iter().collect();
        all.sort_by_key(|(_, dropped)| std::cmp::Reverse(dropped.count));
        pending.extend(all.split_off(max.min(all.len())));
        all.into_iter().map(|(_, dropped)| dropped).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> Drops {
        let drops = Drops::default();
        drops.watch(true);
        drops
    }

    #[test]
    fn losses_of_one_client_for_one_reason_are_one_event() {
        let (drops, client) = (watched(), Arc::from("c"));
        for copies in [1, 2, 3] {
            drops.note(Loss::OutboxFull, copies, Some(&client), Some("a/b"));
        }
        drops.note(Loss::Expired, 1, Some(&client), Some("a/c"));
        let events = drops.take(10);
        assert_eq!(
            events.iter().map(|e| (e.reason, e.count)).collect::<Vec<_>>(),
            [("outbox_full", 6), ("expired", 1)]
        );
        assert_eq!(
            serde_json::to_string(&events[0]).unwrap(),
            r#"{"reason":"outbox_full","count":6,"client":"c","topic":"a/b"}"#
        );
        assert!(drops.take(10).is_empty());
    }

    #[test]
    fn what_is_not_taken_goes_on_gathering() {
        let drops = watched();
        drops.note(Loss::OutboxFull, 5, None, None);
        drops.note(Loss::Expired, 1, None, None);
        assert_eq!(drops.take(1)[0].reason, "outbox_full");
        drops.note(Loss::Expired, 2, None, None);
        assert_eq!(drops.take(1)[0].count, 3);
    }

    #[test]
    fn any_number_of_clients_takes_bounded_memory_and_no_loss_is_left_out() {
        let drops = watched();
        for n in 0..10 * CLIENTS_MAX {
            drops.note(Loss::Offline, 1, Some(&Arc::from(n.to_string())), Some("t"));
        }
        let events = drops.take(usize::MAX);
        assert!(events.len() <= CLIENTS_MAX + Loss::ALL.len(), "{}", events.len());
        assert_eq!(events.iter().map(|e| e.count).sum::<u64>(), 10 * CLIENTS_MAX as u64);
    }

    #[test]
    fn nothing_is_gathered_while_nobody_watches_or_of_sys_itself() {
        let drops = Drops::default();
        drops.note(Loss::OutboxFull, 1, None, None);
        drops.watch(true);
        drops.note(Loss::OutboxFull, 1, None, Some("$SYS/drops"));
        assert!(drops.take(10).is_empty());
    }
}
