//! `Watch`: events and figures, for as long as somebody reads them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::Stream;
use metrics::{counter, gauge};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};
use weir_broker::admin::events::Heard;
use weir_broker::admin::{Event, EventKind as Kind, Everywhere};

use super::Shared;
use super::stats::Stats;
use crate::caller::Caller;
use crate::error::Refused;
use crate::proto::{
    EventKind, WatchEventsRequest, WatchEventsResponse, WatchStatsRequest, WatchStatsResponse, watch_server,
};
use crate::standing;

/// Answers that wait for the connection beside HTTP/2's own window; a reader that takes none stops what makes them.
const WAITING_MAX: usize = 16;

/// Milliseconds between two sets of figures.
const INTERVAL_MS_DEFAULT: u32 = 1000;
const INTERVAL_MS: std::ops::RangeInclusive<u32> = 100..=60_000;

/// Slow subscribers in a set of figures.
const SLOW_DEFAULT: u32 = 10;
const SLOW_MAX: u32 = 100;

pub struct Watch(pub Shared);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl watch_server::Watch for Watch {
    type EventsStream = Answers<WatchEventsResponse>;
    type StatsStream = Answers<WatchStatsResponse>;

    async fn events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let caller = Caller::of(&request)?;
        let wanted = request.into_inner();
        let is_known =
            |kind: &i32| EventKind::try_from(*kind).is_ok_and(|kind| kind != EventKind::Unspecified);
        if !wanted.kinds.iter().all(is_known) {
            return Err(Refused::field("kinds", "there is no such kind", "values of EventKind").into());
        }
        let place = Watching::begin(&self.0)?;
        let drops = wanted.kinds.is_empty() || wanted.kinds.contains(&EventKind::Dropped.into());
        let mut watcher = self.0.broker.watch_events(drops);
        let mut others =
            wanted.all_nodes.then(|| self.0.broker.watch_others(drops, &wanted.client_id_prefix));
        let (sender, answers) = mpsc::channel(WAITING_MAX);
        let shared = self.0.clone();
        let node: Arc<str> = Arc::from(self.0.machine.name());
        tokio::spawn(async move {
            let _place = place;
            let told = async {
                loop {
                    let (from, heard) = tokio::select! {
                        heard = watcher.next() => match heard {
                            Some(heard) => (node.clone(), heard),
                            None => return,
                        },
                        far = next_of(others.as_mut()) => far,
                    };
                    let Some(event) = told(heard, &wanted, &from) else { continue };
                    if sender.send(Ok(event)).await.is_err() {
                        return;
                    }
                }
            };
            until_over(&shared, &caller, &sender, told).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn stats(
        &self,
        request: Request<WatchStatsRequest>,
    ) -> Result<Response<Self::StatsStream>, Status> {
        let caller = Caller::of(&request)?;
        let wanted = request.into_inner();
        let interval_ms = if wanted.interval_ms == 0 { INTERVAL_MS_DEFAULT } else { wanted.interval_ms };
        if !INTERVAL_MS.contains(&interval_ms) {
            return Err(Refused::field("interval_ms", "out of range", "0, or 100 to 60000").into());
        }
        let slow_max = if wanted.slow_max == 0 { SLOW_DEFAULT } else { wanted.slow_max };
        if slow_max > SLOW_MAX {
            return Err(Refused::field("slow_max", "out of range", "0 to 100").into());
        }
        let place = Watching::begin(&self.0)?;
        let (sender, answers) = mpsc::channel(1);
        let shared = self.0.clone();
        tokio::spawn(async move {
            let _place = place;
            let told = async {
                let mut ticks = tokio::time::interval(Duration::from_millis(interval_ms.into()));
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let mut stats = Stats::default();
                loop {
                    ticks.tick().await;
                    let (shared, mut last) = (shared.clone(), std::mem::take(&mut stats));
                    let look = move || {
                        let set = last.look(&shared, slow_max as usize);
                        (last, set)
                    };
                    let Ok((last, set)) = tokio::task::spawn_blocking(look).await else { return };
                    stats = last;
                    if sender.send(Ok(set)).await.is_err() {
                        return;
                    }
                }
            };
            until_over(&shared, &caller, &sender, told).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

/// A stream that is open, counted until it is dropped.
struct Watching(Shared);

impl Watching {
    fn begin(shared: &Shared) -> Result<Watching, Refused> {
        let open = shared.watchers.fetch_add(1, Ordering::AcqRel) + 1;
        let place = Watching(shared.clone());
        gauge!("weir_admin_watchers").set(open as f64);
        match shared.config.watchers_max {
            max if max > 0 && open > max => {
                let message = format!("{max} are watching already (`admin.watchers_max`)");
                Err(Refused::new(Code::ResourceExhausted, "busy", message))
            }
            _ => Ok(place),
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let open = self.0.watchers.fetch_sub(1, Ordering::AcqRel) - 1;
        gauge!("weir_admin_watchers").set(open as f64);
    }
}

/// Goes on until the reader goes, its time is over, what let it in has ended, or the node stops; and says which.
pub async fn until_over<T>(
    shared: &Shared,
    caller: &Caller,
    sender: &mpsc::Sender<Result<T, Status>>,
    told: impl Future<Output = ()>,
) {
    let mut stopping = shared.stopping.clone();
    let stops = async {
        // An error: the server itself is gone.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let is_late = async {
        match caller.deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    let status = tokio::select! {
        biased;
        () = sender.closed() => return,
        () = stops => Status::from(Refused::new(Code::Unavailable, "not_here", "the node stops")),
        () = is_late => Status::deadline_exceeded("the time the caller gave is over"),
        refused = standing::ends(&shared.tokens, &shared.machine, caller) => {
            counter!("weir_admin_calls_ended_total", "reason" => refused.reason).increment(1);
            Status::from(refused)
        }
        () = told => return,
    };
    // A reader that takes nothing learns it from the end of the connection.
    let _ = tokio::time::timeout_at(Instant::now() + Duration::from_secs(1), sender.send(Err(status))).await;
}

/// What is heard of the other nodes; without them, nothing ever.
async fn next_of(others: Option<&mut Everywhere>) -> (Arc<str>, Heard) {
    match others {
        Some(others) => others.next().await,
        None => std::future::pending().await,
    }
}

/// An event as it is told to one reader; `None` = it does not want it.
fn told(heard: Heard, wanted: &WatchEventsRequest, node: &str) -> Option<WatchEventsResponse> {
    let blank = |kind: EventKind| WatchEventsResponse {
        kind: kind.into(),
        unix_ms: weir_broker::clock::unix().0,
        node_id: node.to_owned(),
        ..WatchEventsResponse::default()
    };
    let event = match heard {
        Heard::Event(event) => event,
        Heard::Missed(count) => {
            counter!("weir_admin_events_missed_total").increment(count);
            return Some(WatchEventsResponse { count, ..blank(EventKind::Missed) });
        }
        Heard::Unheard => {
            return Some(WatchEventsResponse { member: node.to_owned(), ..blank(EventKind::Unheard) });
        }
    };
    let told = words(event, node);
    let wants_kind = wanted.kinds.is_empty() || wanted.kinds.contains(&told.kind);
    let wants_client = told.client_id.is_empty() || told.client_id.starts_with(&wanted.client_id_prefix);
    (wants_kind && wants_client).then_some(told)
}

fn words(event: Event, node: &str) -> WatchEventsResponse {
    let blank = WatchEventsResponse {
        unix_ms: event.at_ms,
        node_id: node.to_owned(),
        ..WatchEventsResponse::default()
    };
    let of = |kind: EventKind, realm: &str, client_id: &str, reason: &str| WatchEventsResponse {
        kind: kind.into(),
        realm: realm.to_owned(),
        client_id: client_id.to_owned(),
        reason: reason.to_owned(),
        ..blank.clone()
    };
    match event.kind {
        Kind::Connected { realm, client_id } => of(EventKind::Connected, &realm, &client_id, ""),
        Kind::Disconnected { realm, client_id } => of(EventKind::Disconnected, &realm, &client_id, ""),
        Kind::Kicked { realm, client_id, reason } => of(EventKind::Kicked, &realm, &client_id, &reason),
        Kind::Deleted { realm, client_id, reason } => of(EventKind::Deleted, &realm, &client_id, &reason),
        Kind::Draining => of(EventKind::Draining, "", "", ""),
        Kind::MemberJoined { node } => {
            WatchEventsResponse { member: node.to_string(), ..of(EventKind::MemberJoined, "", "", "") }
        }
        Kind::MemberLeft { node } => {
            WatchEventsResponse { member: node.to_string(), ..of(EventKind::MemberLeft, "", "", "") }
        }
        Kind::RolledBack => of(EventKind::Rollback, "", "", ""),
        Kind::Dropped(lost) => {
            let client = lost.client.as_deref().unwrap_or_default();
            let topic = lost.topic.as_deref().unwrap_or_default().to_owned();
            let told = of(EventKind::Dropped, "", client, &lost.reason);
            WatchEventsResponse { count: lost.count, topic, ..told }
        }
    }
}
