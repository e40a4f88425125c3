//! Following: a connection reads a stream as fast as its client takes it, and a session's place in it is kept.
//!
//! A state machine without a task of its own: the connection polls it, takes records as far as its client has room, and
//! tells which were answered. Who takes nothing costs one page of memory and makes nobody wait.

mod flight;
mod opening;
mod places;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use metrics::counter;
use tokio::time::Sleep;
use weir_store::{Answer, Record, Refusal};

use super::Stream;
use super::reader::Reader;
use crate::broker::Broker;
pub use flight::At;
use flight::Flight;
pub use opening::Offset;
use opening::{Opened, Read, first_generation, open_anew, opening, read};
use places::Places;
pub use places::{SESSION_PREFIX, session_group, session_of};

/// Answered records are told to the store this long after the first of them: what a crash sends once more.
const TELL: Duration = Duration::from_millis(50);

/// Between tries to read from a store that is away, or to take a place that another node still holds.
const RETRY: Duration = Duration::from_millis(100);

/// Why a stream is followed no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    #[error("the stream was deleted")]
    Deleted,
    #[error("the stream cannot be read")]
    Unreadable,
    #[error("its right was taken away")]
    Denied,
}

impl Ended {
    /// The word in metrics and for clients.
    pub fn as_str(self) -> &'static str {
        match self {
            Ended::Deleted => "deleted",
            Ended::Unreadable => "unreadable",
            Ended::Denied => "denied",
        }
    }
}

/// Why a stream could not be followed.
#[derive(Debug, thiserror::Error)]
#[error("the store is away")]
pub struct Away;

/// A record for the client.
#[derive(Debug)]
pub struct Found {
    pub at: At,
    pub record: Record,
    /// Records, at least, that were let go before this one was reached.
    pub missed: u64,
}

/// One stream followed by one connection.
pub struct Following {
    broker: Broker,
    stream: Arc<Stream>,
    /// Under which name its places are kept; `None` = not at all.
    group: Option<Arc<str>>,
    state: State,
    places: Option<Places>,
    flight: Flight,
    missed: u64,
    /// The generation of the records last found.
    generation: u64,
    telling: Option<BoxFuture<'static, Answer>>,
    tell_at: Option<Pin<Box<Sleep>>>,
}

