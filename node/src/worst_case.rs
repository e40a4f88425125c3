//! The memory a configuration allows in the worst case, term by term: what all clients together could
//! make the node hold at one moment.
//!
//! Nobody reaches it in ordinary use. It says which limit to lower when the memory must suffice for
//! the worst; where it does not, the levels of `broker.memory_*` hold the line.

use weir_broker::pressure::meter::{Bound, By};
use weir_cluster::StoreKind;
use weir_model::topic::TOPIC_BYTES_MAX;

use crate::config::Config;

/// A client's task, session and socket, as measured for idle clients, with room to spare.
const CONNECTION_BYTES: u64 = 8 << 10;
/// Buffers and keys of one TLS session.
const TLS_BYTES: u64 = 48 << 10;
/// What a filter costs in the tables of routes beside its text, for each of its levels.
const LEVEL_BYTES: u64 = 160;
/// Frames a connection has taken from its outbox and is writing.
const WRITING_BYTES: u64 = 256 << 10;
/// Both tables of clients that flap and of addresses that guess.
const TABLES_BYTES: u64 = 16 << 20;
/// The store's cache of its tables.
const STORE_CACHE_BYTES: u64 = 64 << 20;
/// Where the system sets no limit of open files, as many connections are reckoned with.
const CONNECTIONS_UNLIMITED: u64 = 1 << 20;

/// One thing that takes memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    pub what: &'static str,
    /// The keys that bound it.
    pub keys: &'static str,
    pub bytes: u64,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorstCase {
    pub connections: u64,
    /// Largest first.
    pub terms: Vec<Term>,
}

impl WorstCase {
    /// `open_files`: the limit of the process, `None` = unlimited.
    #[must_use]
    pub fn of(config: &Config, open_files: Option<u64>) -> Self {
        let connections = connections(config, open_files);
        let each = |what, keys, bytes: u64| Term { what, keys, bytes: bytes.saturating_mul(connections) };
        let mut terms = vec![
            each("connections", "net.limits.connections_max", connection_bytes(config)),
            each("packets half received", "gateway.packet_bytes_max", config.gateway.packet_bytes_max as u64),
            each("outboxes", "broker.outbox_bytes_max, gateway.answer_bytes_max", outbox_bytes(config)),
            each(
                "publishes that wait for their commit",
                "broker.commits_waiting_bytes_max",
                config.broker.commits_waiting_bytes_max as u64,
            ),
            each(
                "subscriptions",
                "broker.subscriptions_max, broker.topic_levels_max",
                subscription_bytes(config),
            ),
            each(
                "topic aliases",
                "gateway.topic_alias_max, gateway.topic_alias_send_max",
                u64::from(config.gateway.topic_alias_max) * TOPIC_BYTES_MAX as u64
                    + u64::from(config.gateway.topic_alias_send_max) * TOPIC_BYTES_MAX as u64,
            ),
            half_open(config, connections),
            Term { what: "tables of limits", keys: "", bytes: TABLES_BYTES },
        ];
        terms.extend(store_terms(config));
        terms.extend(links(config));
        terms.sort_by_key(|term| std::cmp::Reverse(term.bytes));
        Self { connections, terms }
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.terms.iter().fold(0, |sum, term| sum.saturating_add(term.bytes))
    }

    /// The `n` largest terms in words.
    #[must_use]
    pub fn largest(&self, n: usize) -> String {
        let said = self.terms.iter().take(n).map(|term| match term.keys {
            "" => format!("{} {}", human(term.bytes), term.what),
            keys => format!("{} {} ({keys})", human(term.bytes), term.what),
        });
        said.collect::<Vec<_>>().join(", ")
    }

    /// One line in the log; a warning when what was set apart for the node is less. That a whole machine
    /// has less is so with most limits, and no news.
    pub fn report(&self, config: &Config) {
        let (bound, worst) = (Bound::of(&config.broker), human(self.bytes()));
        let (available, by, largest) = (human(bound.bytes), bound.by.as_str(), self.largest(3));
        let connections = self.connections;
        if self.bytes() > bound.bytes && !matches!(bound.by, By::Machine) {
            tracing::warn!(
                worst_case = %worst, %available, by, connections, %largest,
                "the limits allow clients more memory than there is: before it is gone the node stops accepting, then reading"
            );
        } else {
            tracing::info!(worst_case = %worst, %available, by, connections, %largest, "memory");
        }
    }
}

/// As many as are let in: each is an open file.
fn connections(config: &Config, open_files: Option<u64>) -> u64 {
    match config.net.limits.connections_max as u64 {
        0 => open_files.unwrap_or(CONNECTIONS_UNLIMITED),
        max => max,
    }
}

/// Their CONNECT, beside what they may hold later.
fn half_open(config: &Config, connections: u64) -> Term {
    let count = match config.net.limits.half_open_max as u64 {
        0 => connections,
        max => max.min(connections),
    };
    let bytes = count.saturating_mul(config.gateway.connect_bytes_max as u64);
    Term { what: "half-open connections", keys: "net.limits.half_open_max, gateway.connect_bytes_max", bytes }
}

