//! Supervision: a child that fails is logged with its reason, counted, and started again.
//!
//! Callers reach an actor through a [`Slot`], which always holds the current one, so that a restart
//! costs a caller one retry and nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use metrics::counter;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::{oneshot, watch};

/// Restarts after failures in a row wait twice as long each time, up to this.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// How long a call waits for a failed actor's successor.
const RESTART_WAIT: Duration = Duration::from_secs(5);

/// Where the current incarnation of an actor is found.
pub struct Slot<M> {
    current: watch::Sender<Option<ActorRef<M>>>,
}

/// The actor did not answer: it, and whoever came after it, failed.
#[derive(Debug, thiserror::Error)]
#[error("an actor failed and its successors too")]
pub struct CallError;

impl<M: ractor::Message> Default for Slot<M> {
    fn default() -> Slot<M> {
        Slot { current: watch::Sender::new(None) }
    }
}

impl<M: ractor::Message> Slot<M> {
    /// A new incarnation is in place.
    pub fn set(&self, actor: ActorRef<M>) {
        self.current.send_replace(Some(actor));
    }

    /// Sends without waiting for an answer; false when there is no actor now.
    pub fn cast(&self, message: M) -> bool {
        match &*self.current.borrow() {
            Some(actor) => actor.send_message(message).is_ok(),
            None => false,
        }
    }

    /// Asks and waits; an actor that fails meanwhile is asked again after its restart.
    pub async fn call<R>(&self, message: impl Fn(oneshot::Sender<R>) -> M) -> Result<R, CallError> {
        let mut changes = self.current.subscribe();
        for _ in 0..3 {
            let (reply, answer) = oneshot::channel();
            changes.mark_unchanged();
            if self.cast(message(reply))
                && let Ok(answer) = answer.await
            {
                return Ok(answer);
            }
            let _ = tokio::time::timeout(RESTART_WAIT, changes.changed()).await;
        }
        Err(CallError)
    }
}

/// How to start one child, again and again.
#[derive(Clone)]
pub struct ChildSpec {
    /// What kind of actor it is, for logs and metrics.
    pub kind: &'static str,
    pub start: Arc<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync>,
}

/// Keeps its children alive.
pub struct Supervisor;

pub struct Children {
    by_id: HashMap<ActorId, Child>,
}

struct Child {
    spec: ChildSpec,
    failures: u32,
}

pub enum Supervise {
    Restart { spec: ChildSpec, failures: u32 },
}

impl Actor for Supervisor {
    type Msg = Supervise;
    type State = Children;
    type Arguments = Vec<ChildSpec>;

    async fn pre_start(
        &self,
        myself: ActorRef<Supervise>,
        specs: Vec<ChildSpec>,
    ) -> Result<Children, ActorProcessingErr> {
        let mut by_id = HashMap::new();
        for spec in specs {
            let cell = (spec.start)(myself.get_cell()).await?;
            by_id.insert(cell.get_id(), Child { spec, failures: 0 });
        }
        Ok(Children { by_id })
    }

    async fn handle(
        &self,
        myself: ActorRef<Supervise>,
        message: Supervise,
        children: &mut Children,
    ) -> Result<(), ActorProcessingErr> {
        let Supervise::Restart { spec, failures } = message;
        match (spec.start)(myself.get_cell()).await {
            Ok(cell) => {
                children.by_id.insert(cell.get_id(), Child { spec, failures });
            }
            Err(error) => {
                tracing::error!(kind = spec.kind, %error, "an actor does not start again");
                again(&myself, spec, failures + 1);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Supervise>,
        event: SupervisionEvent,
        children: &mut Children,
    ) -> Result<(), ActorProcessingErr> {
        let (id, reason) = match event {
            SupervisionEvent::ActorFailed(cell, error) => (cell.get_id(), error.to_string()),
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                (cell.get_id(), reason.unwrap_or_else(|| "stopped".into()))
            }
            _ => return Ok(()),
        };
        if let Some(child) = children.by_id.remove(&id) {
            tracing::error!(kind = child.spec.kind, reason, "an actor failed and is started again");
            counter!("weir_broker_actor_restarts_total", "kind" => child.spec.kind).increment(1);
            again(&myself, child.spec, child.failures);
        }
        Ok(())
    }
}

/// Starts a child again: at once the first time, later after a pause that doubles.
fn again(supervisor: &ActorRef<Supervise>, spec: ChildSpec, failures: u32) {
    let restart = Supervise::Restart { spec, failures: failures + 1 };
    if failures == 0 {
        let _ = supervisor.send_message(restart);
        return;
    }
    let pause = Duration::from_millis(10).saturating_mul(1 << failures.min(10)).min(BACKOFF_MAX);
    let supervisor = supervisor.clone();
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        let _ = supervisor.send_message(restart);
    });
}