enum State {
    Opening(BoxFuture<'static, Result<Opened, Ended>>),
    Reading(BoxFuture<'static, Read>),
    Holding(Box<Reader>, VecDeque<(u32, Record)>),
    Over,
}

impl Following {
    /// Begins. When this returns, `latest` is decided: what is appended from then on is found. With a `group` its
    /// places are made anew.
    pub async fn begin(
        broker: &Broker,
        stream: Arc<Stream>,
        group: Option<Arc<str>>,
        offset: Offset,
    ) -> Result<Following, Away> {
        let Some(name) = &group else {
            let first = first_generation(broker, &stream, &|partition| offset.at(partition)).await;
            let first = first.map_err(|_| Away)?;
            let mut reader = Reader::within(broker, stream.clone(), first, offset.start, offset.after);
            reader.fix().await.map_err(|_| Away)?;
            let state = State::Holding(Box::new(reader), VecDeque::new());
            return Ok(Following::new(broker, stream, group, state));
        };
        let Opened { reader, places } = open_anew(broker, &stream, name, &offset).await.map_err(|_| Away)?;
        let mut following = Following::new(broker, stream, group, State::Holding(reader, VecDeque::new()));
        following.places = places;
        Ok(following)
    }

    /// Goes on where the places of `group` are.
    pub fn resume(broker: &Broker, stream: Arc<Stream>, group: Arc<str>) -> Following {
        let state = State::Opening(opening(broker.clone(), stream.clone(), group.clone()).boxed());
        Following::new(broker, stream, Some(group), state)
    }

    fn new(broker: &Broker, stream: Arc<Stream>, group: Option<Arc<str>>, state: State) -> Following {
        let mut following = Following {
            broker: broker.clone(),
            stream,
            group,
            state: State::Over,
            places: None,
            flight: Flight::default(),
            missed: 0,
            generation: 0,
            telling: None,
            tell_at: None,
        };
        following.enter(state);
        following
    }

    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Reads on, and tells the store what was answered. Registers the task for whatever comes next.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        self.poll_places(cx);
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Opening(mut opening) => match opening.poll_unpin(cx) {
                    Poll::Pending => {
                        self.state = State::Opening(opening);
                        return Ok(());
                    }
                    Poll::Ready(opened) => {
                        let opened = opened?;
                        self.places = opened.places;
                        self.enter(State::Holding(opened.reader, VecDeque::new()));
                    }
                },
                State::Reading(mut reading) => match reading.poll_unpin(cx) {
                    Poll::Pending => {
                        self.state = State::Reading(reading);
                        return Ok(());
                    }
                    Poll::Ready(read) => self.take(read)?,
                },
                State::Holding(reader, records) if records.is_empty() => {
                    let group = self.places.is_some().then(|| self.group.clone()).flatten();
                    let reading = read(self.broker.clone(), reader, group, self.generation);
                    self.state = State::Reading(reading.boxed());
                }
                holding @ State::Holding(..) => {
                    self.state = holding;
                    return Ok(());
                }
                State::Over => return Ok(()),
            }
        }
    }

    /// The next record, if one is here and may be sent now.
    pub fn take_next(&mut self) -> Option<Found> {
        let State::Holding(_, records) = &mut self.state else { return None };
        while !self.flight.is_full()
            && let Some((partition, record)) = records.pop_front()
        {
            let at = At { generation: self.generation, partition, mark: record.mark };
            // Places that were there already are ahead of a generation's beginning.
            let low = self.places.as_ref().map(|places| places.low(at.generation, partition));
            if low.is_none_or(|low| at.mark > low) {
                return Some(Found { at, record, missed: std::mem::take(&mut self.missed) });
            }
        }
        None
    }

    /// A record is on its way: an answer under this packet id finishes it, without one it is finished.
    pub fn sent(&mut self, at: At, packet_id: Option<u16>) {
        if packet_id.is_some() || self.places.is_some() {
            self.flight.sent(at, packet_id);
            self.move_on();
        }
    }

    /// The client has answered; false when this was no answer to a record of this stream.
    pub fn answered(&mut self, packet_id: u16) -> bool {
        let answered = self.flight.answered(packet_id);
        self.move_on();
        answered
    }

    /// Nobody comes back to where it was.
    pub fn forget(self) {
        if let Some(group) = &self.group {
            let keys = self.stream.generations().flat_map(|(generation, partitions)| {
                let stream = &self.stream;
                (0..partitions).map(move |partition| stream.partition_of(generation, partition))
            });
            places::forget(&self.broker, keys, group);
        }
    }

    fn move_on(&mut self) {
        while let Some(at) = self.flight.finished() {
            if let Some(places) = &mut self.places {
                places.finish(at.generation, at.partition, at.mark);
            }
        }
    }

    fn enter(&mut self, state: State) {
        if let State::Holding(reader, _) = &state {
            self.generation = reader.generation();
        }
        self.state = state;
    }

    fn take(&mut self, read: Read) -> Result<(), Ended> {
        let batch = read.batch?;
        if batch.missed > 0 {
            counter!("weir_broker_stream_missed_total").increment(batch.missed);
            self.missed += batch.missed;
        }
        if let (Some(held), Some(more)) = (&mut self.places, read.places) {
            held.join(more);
        }
        self.stream = read.reader.stream().clone();
        self.generation = batch.generation;
        self.state = State::Holding(read.reader, batch.records.into());
        Ok(())
    }

    /// Tells the store what was answered, one message at a time and not at once.
    fn poll_places(&mut self, cx: &mut Context<'_>) {
        let Some(places) = &mut self.places else { return };
        if let Some(telling) = &mut self.telling {
            let Poll::Ready(answer) = telling.poll_unpin(cx) else { return };
            self.telling = None;
            if answer.iter().any(|step| matches!(step, Err(Refusal::Fenced))) {
                return self.lost();
            }
            if answer.iter().any(Result::is_err) {
                places.tell_again();
            } else if self.flight.is_empty() {
                places.forget_before(self.generation);
            }
        }
        if !places.are_behind() {
            return;
        }
        let sleep = || Box::pin(tokio::time::sleep(TELL));
        if self.tell_at.get_or_insert_with(sleep).poll_unpin(cx).is_ready() {
            self.tell_at = None;
            let mut telling = places.commit();
            // Its first poll registers this task; an answer that is here already is seen with the next wake.
            if let Poll::Ready(answer) = telling.poll_unpin(cx) {
                telling = futures_util::future::ready(answer).boxed();
                cx.waker().wake_by_ref();
            }
            self.telling = Some(telling);
        }
    }

    /// The places are another's, or the store has forgotten them: they are taken again, if that is possible.
    fn lost(&mut self) {
        counter!("weir_broker_stream_places_lost_total").increment(1);
        tracing::warn!(stream = %self.stream.name, "a session's place in a stream was lost, and is taken again");
        self.places = None;
        if let Some(group) = &self.group {
            let opening = opening(self.broker.clone(), self.stream.clone(), group.clone());
            let later = async move {
                tokio::time::sleep(RETRY).await;
                opening.await
            };
            self.state = State::Opening(later.boxed());
        }
    }
}