fn connection_bytes(config: &Config) -> u64 {
    let listen = &config.listen;
    let is_open = |address: crate::config::ListenAddr| address.socket().is_some();
    let tls =
        if is_open(listen.mqtts) || is_open(listen.https) || is_open(listen.wamps) { TLS_BYTES } else { 0 };
    let quic = &config.net.quic;
    let windows = u64::from(quic.receive_window_bytes) + u64::from(quic.send_window_bytes);
    CONNECTION_BYTES + tls + if is_open(listen.quic) { windows } else { 0 }
}

/// Encoded frames, copies that want a number, what is being written, and answers.
fn outbox_bytes(config: &Config) -> u64 {
    2 * config.broker.outbox_bytes_max as u64 + WRITING_BYTES + 2 * config.gateway.answer_bytes_max as u64
}

fn subscription_bytes(config: &Config) -> u64 {
    let filter = TOPIC_BYTES_MAX as u64 * 2 + config.broker.topic_levels_max as u64 * LEVEL_BYTES;
    (config.broker.subscriptions_max as u64).saturating_mul(filter)
}

/// What waits for other nodes, as many as this one is told to join; each link has four streams for messages.
fn links(config: &Config) -> Option<Term> {
    config.peer_address()?;
    let link = &config.cluster.link;
    let each = 4 * (link.frames_bytes_max as u64).saturating_add(link.held_bytes_max as u64);
    let bytes = each.saturating_mul(config.cluster.join.len().max(1) as u64);
    Some(Term {
        what: "links to peers",
        keys: "cluster.link.frames_bytes_max, cluster.link.held_bytes_max",
        bytes,
    })
}

fn store_terms(config: &Config) -> Vec<Term> {
    let store = &config.store;
    let unlimited = |bytes: u64| if bytes == 0 { u64::MAX } else { bytes };
    let mut terms = vec![
        Term {
            what: "messages on their way into the store",
            keys: "store.intake_bytes_max",
            bytes: store.intake_bytes_max as u64,
        },
        Term {
            what: "retained messages",
            keys: "store.retained_bytes_max",
            bytes: unlimited(store.retained_bytes_max),
        },
    ];
    match config.store_kind() {
        StoreKind::Memory => {
            let bytes = unlimited(store.queued_bytes_total_max);
            terms.push(Term { what: "queues", keys: "store.queued_bytes_total_max", bytes });
        }
        StoreKind::Embedded => {
            // Two overlays, each at most twice the log's size at which writers wait.
            let overlays = store.log_bytes_max.saturating_mul(4);
            let bytes = overlays.saturating_add(STORE_CACHE_BYTES);
            terms.push(Term { what: "rows of the store in memory", keys: "store.log_bytes_max", bytes });
        }
        // Queues lie there, not here.
        StoreKind::Redis => {}
    }
    terms
}

/// A size with a unit, short.
#[must_use]
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{size:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_case_is_the_sum_of_its_terms_largest_first() {
        let worst = WorstCase::of(&Config::default(), Some(1000));
        assert_eq!(worst.connections, 1000);
        assert!(worst.terms.is_sorted_by(|a, b| a.bytes >= b.bytes));
        assert_eq!(worst.bytes(), worst.terms.iter().map(|term| term.bytes).sum::<u64>());
    }

    #[test]
    fn a_lower_limit_lowers_its_term_and_no_other() {
        let term = |config: &Config, what: &str| {
            let terms = WorstCase::of(config, Some(1000)).terms;
            terms.into_iter().find(|term| term.what == what).expect("a term").bytes
        };
        let (small, mut large) = (Config::default(), Config::default());
        large.gateway.packet_bytes_max = 256 << 20;
        assert_eq!(term(&large, "packets half received"), 1000 * (256 << 20));
        assert!(term(&small, "packets half received") < term(&large, "packets half received"));
        assert_eq!(term(&small, "outboxes"), term(&large, "outboxes"));
    }

    #[test]
    fn fewer_connections_are_allowed_less() {
        let (all, mut few) = (Config::default(), Config::default());
        few.net.limits.connections_max = 10;
        let worst = WorstCase::of(&few, Some(1000));
        assert_eq!(worst.connections, 10);
        assert!(worst.bytes() < WorstCase::of(&all, Some(1000)).bytes() / 50);
    }

    #[test]
    fn no_configuration_overflows_it() {
        let mut config = Config::default();
        config.broker.subscriptions_max = usize::MAX;
        config.store.log_bytes_max = u64::MAX;
        assert_eq!(WorstCase::of(&config, None).bytes(), u64::MAX);
    }

    #[test]
    fn sizes_are_said_in_their_unit() {
        assert_eq!(
            (human(17), human(1536), human(3 << 30)),
            ("17 B".into(), "1.5 KiB".into(), "3.0 GiB".into())
        );
    }
}
