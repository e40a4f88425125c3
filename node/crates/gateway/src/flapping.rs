//! Clients that come and go too often, and addresses that guess credentials: held off for a while.
//!
//! Both keep one small entry per client or address, by a hash with a key of this process, in a table
//! of two periods: what was not seen in the last one is forgotten, and so is the older period when
//! the table is full. Memory is bounded; whoever fills the table is at worst forgotten early.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap};
use metrics::counter;
use parking_lot::Mutex;
use weir_broker::clock;
use weir_model::Reason;
use weir_net::proxy::Trusted;

use crate::config::Config;

/// Entries of one period; beyond, a new period begins.
const ENTRIES_MAX: usize = 64 << 10;

/// Holds off a client that connects again and again. Asked after authentication only, so that nobody
/// can hold off somebody else.
pub struct Flapping {
    hasher: DefaultHashBuilder,
    connects_max: u32,
    hold_ms: u64,
    recent: Mutex<Recent>,
}

impl Flapping {
    pub fn new(config: &Config) -> Flapping {
        let (window_ms, hold_ms) =
            (config.flapping_window_seconds * 1000, config.flapping_hold_seconds * 1000);
        Flapping {
            hasher: DefaultHashBuilder::default(),
            connects_max: config.flapping_connects_max,
            hold_ms,
            recent: Mutex::new(Recent::new(window_ms, hold_ms)),
        }
    }

    /// Counts a connect of a client that has proved who it is.
    ///
    /// # Errors
    /// [`Reason::Quota`] while it is held off.
    pub fn admit(&self, client_id: &Arc<str>, user: Option<&Arc<str>>) -> Result<(), Reason> {
        self.admit_at(self.hasher.hash_one((user, client_id)), clock::now_ms())
    }

    fn admit_at(&self, client: u64, now_ms: u64) -> Result<(), Reason> {
        if self.connects_max == 0 {
            return Ok(());
        }
        let mut recent = self.recent.lock();
        let entry = recent.entry(client, now_ms);
        if entry.held_until_ms <= now_ms {
            entry.count += 1;
            if entry.count <= self.connects_max {
                return Ok(());
            }
            *entry = Entry { since_ms: now_ms, count: 0, held_until_ms: now_ms + self.hold_ms };
        }
        counter!("weir_gateway_flapping_total").increment(1);
        Err(Reason::Quota)
    }
}

/// Refuses addresses with too many failed authentications before any hash is computed for them.
pub struct Failures {
    hasher: DefaultHashBuilder,
    failures_max: u32,
    trusted: Trusted,
    recent: Mutex<Recent>,
}

impl Failures {
    /// `trusted`: proxies, behind whose addresses anybody may be.
    pub fn new(config: &Config, trusted: Trusted) -> Failures {
        Failures {
            hasher: DefaultHashBuilder::default(),
            failures_max: config.auth_failures_max,
            trusted,
            recent: Mutex::new(Recent::new(config.auth_failures_window_seconds * 1000, 0)),
        }
    }

    /// Whether credentials from this address are looked at.
    ///
    /// # Errors
    /// [`Reason::Quota`] after too many that failed.
    pub fn admit(&self, address: IpAddr) -> Result<(), Reason> {
        self.admit_at(self.key(address), clock::now_ms())
    }

    fn admit_at(&self, address: u64, now_ms: u64) -> Result<(), Reason> {
        if self.failures_max == 0 {
            return Ok(());
        }
        let failures = self.recent.lock().peek(address, now_ms);
        if failures <= self.failures_max {
            return Ok(());
        }
        counter!("weir_gateway_auth_throttled_total").increment(1);
        Err(Reason::Quota)
    }

    /// Credentials from this address were wrong.
    pub fn failed(&self, address: IpAddr) {
        if !self.trusted.contains(address) {
            self.failed_at(self.key(address), clock::now_ms());
        }
    }

    fn failed_at(&self, address: u64, now_ms: u64) {
        if self.failures_max > 0 {
            let mut recent = self.recent.lock();
            let entry = recent.entry(address, now_ms);
            entry.count = entry.count.saturating_add(1);
        }
    }

    /// Somebody with one IPv6 address has its whole /64.
    fn key(&self, address: IpAddr) -> u64 {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.hasher.hash_one((4, v4.to_bits() as u64)),
            IpAddr::V6(v6) => self.hasher.hash_one((6, (v6.to_bits() >> 64) as u64)),
        }
    }
}

/// What is known of one client or address.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// Where its present window begins.
    since_ms: u64,
    count: u32,
    held_until_ms: u64,
}

/// The present period and the one before.
struct Recent {
    window_ms: u64,
    period_ms: u64,
    since_ms: u64,
    now: HashMap<u64, Entry>,
    before: HashMap<u64, Entry>,
}

impl Recent {
    fn new(window_ms: u64, hold_ms: u64) -> Recent {
        let period_ms = window_ms.max(hold_ms);
        Recent { window_ms, period_ms, since_ms: 0, now: HashMap::new(), before: HashMap::new() }
    }

