//! The pace of one connection: token buckets for what it may send and be sent, and the wait of a
//! publisher while the node is short of memory.
//!
//! A connection has one only where a rate is configured, or as long as it is held. An empty bucket
//! pauses its direction until it holds a twentieth of a second again; nothing is lost by a pause:
//! what comes in waits in the client's socket, what goes out in the outbox by the outbox's rules.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use metrics::counter;
use tokio::time::{Instant, Sleep};
use weir_broker::outbox::Most;

use crate::config::Config;

/// How often a held publisher looks whether there is memory again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Timers have no finer grain.
const WAIT_MIN: Duration = Duration::from_millis(1);

pub struct Pace {
    inward: Way,
    outward: Way,
    /// Since when a PUBLISH waits for memory.
    held_since: Option<Instant>,
    /// Since when a packet is half here while memory is short.
    half_since: Option<Instant>,
    /// Of the connection's tally, what the outward bucket has paid for.
    delivered: u64,
    timer: Pin<Box<Sleep>>,
}

/// One direction of a connection.
struct Way {
    messages: Bucket,
    bytes: Bucket,
}

/// A token bucket that holds what one second brings.
struct Bucket {
    /// 0 = there is no limit.
    per_second: f64,
    tokens: f64,
    filled_at: Instant,
    paused: bool,
    direction: &'static str,
    what: &'static str,
}

impl Pace {
    /// `None` when no rate is configured.
    pub fn of(config: &Config) -> Option<Box<Pace>> {
        let now = Instant::now();
        let way = |direction, messages, bytes| Way {
            messages: Bucket::new(direction, "messages", messages, now),
            bytes: Bucket::new(direction, "bytes", bytes, now),
        };
        let pace = Pace {
            inward: way("in", config.messages_per_second_in_max, config.bytes_per_second_in_max),
            outward: way("out", config.messages_per_second_out_max, config.bytes_per_second_out_max),
            held_since: None,
            half_since: None,
            delivered: 0,
            timer: Box::pin(tokio::time::sleep_until(now)),
        };
        pace.is_configured().then(|| Box::new(pace))
    }

    /// Without rates: for a connection that is held.
    pub fn unlimited() -> Box<Pace> {
        let now = Instant::now();
        let way = |direction| Way {
            messages: Bucket::new(direction, "messages", 0, now),
            bytes: Bucket::new(direction, "bytes", 0, now),
        };
        let timer = Box::pin(tokio::time::sleep_until(now));
        let (inward, outward) = (way("in"), way("out"));
        Box::new(Pace { inward, outward, held_since: None, half_since: None, delivered: 0, timer })
    }

    /// Fills the buckets; the task is woken when a pause may be over.
    pub fn poll(&mut self, cx: &mut Context<'_>) {
        let now = Instant::now();
        self.buckets().for_each(|bucket| bucket.fill(now));
        let paused = self.buckets().filter_map(|bucket| bucket.pause()).min();
        let held = self.waits_for().map(|_| LOOK_AGAIN);
        let Some(wait) = paused.into_iter().chain(held).min() else { return };
        self.timer.as_mut().reset(now + wait.max(WAIT_MIN));
        if self.timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// Whether it is needed no more.
    pub fn is_over(&self) -> bool {
        self.waits_for().is_none() && !self.is_configured()
    }

    /// A PUBLISH waits for memory from now on.
    pub fn hold(&mut self) {
        if self.held_since.is_none() {
            counter!("weir_gateway_held_total").increment(1);
            self.held_since = Some(Instant::now());
        }
    }

    pub fn release(&mut self) {
        self.held_since = None;
    }

    /// A packet is half here, and there is little memory for it; or neither is so any more.
    pub fn half_received(&mut self, half: bool) {
        self.half_since = half.then(|| self.half_since.unwrap_or_else(Instant::now));
    }

    /// For how long it has waited for memory, or a packet for its rest.
    pub fn waits_for(&self) -> Option<Duration> {
        let since = self.held_since.into_iter().chain(self.half_since).min()?;
        Some(since.elapsed())
    }

    /// Whether anything may be taken from the client.
    pub fn may_take(&self) -> bool {
        self.held_since.is_none() && !self.inward.messages.paused && !self.inward.bytes.paused
    }

    /// Bytes that may be read now.
    pub fn read_room(&self) -> usize {
        self.inward.bytes.room()
    }

    pub fn read(&mut self, bytes: usize) {
        self.inward.bytes.take(bytes as u64);
    }

    /// A PUBLISH was taken.
    pub fn took_message(&mut self) {
        self.inward.messages.take(1);
    }

    /// Bytes that may be written now.
    pub fn write_room(&self) -> usize {
        self.outward.bytes.room()
    }

    pub fn wrote(&mut self, bytes: usize) {
        self.outward.bytes.take(bytes as u64);
    }

    /// What may be taken from the outbox now.
    pub fn most(&self) -> Most {
        Most { messages: self.outward.messages.room(), bytes: self.outward.bytes.room() }
    }

    /// How many messages the connection's tally counts as delivered since it was settled.
    pub fn delivered(&mut self, tally: u64) {
        self.outward.messages.take(tally.saturating_sub(self.delivered));
        self.delivered = tally;
    }

    /// The tally begins at 0 again.
    pub fn settled(&mut self) {
        self.delivered = 0;
    }

    fn is_configured(&self) -> bool {
        let ways = [&self.inward, &self.outward];
        ways.iter().any(|way| way.messages.is_limited() || way.bytes.is_limited())
    }

    fn buckets(&mut self) -> impl Iterator<Item = &mut Bucket> {
        let (inward, outward) = (&mut self.inward, &mut self.outward);
        [&mut inward.messages, &mut inward.bytes, &mut outward.messages, &mut outward.bytes].into_iter()
    }
}

impl Bucket {
    fn new(direction: &'static str, what: &'static str, per_second: u64, now: Instant) -> Bucket {
        let per_second = per_second as f64;
        Bucket { per_second, tokens: per_second, filled_at: now, paused: false, direction, what }
    }

