//! The timers actor: moves the coarse clock and the keep-alive wheels, looks after memory, asks the
//! store what is due, and publishes `$SYS`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use weir_store::{Due, Step, TopicOp};

use crate::broker::Broker;
use crate::clock;
use crate::pressure::{self, Level};
use crate::supervisor::{ChildSpec, Slot};
use crate::sys;

/// The coarse clock's step.
const TICK: Duration = Duration::from_millis(100);

/// The store is asked for due timers every so many ticks.
const DUE_TICKS: u64 = 2;

/// One that other nodes share as well, and ask as often, after so many when nothing was due.
const DUE_TICKS_SHARED: u64 = 5;

/// Timers taken up at once; more follow in the next round.
const DUE_MAX: usize = 1024;

pub struct TimersActor;

pub enum TimersMsg {
    Tick,
    Panic,
}

pub struct State {
    broker: Broker,
    ticks: u64,
    ticker: tokio::task::JoinHandle<()>,
    due: Option<tokio::task::JoinHandle<bool>>,
    /// The tick before which the store is not asked again.
    due_from: u64,
    shedding: Option<tokio::task::JoinHandle<()>>,
    saying: Option<tokio::task::JoinHandle<()>>,
    guarding: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for State {
    fn drop(&mut self) {
        self.ticker.abort();
    }
}

impl Actor for TimersActor {
    type Msg = TimersMsg;
    type State = State;
    type Arguments = Broker;

    async fn pre_start(
        &self,
        myself: ActorRef<TimersMsg>,
        broker: Broker,
    ) -> Result<State, ActorProcessingErr> {
        let ticker = tokio::spawn(async move {
            let mut interval = tokio::time::interval(TICK);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                interval.tick().await;
                if myself.send_message(TimersMsg::Tick).is_err() {
                    return;
                }
            }
        });
        Ok(State {
            broker,
            ticks: 0,
            ticker,
            due: None,
            due_from: 0,
            shedding: None,
            saying: None,
            guarding: None,
        })
    }

    async fn handle(
        &self,
        _: ActorRef<TimersMsg>,
        message: TimersMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            TimersMsg::Tick => state.tick(),
            TimersMsg::Panic => panic!("a fault test asked the timers to panic"),
        }
        Ok(())
    }
}

impl State {
    fn tick(&mut self) {
        clock::tick();
        self.ticks += 1;
        self.look_after_memory();
        self.broker.wills().refill(self.ticks);
        self.broker.sessions().tick();
        self.broker.calls().tick(&self.broker);
        if self.ticks.is_multiple_of(10) {
            self.broker.gauge();
        }
        let events = u64::from(self.broker.config().drops_per_second_max);
        sys::drops(&self.broker, in_tenth(events, self.ticks));
        let interval = self.broker.config().sys_interval_seconds;
        if interval > 0 && (self.ticks == 1 || self.ticks.is_multiple_of(interval * 10)) {
            self.say();
        }
        self.look_at_guards();
        self.ask_what_is_due();
    }

    /// One look after the other, beside the ticks.
    fn look_at_guards(&mut self) {
        let is_idle = self.guarding.as_ref().is_none_or(|running| running.is_finished());
        if is_idle && self.broker.guards_want_looking(self.ticks) {
            let broker = self.broker.clone();
            self.guarding = Some(tokio::spawn(async move { broker.look_at_guards().await }));
        }
    }

    fn ask_what_is_due(&mut self) {
        if let Some(asked) = self.due.take_if(|asked| asked.is_finished()) {
            // One that panicked has found something.
            let found = asked.now_or_never().is_none_or(|found| found.unwrap_or(true));
            let pause = if found || !self.broker.store().is_shared() { DUE_TICKS } else { DUE_TICKS_SHARED };
            self.due_from = self.ticks + pause - 1;
        }
        if self.due.is_none() && self.ticks >= self.due_from {
            self.due = Some(tokio::spawn(run_due(self.broker.clone())));
        }
    }

    /// `$SYS` looks at every session: beside the ticks too.
    fn say(&mut self) {
        if self.saying.as_ref().is_none_or(|running| running.is_finished()) {
            let broker = self.broker.clone();
            self.saying = Some(tokio::task::spawn_blocking(move || sys::publish(&broker)));
        }
    }

    /// Looking through all outboxes takes its time: beside the ticks, one round after the other.
    fn look_after_memory(&mut self) {
        let level = self.broker.pressure().sample();
        if level > Level::Normal {
            self.broker.pressure().give_back();
        }
        let idle = self.shedding.as_ref().is_none_or(|running| running.is_finished());
        if level > Level::Normal && idle {
            let broker = self.broker.clone();
            self.shedding = Some(tokio::task::spawn_blocking(move || pressure::shed(&broker, level)));
        }
    }
}

/// How many of `per_second` fall to this tick: whole ones, and as many in ten ticks.
pub(crate) fn in_tenth(per_second: u64, ticks: u64) -> usize {
    let tenth = ticks % 10;
    (per_second * (tenth + 1) / 10 - per_second * tenth / 10) as usize
}

/// Deals with everything due; what fails is due again in the next round. Returns whether something was.
async fn run_due(broker: Broker) -> bool {
    let due = match broker.store().due(clock::unix(), DUE_MAX).await {
        Ok(due) => due,
        Err(error) => {
            tracing::warn!(%error, "timers cannot be read");
            return true;
        }
    };
    let found = !due.is_empty();
    let mut orphans = Vec::new();
    for timer in due {
        match timer {
            Due::Will { key, fence } => broker.sessions().fire_will(&key, fence).await,
            Due::Expiry { key, fence } => broker.sessions().expire(&key, fence).await,
            Due::Orphan(orphan) => orphans.push(*orphan),
            Due::Owed { key, entry } => broker.publish_owed(key, entry),
            Due::Delayed { realm, entry } => {
                let space = broker.realm_or_new(&realm);
                if broker.publish(&space, &entry.message, Some(entry.id)).await {
                    let op = TopicOp::Delayed { entry: entry.entry };
                    broker.submit(vec![Step::Topic { realm, topic: entry.message.topic.clone(), op }]).await;
                }
            }
        }
    }
    broker.settle_orphans_in_turn(orphans).await;
    found
}

pub(crate) fn child(broker: &Broker) -> ChildSpec {
    let broker = broker.clone();
    let start = move |supervisor| {
        let broker = broker.clone();
        let started = async move {
            let (actor, _) = Actor::spawn_linked(None, TimersActor, broker.clone(), supervisor).await?;
            broker.timers().set(actor.clone());
            Ok(actor.get_cell())
        };
        Box::pin(started) as BoxFuture<'static, _>
    };
    ChildSpec { kind: "timers", start: Arc::new(start) }
}

/// The handle of the timers actor.
pub type Timers = Slot<TimersMsg>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_ticks_in_a_row_give_a_seconds_worth_of_turns() {
        for per_second in [0, 1, 7, 10, 25, 1000] {
            for first in 0..10 {
                let given: usize = (first..first + 10).map(|tick| in_tenth(per_second, tick)).sum();
                assert_eq!(given as u64, per_second);
            }
        }
    }
}
