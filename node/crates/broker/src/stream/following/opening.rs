//! Where a connection begins or goes on in a stream, and how the next page comes to it.

use std::sync::Arc;

use metrics::counter;
use weir_model::Position;
use weir_store::{Page, ReadError, Refusal, Start};

use super::places::{self, NoPlaces, Places};
use super::{Ended, RETRY};
use crate::broker::Broker;
use crate::stream::Stream;
use crate::stream::reader::{Batch, Reader, ReaderEnd};

/// Records a connection holds of a stream at most, and their bytes; one larger record is taken alone.
const PAGE: Page = Page { rows_max: 500, bytes_max: 256 << 10 };

/// Where to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offset {
    pub start: Start,
    /// Single partitions after these positions instead.
    pub after: Vec<(u32, Position)>,
}

impl Default for Offset {
    fn default() -> Offset {
        Offset { start: Start::Latest, after: Vec::new() }
    }
}

impl Offset {
    /// Where one partition begins.
    pub(super) fn at(&self, partition: u32) -> Start {
        let own = self.after.iter().find(|(at, _)| *at == partition);
        own.map_or(self.start, |(_, position)| Start::After(*position))
    }
}

/// A stream ready to be read, at the place of a group if there is one.
pub(super) struct Opened {
    pub reader: Box<Reader>,
    pub places: Option<Places>,
}

/// One page, the reader for the next one, and places where a generation has begun.
pub(super) struct Read {
    pub reader: Box<Reader>,
    pub batch: Result<Batch, Ended>,
    pub places: Option<Places>,
}

/// The generation to begin in: for a place within it the first one that reaches so far.
pub(super) async fn first_generation(
    broker: &Broker,
    stream: &Stream,
    starts: &impl Fn(u32) -> Start,
) -> Result<(u64, u32), NoPlaces> {
    let newest = (stream.generation(), stream.definition.partitions);
    for (generation, partitions) in stream.generations() {
        for partition in 0..partitions {
            let key = stream.partition_of(generation, partition);
            let info = broker.store().partition(key).await.map_err(|_| Refusal::Unavailable)?;
            let tail = info.unwrap_or_default().ends.tail.position;
            let reaches = match starts(partition) {
                Start::Earliest => true,
                Start::Latest => false,
                Start::After(position) => tail >= position,
                Start::At(time) => tail.ms >= time.0,
            };
            if reaches {
                return Ok((generation, partitions));
            }
        }
    }
    Ok(newest)
}

/// Makes the places of a group anew, in the generation it begins in.
pub(super) async fn open_anew(
    broker: &Broker,
    stream: &Arc<Stream>,
    group: &Arc<str>,
    offset: &Offset,
) -> Result<Opened, NoPlaces> {
    let first = first_generation(broker, stream, &|partition| offset.at(partition)).await?;
    for (generation, partitions) in stream.generations().filter(|at| *at != first) {
        let keys = (0..partitions).map(|partition| stream.partition_of(generation, partition));
        places::forget(broker, keys, group);
    }
    let places = Places::take(broker, stream, first, group, |partition| offset.at(partition), true).await?;
    let reader = Reader::behind(broker, stream.clone(), first.0, &places.marks());
    Ok(Opened { reader: Box::new(reader), places: Some(places) })
}

/// Finds the places of a group and takes them; where there are none it begins with the latest.
pub(super) async fn opening(broker: Broker, stream: Arc<Stream>, group: Arc<str>) -> Result<Opened, Ended> {
    let key = (stream.realm.clone(), stream.name.clone());
    loop {
        let now = broker.streams().get(&key.0, &key.1).filter(|now| now.is_same(&stream));
        let now = now.ok_or(Ended::Deleted)?;
        match reopen(&broker, &now, &group).await {
            Ok(opened) => return Ok(opened),
            Err(error) => tracing::debug!(stream = %key.1, %error, "a place in a stream is waited for"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn reopen(broker: &Broker, stream: &Arc<Stream>, group: &Arc<str>) -> Result<Opened, NoPlaces> {
    let away = |_: ReadError| NoPlaces::Store(Refusal::Unavailable);
    let mut place = (stream.generation(), stream.definition.partitions);
    let mut start = Start::Latest;
    for (generation, partitions) in stream.generations() {
        let info = broker.store().partition(stream.partition_of(generation, 0)).await.map_err(away)?;
        if info.is_some_and(|info| info.groups.iter().any(|known| known.group == *group)) {
            (place, start) = ((generation, partitions), Start::Earliest);
            break;
        }
    }
    if start == Start::Latest {
        tracing::warn!(stream = %stream.name, "a session has no place in a stream any more: it goes on with the latest");
        counter!("weir_broker_stream_places_lost_total").increment(1);
    }
    let places = Places::take(broker, stream, place, group, |_| start, false).await?;
    let reader = Reader::behind(broker, stream.clone(), place.0, &places.marks());
    Ok(Opened { reader: Box::new(reader), places: Some(places) })
}

/// The next page. With a `group`, the places of a generation that begins with it are taken first.
pub(super) async fn read(
    broker: Broker,
    mut reader: Box<Reader>,
    group: Option<Arc<str>>,
    generation: u64,
) -> Read {
    let batch = loop {
        match reader.next(PAGE).await {
            Ok(batch) => break Ok(batch),
            Err(ReaderEnd::Deleted) => break Err(Ended::Deleted),
            Err(ReaderEnd::Read(ReadError::Unavailable)) => tokio::time::sleep(RETRY).await,
            Err(ReaderEnd::Read(error)) => {
                tracing::error!(stream = %reader.stream().name, %error, "a stream cannot be read");
                break Err(Ended::Unreadable);
            }
        }
    };
    let (Ok(found), Some(group)) = (&batch, group) else { return Read { reader, batch, places: None } };
    if found.generation == generation {
        return Read { reader, batch, places: None };
    }
    let stream = reader.stream().clone();
    let partitions = stream.generations().find(|(known, _)| *known == found.generation);
    let places = match partitions {
        Some(at) => take_patiently(&broker, &stream, at, &group).await,
        None => None,
    };
    Read { reader, batch, places }
}

/// Takes places as soon as they can be had; `None` = the partitions are gone.
async fn take_patiently(
    broker: &Broker,
    stream: &Stream,
    at: (u64, u32),
    group: &Arc<str>,
) -> Option<Places> {
    loop {
        match Places::take(broker, stream, at, group, |_| Start::Earliest, false).await {
            Ok(places) => return Some(places),
            Err(NoPlaces::Gone) => return None,
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}
