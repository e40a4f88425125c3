//! When to ping, and when a server that does not answer is given up (MQTT-3.1.2-22).

use std::time::Duration;

use tokio::time::Instant;

/// Pings after three quarters of the keep alive without a write.
pub(super) struct KeepAlive {
    /// `None`: keep alive is off.
    interval: Option<Duration>,
    timeout: Duration,
    /// When the ping went out that has not been answered.
    pinged: Option<Instant>,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tick {
    Nothing,
    Ping,
    /// A ping has not been answered in time.
    Dead,
}

impl KeepAlive {
    pub(super) fn new(seconds: u16, timeout: Duration) -> KeepAlive {
        let interval = (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)) * 3 / 4);
        KeepAlive { interval, timeout, pinged: None }
    }

    pub(super) fn tick(&mut self, now: Instant, last_write: Instant) -> Tick {
        match (self.interval, self.pinged) {
            (Some(_), Some(pinged)) if now >= pinged + self.timeout => Tick::Dead,
            (Some(interval), None) if now >= last_write + interval => {
                self.pinged = Some(now);
                Tick::Ping
            }
            _ => Tick::Nothing,
        }
    }

    /// When [`KeepAlive::tick`] will have something to say.
    pub(super) fn next(&self, last_write: Instant) -> Option<Instant> {
        match (self.interval, self.pinged) {
            (Some(_), Some(pinged)) => Some(pinged + self.timeout),
            (interval, _) => interval.map(|interval| last_write + interval),
        }
    }

    pub(super) fn pong(&mut self) {
        self.pinged = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_connection_pings_once_and_a_silent_server_is_given_up() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut keep_alive = KeepAlive::new(60, Duration::from_secs(10));
        assert_eq!(keep_alive.tick(at(44), start), Tick::Nothing);
        assert_eq!(keep_alive.tick(at(45), start), Tick::Ping);
        assert_eq!(keep_alive.tick(at(54), start), Tick::Nothing);
        assert_eq!(keep_alive.next(start), Some(at(55)));
        assert_eq!(keep_alive.tick(at(55), start), Tick::Dead);
        keep_alive.pong();
        assert_eq!(keep_alive.tick(at(55), at(50)), Tick::Nothing);
    }

    #[test]
    fn a_keep_alive_of_zero_never_pings() {
        let start = Instant::now();
        let mut keep_alive = KeepAlive::new(0, Duration::from_secs(1));
        assert_eq!(keep_alive.tick(start + Duration::from_secs(1_000_000), start), Tick::Nothing);
        assert_eq!(keep_alive.next(start), None);
    }
}
