//! What is counted by address: connections, half-open ones, and how fast they come.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use super::rate::Bucket;
use super::{Refused, none_is_zero};
use crate::config;

/// Addresses whose rate is remembered. Idle ones go first; when that many are busy at once, all are
/// forgiven, and the rate of the node holds the line.
const RATES_MAX: usize = 64 << 10;
/// Remembered addresses below which nobody looks for idle ones.
const RATES_KEPT: usize = 1024;

/// Who counts as one: an IPv4 address, or an IPv6 /64, which is what one customer gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    V4([u8; 4]),
    V6([u8; 8]),
}

#[derive(Debug)]
pub(super) struct Addresses {
    connections_max: usize,
    half_open_max: usize,
    /// A new one for each address.
    rate: Option<Bucket>,
    /// Addresses with a connection: never more than there are connections.
    present: HashMap<Key, Counts>,
    /// At most [`RATES_MAX`].
    rates: HashMap<Key, Bucket>,
    /// The number of rates at which idle ones are looked for.
    sweep_at: usize,
}

#[derive(Debug, Default)]
struct Counts {
    connections: usize,
    half_open: usize,
}

impl Key {
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl Addresses {
    pub fn new(config: &config::Limits) -> Self {
        Self {
            connections_max: none_is_zero(config.connections_per_address_max),
            half_open_max: none_is_zero(config.half_open_per_address_max),
            rate: Bucket::per_second(config.connects_per_second_per_address),
            present: HashMap::new(),
            rates: HashMap::new(),
            sweep_at: RATES_KEPT,
        }
    }

    pub fn has_limits(&self) -> bool {
        self.rate.is_some() || self.connections_max.min(self.half_open_max) < usize::MAX
    }

    /// Counts one half-open connection more.
    pub fn connect(&mut self, key: Key, now: Instant) -> Result<(), Refused> {
        if !self.is_slow_enough(key, now) {
            return Err(Refused::RateAddress);
        }
        let (connections, half_open) =
            self.present.get(&key).map_or((0, 0), |counts| (counts.connections, counts.half_open));
        if connections >= self.connections_max {
            return Err(Refused::Address);
        }
        if half_open >= self.half_open_max {
            return Err(Refused::HalfOpenAddress);
        }
        let counts = self.present.entry(key).or_default();
        counts.connections += 1;
        counts.half_open += 1;
        Ok(())
    }

    pub fn half_open_ended(&mut self, key: Option<Key>) {
        if let Some(counts) = key.and_then(|key| self.present.get_mut(&key)) {
            counts.half_open -= 1;
        }
    }

    pub fn connection_ended(&mut self, key: Option<Key>) {
        let Some(key) = key else { return };
        if let Some(counts) = self.present.get_mut(&key) {
            counts.connections -= 1;
            if counts.connections == 0 {
                self.present.remove(&key);
            }
        }
    }

    fn is_slow_enough(&mut self, key: Key, now: Instant) -> bool {
        let Some(full) = self.rate else { return true };
        if self.rates.len() >= self.sweep_at && !self.rates.contains_key(&key) {
            self.forget_idle(now);
        }
        self.rates.entry(key).or_insert(full).take(now)
    }

    fn forget_idle(&mut self, now: Instant) {
        self.rates.retain(|_, bucket| !bucket.is_full(now));
        if self.rates.len() >= RATES_MAX {
            self.rates.clear();
        }
        self.sweep_at = (self.rates.len() * 2).clamp(RATES_KEPT, RATES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;
    use std::time::Duration;

    use super::*;

    fn key(number: u32) -> Key {
        Key::V4(number.to_be_bytes())
    }

    fn one_per_second() -> Addresses {
        Addresses::new(&config::Limits { connects_per_second_per_address: 1, ..config::Limits::default() })
    }

    #[test]
    fn an_ipv6_address_counts_for_its_64_bits_and_a_mapped_one_for_its_ipv4() {
        let key = |text: &str| Key::of(text.parse().expect("an address"));
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }

    #[test]
    fn idle_addresses_are_forgotten_and_busy_ones_are_not() {
        let (mut addresses, start) = (one_per_second(), Instant::now());
        for number in 0..RATES_KEPT as u32 {
            addresses.connect(key(number), start).expect("its first");
        }
        let later = start + Duration::from_secs(2);
        addresses.connect(key(1_000_000), later).expect("its first");
        assert_eq!(addresses.rates.len(), 1);
        assert_eq!(addresses.connect(key(1_000_000), later), Err(Refused::RateAddress));
    }

    #[test]
    fn remembered_addresses_are_bounded_however_many_come_at_once() {
        let (mut addresses, now) = (one_per_second(), Instant::now());
        for number in 0..(RATES_MAX as u64 * 3) {
            let address = Ipv6Addr::from(u128::from(number) << 64);
            addresses.connect(Key::of(address.into()), now).expect("its first");
            addresses.connection_ended(Some(Key::of(address.into())));
            assert!(addresses.rates.len() <= RATES_MAX);
        }
        assert!(addresses.present.is_empty());
    }
}
