//! Reading a stream alone: from any place, to its end or on and on.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use weir_broker::store::{Page, Start};
use weir_broker::stream::Stream;
use weir_broker::stream::reader::{Batch, Reader, ReaderEnd};
use weir_model::{Filter, Position};

use super::super::watch::until_over;
use super::{Place, Shared, define, realm_name, records};
use crate::caller::Caller;
use crate::error::Refused;
use crate::proto::{StreamPartitionPosition, StreamsReadRequest, StreamsReadResponse};

/// Records of one answer, and bytes of them unless one alone has more.
const PAGE: Page = Page { rows_max: 500, bytes_max: 512 << 10 };

/// Answers on their way to a reader beside HTTP/2's own window; a reader that takes none stops the reading.
const WAITING_MAX: usize = 2;

type Answer = Result<StreamsReadResponse, Status>;

/// Reads as asked.
pub async fn read(
    shared: Shared,
    caller: Caller,
    request: StreamsReadRequest,
    place: Place,
) -> Result<ReceiverStream<Answer>, Refused> {
    define::name("name", &request.name)?;
    let stream = shared.broker.stream(&realm_name(&request.realm), &request.name)?;
    let start = define::start("start", request.start.as_ref())?;
    let after = after(&stream, &request.after)?;
    let filter = match request.filter.as_str() {
        "" => None,
        text => Some(define::filter("filter", text)?),
    };
    if filter.as_ref().is_some_and(|filter| filter.share().is_some()) {
        return Err(Refused::field("filter", "it is a shared one", "a filter without $share"));
    }
    let mut reader = Reader::after(&shared.broker, stream, start, after);
    if start == Start::Latest {
        // What is appended after the caller hears the first of this call is read.
        reader.fix().await?;
    }
    let (sender, answers) = mpsc::channel(WAITING_MAX);
    let left = Some(request.records_max).filter(|max| *max > 0);
    let wanted = Wanted { filter, follow: request.follow, left };
    tokio::spawn(async move {
        let _place = place;
        until_over(&shared, &caller, &sender, wanted.tell(reader, &sender)).await;
    });
    Ok(ReceiverStream::new(answers))
}

fn after(stream: &Stream, asked: &[StreamPartitionPosition]) -> Result<Vec<(u32, Position)>, Refused> {
    let partitions = stream.generations().map(|(_, partitions)| partitions).max().unwrap_or(0);
    let one = |asked: &StreamPartitionPosition| match asked.partition < partitions {
        true => Ok((asked.partition, define::position("after", &asked.position)?)),
        false => {
            Err(Refused::field("after", "there is no such partition", format!("0 to {}", partitions - 1)))
        }
    };
    if asked.len() > partitions as usize {
        return Err(Refused::field("after", "a partition is named twice", "each at most once"));
    }
    asked.iter().map(one).collect()
}

/// What a reader wants.
struct Wanted {
    filter: Option<Filter>,
    follow: bool,
    /// Records it may still have; `None` = no limit.
    left: Option<u64>,
}

impl Wanted {
    /// Until there is no more, or the reader has gone.
    async fn tell(mut self, mut reader: Reader, sender: &mpsc::Sender<Answer>) {
        while self.left != Some(0) {
            // Nothing is read that nobody takes.
            let Ok(room) = sender.reserve().await else { return };
            match self.next(&mut reader).await {
                Ok(Some(answer)) => room.send(Ok(answer)),
                Ok(None) => return,
                Err(end) => return room.send(Err(Refused::from(end).into())),
            }
        }
    }

    /// What is told next; `None` = that was all.
    async fn next(&mut self, reader: &mut Reader) -> Result<Option<StreamsReadResponse>, ReaderEnd> {
        loop {
            let page = Page { rows_max: self.rows_max(), ..PAGE };
            let batch = if self.follow { reader.next(page).await? } else { reader.read(page).await? };
            if batch.records.is_empty() && batch.missed == 0 {
                return Ok(None);
            }
            let answer = self.told(batch);
            if !answer.records.is_empty() || answer.missed > 0 {
                return Ok(Some(answer));
            }
            // All of it was filtered out, perhaps without a wait: others want the thread too.
            tokio::task::yield_now().await;
        }
    }

    fn rows_max(&self) -> usize {
        let left = self.left.and_then(|left| usize::try_from(left).ok());
        left.unwrap_or(usize::MAX).min(PAGE.rows_max)
    }

    fn told(&mut self, batch: Batch) -> StreamsReadResponse {
        let wants = |topic: &str| self.filter.as_ref().is_none_or(|filter| filter.matches(topic));
        let wanted = batch.records.into_iter().filter(|(_, record)| wants(&record.message.topic));
        let records: Vec<_> = wanted.map(|(partition, record)| records::told(partition, record)).collect();
        self.left = self.left.map(|left| left.saturating_sub(records.len() as u64));
        StreamsReadResponse { generation: batch.generation, records, missed: batch.missed }
    }
}
