//! The janitor: lets go what no append lets go: records that are too old, places of sessions that have ended, and
//! earlier generations that nobody needs any more. One node of a cluster does it for each stream.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use metrics::counter;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use smallvec::smallvec;
use tokio::sync::oneshot;
use weir_model::Filter;
use weir_store::{GroupPlace, PartitionInfo, PartitionKey, PartitionOp, ReadError, Step};
use xxhash_rust::xxh3::xxh3_64;

use super::Stream;
use super::definition::OWN_PREFIX;
use super::following::session_of;
use crate::broker::Broker;
use crate::supervisor::ChildSpec;

/// Places and generations are looked at every so many rounds: they cost a read of each partition.
const LOOK_ROUNDS: u64 = 12;

pub struct JanitorActor;

/// Ask for one round; answered when it is over.
pub struct Round(oneshot::Sender<()>);

pub struct State {
    broker: Broker,
    rounds: u64,
    ticker: tokio::task::JoinHandle<()>,
}

impl Drop for State {
    fn drop(&mut self) {
        self.ticker.abort();
    }
}

impl Actor for JanitorActor {
    type Msg = Round;
    type State = State;
    type Arguments = (Broker, Duration);

    async fn pre_start(
        &self,
        myself: ActorRef<Round>,
        (broker, every): (Broker, Duration),
    ) -> Result<State, ActorProcessingErr> {
        let ticker = tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                // The next round is asked for when this one is over.
                let (over, is_over) = oneshot::channel();
                if myself.send_message(Round(over)).is_err() || is_over.await.is_err() {
                    return;
                }
            }
        });
        Ok(State { broker, rounds: 0, ticker })
    }

    async fn handle(
        &self,
        _: ActorRef<Round>,
        Round(over): Round,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.rounds += 1;
        state.broker.tidy_streams(state.rounds.is_multiple_of(LOOK_ROUNDS)).await;
        let _ = over.send(());
        Ok(())
    }
}

impl Broker {
    /// One round over the streams this node looks after. `thorough`: their places and generations too.
    pub async fn tidy_streams(&self, thorough: bool) {
        for realm in self.realms() {
            for stream in self.streams().all(&realm.name) {
                if !self.looks_after(&stream) {
                    continue;
                }
                self.trim(&stream).await;
                if stream.name.starts_with(OWN_PREFIX)
                    && let Err(error) = self.trim_finished(&stream).await
                {
                    tracing::warn!(stream = %stream.name, %error, "a binding's own stream cannot be trimmed");
                }
                if !thorough {
                    continue;
                }
                if let Err(error) = self.tidy(&stream).await {
                    tracing::warn!(stream = %stream.name, %error, "a stream cannot be tidied");
                }
            }
        }
    }

    /// Whether this is the node, of those that hold a lease, that tidies this stream.
    fn looks_after(&self, stream: &Stream) -> bool {
        let mine = self.incarnation();
        let score =
            |incarnation: u64| xxh3_64(format!("{}/{}/{incarnation}", stream.realm, stream.name).as_bytes());
        let nodes = self.store().nodes();
        nodes.iter().all(|node| node.incarnation == mine || score(node.incarnation) < score(mine))
    }

    /// Lets go what is too old; what is too much goes with each append.
    async fn trim(&self, stream: &Stream) {
        if stream.definition.retention.age_max_ms == 0 {
            return;
        }
        let partitions = stream.generations().flat_map(|(generation, partitions)| {
            (0..partitions).map(move |partition| stream.partition_of(generation, partition))
        });
        let step = |key| Step::Partition { key, ops: smallvec![PartitionOp::Trim { before: None }] };
        let answer = self.submit(partitions.map(step).collect()).await;
        if let Some(refusal) = answer.into_iter().find_map(Result::err) {
            tracing::warn!(stream = %stream.name, %refusal, "old records of a stream cannot be let go");
        }
    }

    /// Lets go what every group has finished: of a stream that is there for its groups alone.
    async fn trim_finished(&self, stream: &Stream) -> Result<(), ReadError> {
        let mut steps = Vec::new();
        for (generation, partitions) in stream.generations() {
            for partition in 0..partitions {
                let key = stream.partition_of(generation, partition);
                let Some(info) = self.store().partition(key.clone()).await? else { continue };
                let low = info.groups.iter().map(|place| place.progress.low.position).min();
                let before = low.filter(|low| *low > info.ends.trimmed.position);
                if let Some(before) = before {
                    steps.push(Step::Partition {
                        key,
                        ops: smallvec![PartitionOp::Trim { before: Some(before) }],
                    });
                }
            }
        }
        if steps.is_empty() {
            return Ok(());
        }
        if let Some(refusal) = self.submit(steps).await.into_iter().find_map(Result::err) {
            tracing::warn!(stream = %stream.name, %refusal, "what a binding has reduced cannot be let go");
        }
        Ok(())
    }

