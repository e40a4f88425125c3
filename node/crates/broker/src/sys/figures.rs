//! The figures on `$SYS`: in the names that MQTT monitors know, and the node's own.

use parking_lot::Mutex;

use crate::broker::Broker;
use crate::clock;
use crate::ledger::Loss;

/// What a moving average covers, in minutes.
const MINUTES: [u32; 3] = [1, 5, 15];

/// What averages are kept of, as named below `broker/load/`.
const LOADS: [&str; 6] =
    ["messages/received", "messages/sent", "bytes/received", "bytes/sent", "publish/dropped", "connections"];

/// What figures need to remember from one publication to the next.
#[derive(Default)]
pub struct Figures(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    /// Most connections at a time.
    connected_max: usize,
    /// When the counters were last looked at, and what they were.
    seen: Option<(u64, [u64; LOADS.len()])>,
    /// Per minute, over each of [`MINUTES`].
    averages: [[f64; MINUTES.len()]; LOADS.len()],
}

impl Memory {
    /// Takes counters in. An average moves towards the rate since the last call as far as the time that
    /// passed is a part of what it covers, as load averages do.
    fn take(&mut self, now_ms: u64, counters: [u64; LOADS.len()]) {
        let Some((then_ms, old)) = self.seen.replace((now_ms, counters)) else { return };
        let minutes = now_ms.saturating_sub(then_ms) as f64 / 60_000.0;
        if minutes <= 0.0 {
            return;
        }
        for ((averages, new), old) in self.averages.iter_mut().zip(counters).zip(old) {
            let rate = new.saturating_sub(old) as f64 / minutes;
            for (average, covered) in averages.iter_mut().zip(MINUTES) {
                let kept = (-minutes / f64::from(covered)).exp();
                *average = *average * kept + rate * (1.0 - kept);
            }
        }
    }
}

/// Every figure now, by its name below `$SYS/`. Looks at every session.
pub fn all(broker: &Broker) -> Vec<(String, String)> {
    let mut figures = Vec::with_capacity(64);
    let mut say = |name: &str, value: String| figures.push((format!("broker/{name}"), value));
    node(broker, &mut say);
    clients(broker, &mut say);
    messages(broker, &mut say);
    loads(broker, &mut say);
    figures
}

/// The node itself, and what it says of its own health.
fn node(broker: &Broker, say: &mut dyn FnMut(&str, String)) {
    say("version", concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned());
    say("uptime", format!("{} seconds", broker.uptime().as_secs()));
    let pressure = broker.pressure();
    say("memory/pressure", pressure.level().as_str().to_owned());
    say("memory/used", pressure.used_bytes().to_string());
    say("memory/max", pressure.bound().bytes.to_string());
    say("ledger/imbalance", broker.balance().imbalance().to_string());
}

fn clients(broker: &Broker, say: &mut dyn FnMut(&str, String)) {
    let (sessions, connected) = broker.sessions().count();
    let maximum = {
        let mut memory = broker.figures().0.lock();
        memory.connected_max = memory.connected_max.max(connected);
        memory.connected_max
    };
    say("clients/connected", connected.to_string());
    say("clients/disconnected", sessions.saturating_sub(connected).to_string());
    say("clients/total", sessions.to_string());
    say("clients/maximum", maximum.to_string());
    say("clients/slow", broker.slow().now().to_string());
    let subscriptions = broker.sessions().subscriptions();
    say("subscriptions/count", subscriptions.all.to_string());
    say("shared_subscriptions/count", subscriptions.shared.to_string());
}

fn messages(broker: &Broker, say: &mut dyn FnMut(&str, String)) {
    let ledger = broker.ledger();
    let retained: usize = broker.realms().iter().map(|realm| realm.retained.len()).sum();
    let [received, sent, bytes_received, bytes_sent, dropped, _] = counters(broker);
    for prefix in ["", "publish/"] {
        say(&format!("{prefix}messages/received"), received.to_string());
        say(&format!("{prefix}messages/sent"), sent.to_string());
        say(&format!("{prefix}bytes/received"), bytes_received.to_string());
        say(&format!("{prefix}bytes/sent"), bytes_sent.to_string());
    }
    say("publish/messages/dropped", dropped.to_string());
    say("messages/stored", ledger.stored.get().to_string());
    say("messages/restored", ledger.restored.get().to_string());
    say("retained messages/count", retained.to_string());
}

fn loads(broker: &Broker, say: &mut dyn FnMut(&str, String)) {
    let mut memory = broker.figures().0.lock();
    memory.take(clock::now_ms(), counters(broker));
    for (name, averages) in LOADS.iter().zip(memory.averages) {
        for (minutes, average) in MINUTES.iter().zip(averages) {
            say(&format!("load/{name}/{minutes}min"), format!("{average:.2}"));
        }
    }
}

/// The counters of [`LOADS`], in that order.
fn counters(broker: &Broker) -> [u64; LOADS.len()] {
    let ledger = broker.ledger();
    [
        ledger.received.get(),
        ledger.delivered.get() + ledger.resent.get(),
        ledger.received_bytes.get(),
        ledger.delivered_bytes.get(),
        Loss::ALL.iter().map(|loss| ledger.dropped(*loss)).sum(),
        broker.sessions().opened(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_what_every_average_comes_to_the_shorter_the_sooner() {
        let mut memory = Memory::default();
        // 10 a second for two minutes.
        for second in (0..=120).step_by(10) {
            memory.take(second * 1000, [second * 10; LOADS.len()]);
        }
        let [one, five, fifteen] = memory.averages[0];
        assert!((500.0..=600.0).contains(&one), "{one}");
        assert!(one > five && five > fifteen && fifteen > 50.0, "{one} {five} {fifteen}");
        for second in (120..=7320).step_by(10) {
            memory.take(second * 1000, [second * 10; LOADS.len()]);
        }
        assert!(memory.averages[0].iter().all(|average| (599.0..=600.1).contains(average)));
    }

    #[test]
    fn a_counter_that_stands_still_lets_its_average_fall() {
        let mut memory = Memory::default();
        memory.take(0, [0; LOADS.len()]);
        memory.take(60_000, [600; LOADS.len()]);
        let before = memory.averages[0][0];
        memory.take(120_000, [600; LOADS.len()]);
        assert!(memory.averages[0][0] < before / 2.0);
    }
}
