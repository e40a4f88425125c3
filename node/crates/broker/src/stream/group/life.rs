//! The life of groups on a node: an actor for each hub, under one that keeps them alive.
//!
//! Records never cross a mailbox: an actor is rung, or it is time, and then it looks at its hub.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use metrics::counter;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::task::JoinHandle;

use super::hub::Hub;
use crate::broker::Broker;
use crate::clock;
use crate::supervisor::ChildSpec;

/// How long a node that stops waits for its groups to give back what they have.
const LEAVING_MAX: Duration = Duration::from_secs(2);

/// How often a group looks at its hub unasked; half of the shortest time it is to keep.
const TICK: Duration = Duration::from_millis(25);

/// How often it looks which partitions are its own.
const SWEEP_MS: u64 = 250;

pub(crate) struct LifeActor;

pub(crate) enum LifeMsg {
    /// Somebody rang.
    Wake,
    Tick,
    Panic,
}

pub(crate) struct Life {
    broker: Broker,
    hub: Arc<Hub>,
    swept_at: u64,
    ticker: JoinHandle<()>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.ticker.abort();
    }
}

impl Actor for LifeActor {
    type Msg = LifeMsg;
    type State = Life;
    type Arguments = (Broker, Arc<Hub>);

    async fn pre_start(
        &self,
        myself: ActorRef<LifeMsg>,
        (broker, hub): (Broker, Arc<Hub>),
    ) -> Result<Life, ActorProcessingErr> {
        hub.slot.set(myself.clone());
        let ticker = tokio::spawn(async move {
            let mut interval = tokio::time::interval(TICK);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                interval.tick().await;
                if myself.send_message(LifeMsg::Tick).is_err() {
                    return;
                }
            }
        });
        Ok(Life { broker, hub, swept_at: 0, ticker })
    }

    async fn handle(
        &self,
        myself: ActorRef<LifeMsg>,
        message: LifeMsg,
        life: &mut Life,
    ) -> Result<(), ActorProcessingErr> {
        if matches!(message, LifeMsg::Panic) {
            panic!("a fault test asked a group to panic");
        }
        let (now, hub) = (clock::now_ms(), &life.hub);
        hub.was_rung();
        if hub.wants_look() || life.swept_at == 0 || now.saturating_sub(life.swept_at) >= SWEEP_MS {
            life.swept_at = now.max(1);
            if hub.sweep(&life.broker, now) {
                myself.stop(None);
                return Ok(());
            }
        }
        hub.tick(&life.broker, now);
        Ok(())
    }
}

/// Keeps the actors of hubs alive; one that fails begins anew with places taken anew.
pub(crate) struct Keeper;

pub(crate) enum KeeperMsg {
    Start(Arc<Hub>),
}

pub(crate) struct Kept {
    broker: Broker,
    by_id: HashMap<ActorId, Arc<Hub>>,
}

impl Actor for Keeper {
    type Msg = KeeperMsg;
    type State = Kept;
    type Arguments = Broker;

    async fn pre_start(
        &self,
        myself: ActorRef<KeeperMsg>,
        broker: Broker,
    ) -> Result<Kept, ActorProcessingErr> {
        let mut kept = Kept { broker, by_id: HashMap::new() };
        for hub in kept.broker.groups_known().hubs() {
            hub.begin_anew();
            kept.start(&myself, hub).await?;
        }
        Ok(kept)
    }

    async fn handle(
        &self,
        myself: ActorRef<KeeperMsg>,
        KeeperMsg::Start(hub): KeeperMsg,
        kept: &mut Kept,
    ) -> Result<(), ActorProcessingErr> {
        let is_there = kept.by_id.values().any(|known| Arc::ptr_eq(known, &hub));
        if !is_there {
            kept.start(&myself, hub).await?;
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<KeeperMsg>,
        event: SupervisionEvent,
        kept: &mut Kept,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, error) => {
                let Some(hub) = kept.by_id.remove(&cell.get_id()) else { return Ok(()) };
                tracing::error!(group = %hub.key.group, %error, "a group's actor failed and is started again");
                counter!("weir_broker_actor_restarts_total", "kind" => "group").increment(1);
                hub.begin_anew();
                kept.start(&myself, hub).await?;
            }
            SupervisionEvent::ActorTerminated(cell, ..) => drop(kept.by_id.remove(&cell.get_id())),
            _ => {}
        }
        Ok(())
    }
}

impl Kept {
    async fn start(&mut self, keeper: &ActorRef<KeeperMsg>, hub: Arc<Hub>) -> Result<(), ActorProcessingErr> {
        let arguments = (self.broker.clone(), hub.clone());
        let (actor, _) = Actor::spawn_linked(None, LifeActor, arguments, keeper.get_cell()).await?;
        self.by_id.insert(actor.get_id(), hub);
        Ok(())
    }
}

/// How the supervisor starts the keeper.
pub(crate) fn child(broker: &Broker) -> ChildSpec {
    let broker = broker.clone();
    let start = move |supervisor| {
        let broker = broker.clone();
        let started = async move {
            let (actor, _) = Actor::spawn_linked(None, Keeper, broker.clone(), supervisor).await?;
            broker.groups_known().keeper.set(actor.clone());
            Ok(actor.get_cell())
        };
        Box::pin(started) as BoxFuture<'static, _>
    };
    ChildSpec { kind: "groups", start: Arc::new(start) }
}

impl Broker {
    /// The node stops: groups store what was acked and give their partitions back, as far as it takes no longer than
    /// two seconds.
    pub async fn leave_groups(&self) {
        self.groups_known().leave();
        let left = async {
            while self.groups_known().live() > 0 {
                tokio::time::sleep(TICK / 5).await;
            }
        };
        let _ = tokio::time::timeout(LEAVING_MAX, left).await;
    }
}
