//! The life of bindings on a node: an actor for each that works here, under one that starts and ends them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use metrics::{counter, gauge};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::catalog::{Name, Row};
use super::definition::{Binding, Source};
use super::work::Work;
use super::{live, stream};
use crate::broker::Broker;
use crate::stream::group::Ended;
use crate::supervisor::ChildSpec;

/// How long a binding that ends may still be at its last calls.
const ENDING_MAX: Duration = Duration::from_secs(5);

/// How often a binding that cannot work looks again whether it can, and the keeper whether all is as it should be.
const LOOK: Duration = Duration::from_millis(1000);

/// Starts and ends what works for bindings here.
pub(crate) struct Keeper;

pub(crate) enum KeeperMsg {
    /// A row has changed, or it is time.
    Look,
}

pub(crate) struct Kept {
    broker: Broker,
    by_name: HashMap<Name, Working>,
    ticker: JoinHandle<()>,
    /// Handlers and secrets as they were looked at last.
    changes: u64,
}

struct Working {
    version: u64,
    actor: ActorRef<WorkerMsg>,
    /// It was told to end; its successor begins when it has.
    is_ending: bool,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.ticker.abort();
    }
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
        let ticker = tokio::spawn(async move {
            let mut interval = tokio::time::interval(LOOK);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                interval.tick().await;
                if myself.send_message(KeeperMsg::Look).is_err() {
                    return;
                }
            }
        });
        Ok(Kept { broker, by_name: HashMap::new(), ticker, changes: 0 })
    }

    async fn handle(
        &self,
        myself: ActorRef<KeeperMsg>,
        KeeperMsg::Look: KeeperMsg,
        kept: &mut Kept,
    ) -> Result<(), ActorProcessingErr> {
        kept.look(&myself).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<KeeperMsg>,
        event: SupervisionEvent,
        kept: &mut Kept,
    ) -> Result<(), ActorProcessingErr> {
        let cell = match event {
            SupervisionEvent::ActorFailed(cell, error) => {
                tracing::error!(%error, "a binding's actor failed and is started again");
                counter!("weir_broker_actor_restarts_total", "kind" => "binding").increment(1);
                cell
            }
            SupervisionEvent::ActorTerminated(cell, ..) => cell,
            _ => return Ok(()),
        };
        kept.forget(cell.get_id());
        kept.look(&myself).await
    }
}

impl Kept {
    fn forget(&mut self, actor: ActorId) {
        self.by_name.retain(|_, working| working.actor.get_id() != actor);
    }

    async fn look(&mut self, myself: &ActorRef<KeeperMsg>) -> Result<(), ActorProcessingErr> {
        let has_runtime = self.broker.bindings().engine.get().is_some();
        let wanted: HashMap<Name, Row<Binding>> = match has_runtime {
            true => self.broker.bindings().all().into_iter().collect(),
            false => HashMap::new(),
        };
        for (name, working) in &mut self.by_name {
            let stays = wanted.get(name).is_some_and(|row| row.version == working.version);
            if !stays && !std::mem::replace(&mut working.is_ending, true) {
                let _ = working.actor.send_message(WorkerMsg::End);
            }
        }
        let changes = self.broker.bindings().changes();
        if changes != self.changes {
            self.changes = changes;
            self.by_name.values().for_each(|working| drop(working.actor.send_message(WorkerMsg::Look)));
        }
        for (name, row) in wanted {
            if !self.by_name.contains_key(&name) {
                let arguments = (self.broker.clone(), name.clone(), row.is.clone());
                let (actor, _) = Actor::spawn_linked(None, Worker, arguments, myself.get_cell()).await?;
                self.by_name.insert(name, Working { version: row.version, actor, is_ending: false });
            }
        }
        gauge!("weir_broker_bindings").set(self.by_name.len() as f64);
        Ok(())
    }
}

/// One binding on this node.
struct Worker;

enum WorkerMsg {
    /// Its handler, an alias or a secret may have changed.
    Look,
    /// It is another one, or none.
    End,
    /// What worked has ended by itself.
    Over,
}

struct Employed {
    work: Arc<Work>,
    stop: watch::Sender<bool>,
    /// `None` = there is no program yet.
    task: Option<JoinHandle<()>>,
    is_waiting: bool,
}

impl Drop for Employed {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Actor for Worker {
    type Msg = WorkerMsg;
    type State = Employed;
    type Arguments = (Broker, Name, Arc<Binding>);

    async fn pre_start(
        &self,
        myself: ActorRef<WorkerMsg>,
        (broker, name, binding): (Broker, Name, Arc<Binding>),
    ) -> Result<Employed, ActorProcessingErr> {
        let work = Arc::new(Work::new(&broker, &name, &binding));
        myself.send_message(WorkerMsg::Look)?;
        Ok(Employed { work, stop: watch::Sender::new(false), task: None, is_waiting: false })
    }

    async fn handle(
        &self,
        myself: ActorRef<WorkerMsg>,
        message: WorkerMsg,
        employed: &mut Employed,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkerMsg::Look => employed.look(&myself).await,
            WorkerMsg::End => {
                employed.end().await;
                myself.stop(None);
            }
            WorkerMsg::Over => myself.stop(None),
        }
        Ok(())
    }
}

impl Employed {
    async fn look(&mut self, myself: &ActorRef<WorkerMsg>) {
        if let Err(error) = self.work.versions.refresh(&self.work.broker).await {
            if !std::mem::replace(&mut self.is_waiting, true) {
                tracing::warn!(binding = %self.work.name.1, %error, "a binding has no program to call");
            }
            myself.send_after(LOOK, || WorkerMsg::Look);
            return;
        }
        self.is_waiting = false;
        if self.work.binding.source.is_middleware() {
            self.work.broker.provide_middleware(&self.work);
        }
        if self.task.is_none() {
            let (work, stop, myself) = (self.work.clone(), self.stop.subscribe(), myself.clone());
            self.task = Some(tokio::spawn(async move {
                match work.binding.source {
                    Source::Live { .. } => live::run(work, stop).await,
                    // Whoever asks calls it: there is nothing to be done here.
                    Source::Middleware { .. } => drop(stop.clone().wait_for(|stop| *stop).await),
                    Source::Stream { .. } => {
                        if stream::run(work, stop).await == Ended::ShuttingDown {
                            // Nobody begins anew here.
                            return;
                        }
                    }
                }
                let _ = myself.send_message(WorkerMsg::Over);
            }));
        }
    }

    /// Lets calls that are under way come to their end.
    async fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(mut task) = self.task.take()
            && tokio::time::timeout(ENDING_MAX, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

/// How the supervisor starts the keeper.
pub(crate) fn child(broker: &Broker) -> ChildSpec {
    let broker = broker.clone();
    let start = move |supervisor: ActorCell| {
        let broker = broker.clone();
        let started = async move {
            let (actor, _) = Actor::spawn_linked(None, Keeper, broker.clone(), supervisor).await?;
            broker.bindings().keeper.set(actor.clone());
            Ok(actor.get_cell())
        };
        Box::pin(started) as BoxFuture<'static, _>
    };
    ChildSpec { kind: "bindings", start: Arc::new(start) }
}