    async fn tidy(&self, stream: &Arc<Stream>) -> Result<(), ReadError> {
        for (generation, partitions) in stream.generations() {
            let mut infos = Vec::new();
            for partition in 0..partitions {
                let key = stream.partition_of(generation, partition);
                if let Some(info) = self.store().partition(key.clone()).await? {
                    self.forget_ended(stream, &key, &info).await?;
                    infos.push(info);
                }
            }
            if generation == stream.generation() {
                continue;
            }
            if infos.iter().any(|info| !info.ends.is_sealed) {
                // Who altered the stream died over it, or the store has forgotten: groups wait for its end.
                if let Err(error) = self.configure(stream).await {
                    tracing::warn!(stream = %stream.name, %error, "an earlier generation cannot be sealed");
                }
                return Ok(());
            }
            if self.is_done(stream, generation, &infos).await? {
                match self.drop_generation(stream, generation).await {
                    Ok(()) => counter!("weir_broker_stream_generations_dropped_total").increment(1),
                    Err(error) => {
                        tracing::warn!(stream = %stream.name, %error, "a generation cannot be dropped")
                    }
                }
                // The definition has another version now; the next round goes on.
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether an earlier generation can go: nothing is left in it, or its stream keeps a number of records or bytes and
    /// has groups; and every group has finished it, sessions too. Who has not is told what it missed when it comes. What
    /// is kept for a time, or for ever, is kept.
    async fn is_done(
        &self,
        stream: &Stream,
        generation: u64,
        infos: &[PartitionInfo],
    ) -> Result<bool, ReadError> {
        let retention = stream.definition.retention;
        let is_bounded = retention.records_max > 0 || retention.bytes_max > 0;
        let has_groups = infos.iter().any(|info| !info.groups.is_empty());
        let is_empty = infos.iter().all(|info| info.ends.records == 0);
        let is_read = |info: &PartitionInfo| {
            info.groups.iter().all(|place| place.progress.low.position >= info.ends.tail.position)
        };
        Ok(infos.iter().all(is_read)
            && (is_empty || (is_bounded && has_groups))
            && self.groups_have_finished(stream, generation).await?)
    }

    /// Forgets the places of sessions that are no more, or have unsubscribed.
    async fn forget_ended(
        &self,
        stream: &Stream,
        key: &PartitionKey,
        info: &PartitionInfo,
    ) -> Result<(), ReadError> {
        let of_sessions = |place: &&GroupPlace| session_of(&place.group).is_some();
        if !info.groups.iter().any(|place| of_sessions(&place)) {
            return Ok(());
        }
        // A session subscribes before its place is made: the mirror knows it once it has seen what was there then.
        self.store().caught_up().await?;
        let over = info.groups.iter().filter(of_sessions);
        let over = over.filter(|place| !self.is_followed(stream, &place.group));
        let forget = |place: &GroupPlace| Step::Partition {
            key: key.clone(),
            ops: smallvec![PartitionOp::Forget { group: place.group.clone() }],
        };
        let steps: Vec<_> = over.map(forget).collect();
        if !steps.is_empty() {
            self.submit(steps).await;
        }
        Ok(())
    }

    /// Whether the session that a place belongs to is there and subscribes to the stream.
    fn is_followed(&self, stream: &Stream, group: &str) -> bool {
        let Some((client_id, generation)) = session_of(group) else { return true };
        let session = self.sessions().find(&stream.realm, &Arc::from(client_id));
        let filter = Filter::new(&format!("{}{}", super::FILTER_PREFIX, stream.name));
        let (Some(session), Ok(filter)) = (session, filter) else { return false };
        session.stored == Some(generation) && session.has(&filter)
    }
}

pub(crate) fn child(broker: &Broker) -> Option<ChildSpec> {
    let every = broker.config().stream_trim_ms;
    let broker = broker.clone();
    let start = move |supervisor| {
        let broker = broker.clone();
        let started = async move {
            let arguments = (broker, Duration::from_millis(every));
            let (actor, _) = Actor::spawn_linked(None, JanitorActor, arguments, supervisor).await?;
            Ok(actor.get_cell())
        };
        Box::pin(started) as BoxFuture<'static, _>
    };
    (every > 0).then(|| ChildSpec { kind: "stream_janitor", start: Arc::new(start) })
}