    /// The entry in its present window, made when there is none.
    fn entry(&mut self, key: u64, now_ms: u64) -> &mut Entry {
        if now_ms.saturating_sub(self.since_ms) >= self.period_ms || self.now.len() >= ENTRIES_MAX {
            let over = now_ms.saturating_sub(self.since_ms) >= 2 * self.period_ms;
            self.before = std::mem::take(&mut self.now);
            self.before.retain(|_, _| !over);
            self.since_ms = now_ms;
        }
        let before = &mut self.before;
        let fresh = Entry { since_ms: now_ms, ..Entry::default() };
        let entry = self.now.entry(key).or_insert_with(|| before.remove(&key).unwrap_or(fresh));
        if now_ms.saturating_sub(entry.since_ms) >= self.window_ms {
            (entry.since_ms, entry.count) = (now_ms, 0);
        }
        entry
    }

    /// The count of the present window.
    fn peek(&self, key: u64, now_ms: u64) -> u32 {
        let entry = self.now.get(&key).or_else(|| self.before.get(&key));
        entry.filter(|entry| now_ms.saturating_sub(entry.since_ms) < self.window_ms).map_or(0, |e| e.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            flapping_connects_max: 3,
            flapping_window_seconds: 10,
            flapping_hold_seconds: 30,
            auth_failures_max: 2,
            auth_failures_window_seconds: 60,
            ..Config::default()
        }
    }

    #[test]
    fn a_client_that_connects_too_often_is_held_off_and_let_in_again_afterwards() {
        let flapping = Flapping::new(&config());
        let admitted = |at_s: u64| flapping.admit_at(7, at_s * 1000).is_ok();
        assert!(admitted(1) && admitted(2) && admitted(3));
        assert!(!admitted(4) && !admitted(5) && !admitted(33));
        assert!(admitted(34) && admitted(35));
    }

    #[test]
    fn slow_returns_are_no_flapping() {
        let flapping = Flapping::new(&config());
        for at_s in (1..200).step_by(5) {
            assert!(flapping.admit_at(7, at_s * 1000).is_ok(), "at {at_s} s");
        }
    }

    #[test]
    fn one_client_that_is_held_off_holds_off_no_other() {
        let flapping = Flapping::new(&config());
        let (name, user): (Arc<str>, Arc<str>) = ("c".into(), "u".into());
        while flapping.admit(&name, Some(&user)).is_ok() {}
        assert_eq!(flapping.admit(&name, Some(&user)), Err(Reason::Quota));
        assert_eq!(flapping.admit(&name, None), Ok(()));
        assert_eq!(flapping.admit(&"d".into(), Some(&user)), Ok(()));
    }

    #[test]
    fn a_limit_of_0_holds_nobody_off() {
        let config = Config { flapping_connects_max: 0, auth_failures_max: 0, ..config() };
        let (flapping, failures) = (Flapping::new(&config), Failures::new(&config, Trusted::default()));
        for _ in 0..100 {
            assert!(flapping.admit_at(7, 1).is_ok());
            failures.failed_at(7, 1);
            assert!(failures.admit_at(7, 1).is_ok());
        }
    }

    #[test]
    fn an_address_that_guesses_is_refused_until_its_window_is_over() {
        let failures = Failures::new(&config(), Trusted::default());
        for at_s in 1..=3 {
            assert!(failures.admit_at(9, at_s * 1000).is_ok());
            failures.failed_at(9, at_s * 1000);
        }
        assert_eq!(failures.admit_at(9, 4000), Err(Reason::Quota));
        assert_eq!(failures.admit_at(9, 60_999), Err(Reason::Quota));
        assert!(failures.admit_at(9, 61_000).is_ok());
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_address() {
        let failures = Failures::new(&config(), Trusted::default());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for last in 1..=3 {
            failures.failed(address(&format!("2001:db8::{last}")));
        }
        assert_eq!(failures.admit(address("2001:db8::ffff:1")), Err(Reason::Quota));
        assert!(failures.admit(address("2001:db8:0:1::1")).is_ok());
        for _ in 0..3 {
            failures.failed(address("192.0.2.1"));
        }
        assert_eq!(failures.admit(address("::ffff:192.0.2.1")), Err(Reason::Quota));
        assert!(failures.admit(address("192.0.2.2")).is_ok());
    }

    #[test]
    fn a_trusted_proxy_is_never_refused_for_those_behind_it() {
        let proxies = Trusted::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let failures = Failures::new(&config(), proxies);
        let proxy: IpAddr = "10.1.2.3".parse().unwrap();
        for _ in 0..10 {
            failures.failed(proxy);
        }
        assert!(failures.admit(proxy).is_ok());
    }

    #[test]
    fn the_table_is_bounded_whoever_fills_it() {
        let flapping = Flapping::new(&config());
        for client in 0..4 * ENTRIES_MAX as u64 {
            let _ = flapping.admit_at(client, 1);
        }
        let recent = flapping.recent.lock();
        assert!(recent.now.len() <= ENTRIES_MAX && recent.before.len() <= ENTRIES_MAX);
    }
}
