//! What was recorded of a filter, read in order, a page at a time.

use std::sync::Arc;

use weir_model::{Filter, Message, Position};
use weir_store::{Page, Start};

use crate::broker::Broker;
use crate::stream::Stream;
use crate::stream::reader::{Reader, ReaderEnd};
use crate::sync::{After, Selector, Subject};

/// Records read at once.
const PAGE: Page = Page { rows_max: 200, bytes_max: 256 << 10 };

/// Recorded events of one filter.
pub struct Past {
    broker: Broker,
    stream: Arc<Stream>,
    filter: Filter,
    selector: Selector,
    /// Where it begins, until it has.
    after: Option<After>,
    reader: Option<Reader>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct PastEvent {
    pub message: Arc<Message>,
    /// The number it had when it was live.
    pub publication: u64,
    pub position: Position,
}

impl Past {
    /// Everything behind `after`; `None` = all that is there. What the selector of the filter does not take is left out.
    pub fn new(broker: &Broker, stream: Arc<Stream>, filter: &Filter, after: Option<After>) -> Past {
        let selector = Selector::of(filter).and_then(Result::ok).unwrap_or_default();
        // What is recorded is read here.
        let selector = Selector { unrecorded: false, ..selector };
        Past { broker: broker.clone(), stream, filter: filter.clone(), selector, after, reader: None }
    }

    /// The next page; `None` at the end of what is there now. An empty page is not the end.
    pub async fn page(&mut self) -> Result<Option<Vec<PastEvent>>, ReaderEnd> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => {
                let start = match self.after {
                    Some(after) => self.broker.place_after(&self.stream, after).await?,
                    None => Start::Earliest,
                };
                self.reader.insert(Reader::new(&self.broker, self.stream.clone(), start))
            }
        };
        let batch = reader.read(PAGE).await?;
        if batch.records.is_empty() {
            return Ok(None);
        }
        let events = batch.records.into_iter().map(|(_, record)| {
            let (publication, position) = (super::number_of(&record), record.mark.position);
            PastEvent { message: record.message, publication, position }
        });
        let (filter, selector) = (&self.filter, &self.selector);
        let is_meant = |event: &PastEvent| {
            filter.matches(&event.message.topic) && selector.takes(&Subject::of(&event.message))
        };
        Ok(Some(events.filter(is_meant).collect()))
    }
}