    fn is_limited(&self) -> bool {
        self.per_second > 0.0
    }

    /// What it must hold before a pause is over.
    fn enough(&self) -> f64 {
        (self.per_second / 20.0).max(1.0)
    }

    fn fill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.filled_at = now;
        self.tokens = (self.tokens + seconds * self.per_second).min(self.per_second);
        self.paused &= self.tokens < self.enough();
    }

    fn take(&mut self, tokens: u64) {
        if !self.is_limited() || tokens == 0 {
            return;
        }
        self.tokens -= tokens as f64;
        if self.tokens < 1.0 && !self.paused {
            self.paused = true;
            let (direction, what) = (self.direction, self.what);
            counter!("weir_gateway_throttled_total", "direction" => direction, "what" => what).increment(1);
        }
    }

    fn room(&self) -> usize {
        match (self.is_limited(), self.paused) {
            (false, _) => usize::MAX,
            (true, true) => 0,
            (true, false) => self.tokens as usize,
        }
    }

    /// How long its pause still lasts.
    fn pause(&self) -> Option<Duration> {
        let missing = self.enough() - self.tokens;
        self.paused.then(|| Duration::from_secs_f64(missing.max(0.0) / self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(per_second: u64) -> (Bucket, Instant) {
        let now = Instant::now();
        (Bucket::new("in", "messages", per_second, now), now)
    }

    #[test]
    fn a_bucket_gives_one_second_at_once_and_then_its_rate() {
        let (mut bucket, start) = bucket(100);
        assert_eq!(bucket.room(), 100);
        bucket.take(100);
        assert_eq!(bucket.room(), 0);
        assert_eq!(bucket.pause(), Some(Duration::from_millis(50)));
        bucket.fill(start + Duration::from_millis(49));
        assert_eq!(bucket.room(), 0);
        bucket.fill(start + Duration::from_millis(200));
        assert_eq!((bucket.room(), bucket.pause()), (20, None));
        bucket.fill(start + Duration::from_secs(60));
        assert_eq!(bucket.room(), 100);
    }

    #[test]
    fn what_was_taken_beyond_the_bucket_is_paid_back_first() {
        let (mut bucket, start) = bucket(10);
        bucket.take(25);
        assert_eq!(bucket.pause(), Some(Duration::from_millis(1600)));
        bucket.fill(start + Duration::from_millis(1500));
        assert_eq!(bucket.room(), 0);
        bucket.fill(start + Duration::from_millis(1700));
        assert_eq!(bucket.room(), 2);
    }

    #[test]
    fn the_slowest_rate_still_lets_one_through_a_second() {
        let (mut bucket, start) = bucket(1);
        bucket.take(1);
        assert_eq!(bucket.pause(), Some(Duration::from_secs(1)));
        bucket.fill(start + Duration::from_secs(1));
        assert_eq!(bucket.room(), 1);
    }

    #[test]
    fn no_rate_is_no_pause() {
        let (mut bucket, _) = bucket(0);
        bucket.take(u64::MAX);
        assert_eq!((bucket.room(), bucket.pause()), (usize::MAX, None));
    }

    #[tokio::test]
    async fn only_a_connection_with_a_rate_has_a_pace() {
        assert!(Pace::of(&Config::default()).is_none());
        let config = Config { bytes_per_second_out_max: 10, ..Config::default() };
        let pace = Pace::of(&config).expect("a rate is configured");
        assert!(!pace.is_over() && pace.may_take());
        assert_eq!(pace.most(), Most { messages: usize::MAX, bytes: 10 });
    }

    #[tokio::test]
    async fn a_held_connection_takes_nothing_until_it_is_released() {
        let mut pace = Pace::unlimited();
        assert!(pace.is_over());
        pace.hold();
        assert!(!pace.may_take() && !pace.is_over() && pace.waits_for().is_some());
        assert_eq!(pace.write_room(), usize::MAX);
        pace.release();
        assert!(pace.may_take() && pace.is_over());
    }

    #[tokio::test]
    async fn who_has_sent_half_a_packet_is_read_on_and_its_clock_runs() {
        let mut pace = Pace::unlimited();
        pace.half_received(true);
        assert!(pace.may_take() && !pace.is_over() && pace.waits_for().is_some());
        pace.half_received(false);
        assert!(pace.waits_for().is_none() && pace.is_over());
    }

    #[tokio::test]
    async fn each_delivery_is_paid_for_once() {
        let config = Config { messages_per_second_out_max: 10, ..Config::default() };
        let mut pace = Pace::of(&config).expect("a rate is configured");
        pace.delivered(3);
        pace.delivered(3);
        pace.delivered(5);
        pace.settled();
        pace.delivered(1);
        assert_eq!(pace.most().messages, 4);
    }
}
