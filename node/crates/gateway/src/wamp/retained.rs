//! What a new subscription is given before live events: what was recorded behind a publication, then what is retained, in
//! pages between other things.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use weir_broker::addressed::Addressed;
use weir_broker::fanout::borrowed;
use weir_broker::form::Marks;
use weir_broker::ledger::Loss;
use weir_broker::publish::Publisher;
use weir_broker::retained::PageMax;
use weir_broker::stream::history::{Past, PastEvent};
use weir_broker::stream::reader::ReaderEnd;
use weir_broker::sync::{Selector, Subject};
use weir_broker::{clock, publication};
use weir_model::{Filter, Message, Reason, Topic};
use weir_wire::wamp::uri::Pattern;

use super::channel::Wamp;
use super::reason;

/// What is still owed to one subscription.
pub struct Replay {
    number: u32,
    pattern: Pattern,
    selector: Selector,
    past: Option<Reader>,
    /// Retained events come.
    has_retained: bool,
    /// Behind this topic.
    after: Option<Topic>,
    /// The subscription ends when everything has come.
    is_snapshot: bool,
}

type Page = (Box<Past>, Result<Option<Vec<PastEvent>>, ReaderEnd>);

/// Reads what was recorded; holds a page at most.
struct Reader {
    past: Option<Box<Past>>,
    /// Locked by nobody: a future that may be looked at from one thread only.
    page: Option<Mutex<BoxFuture<'static, Page>>>,
    events: VecDeque<PastEvent>,
}

/// How far it has come in one turn.
enum Turn {
    /// There is more now.
    More,
    /// This task is woken when there is.
    Waits,
    Done,
}

impl Replay {
    /// Of a subscription by this filter, which has the pattern's.
    pub fn new(number: u32, pattern: Pattern, filter: &Filter) -> Replay {
        let selector = Selector::of(filter).and_then(Result::ok).unwrap_or_default();
        let selector = Selector { condition: selector.condition, ..Selector::default() };
        let (past, has_retained, is_snapshot) = (None, false, false);
        Replay { number, pattern, selector, past, has_retained, after: None, is_snapshot }
    }

    /// First what was recorded.
    pub fn with_past(mut self, past: Option<Past>) -> Replay {
        let reader = |past| Reader { past: Some(Box::new(past)), page: None, events: VecDeque::new() };
        self.past = past.map(reader);
        self
    }

    /// Then what is retained.
    pub fn with_retained(mut self, has_retained: bool) -> Replay {
        self.has_retained = has_retained;
        self
    }

    /// And then it ends.
    pub fn snapshot(mut self, is_snapshot: bool) -> Replay {
        self.is_snapshot = is_snapshot;
        self
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    pub fn has_retained(&self) -> bool {
        self.has_retained
    }

    /// Whether live events wait until it is through.
    pub fn holds_live(&self) -> bool {
        self.past.is_some() && !self.is_snapshot
    }

    /// Whether there is nothing to do.
    pub fn is_nothing(&self) -> bool {
        self.past.is_none() && !self.has_retained && !self.is_snapshot
    }

    fn takes(&self, message: &Message) -> bool {
        self.pattern.matches(&message.topic) && self.selector.takes(&Subject::of(message))
    }
}

impl Reader {
    /// The next events; `None` = the end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<()>, ReaderEnd>> {
        let page = self.page.get_or_insert_with(|| {
            let past = self.past.take();
            let read = async move {
                let mut past = past.unwrap_or_else(|| unreachable!("it is here while no page is read"));
                let page = past.page().await;
                (past, page)
            };
            Mutex::new(read.boxed())
        });
        let Poll::Ready((past, page)) = page.get_mut().poll_unpin(cx) else { return Poll::Pending };
        (self.past, self.page) = (Some(past), None);
        Poll::Ready(page.map(|page| page.map(|events| self.events.extend(events))))
    }
}

impl Wamp {
    /// Sends the next page of each subscription that is owed one.
    pub fn replay(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) {
        let bytes_max = self.shared.config.answer_bytes_max / 2;
        for _ in 0..self.replays.len() {
            if out.len() >= bytes_max {
                return;
            }
            let Some(mut replay) = self.replays.pop_front() else { return };
            match self.take_turn(&mut replay, cx, out) {
                Ok(Turn::Waits) => self.replays.push_back(replay),
                Ok(Turn::More) => {
                    self.replays.push_front(replay);
                    // Others on this thread have their turn.
                    return cx.waker().wake_by_ref();
                }
                Ok(Turn::Done) if replay.is_snapshot => self.revoke(replay.number, "", out),
                Ok(Turn::Done) => {}
                Err(error) => {
                    tracing::debug!(%error, "the history of a subscription cannot be read");
                    self.revoke(replay.number, reason::uri(Reason::Unavailable, false), out);
                }
            }
        }
        if self.replays.is_empty() {
            self.replays = VecDeque::new();
        }
    }

    fn take_turn(
        &mut self,
        replay: &mut Replay,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Turn, ReaderEnd> {
        if replay.past.is_some() {
            return self.send_past(replay, cx, out);
        }
        if replay.has_retained {
            return Ok(self.send_retained_page(replay, out));
        }
        Ok(Turn::Done)
    }

    fn send_past(
        &mut self,
        replay: &mut Replay,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Turn, ReaderEnd> {
        let bytes_max = self.shared.config.answer_bytes_max / 2;
        loop {
            let Some(reader) = &mut replay.past else { return Ok(Turn::More) };
            while let Some(event) = reader.events.pop_front() {
                self.send_recorded(&event, replay.number, out);
                if out.len() >= bytes_max {
                    return Ok(Turn::More);
                }
            }
            let Some(reader) = &mut replay.past else { return Ok(Turn::More) };
            match reader.poll(cx) {
                Poll::Pending => return Ok(Turn::Waits),
                Poll::Ready(page) => match page? {
                    Some(()) => {}
                    None if replay.is_snapshot || self.catch_up(replay.number, out) => {
                        replay.past = None;
                        return Ok(Turn::More);
                    }
                    None => {}
                },
            }
        }
    }

    fn send_recorded(&mut self, event: &PastEvent, number: u32, out: &mut Vec<u8>) {
        let allows = |addressed: Addressed| addressed.allows(&self.publisher.session);
        let is_meant = Addressed::of(event.message.properties.as_deref()).is_none_or(allows);
        if is_meant
            && !event.message.is_expired(clock::unix())
            && self.read_in_record(number, event.publication)
        {
            self.send_before(&event.message, number, (false, event.publication), out);
        }
    }

    fn send_retained_page(&mut self, replay: &mut Replay, out: &mut Vec<u8>) -> Turn {
        let bytes = self.shared.config.answer_bytes_max / 2;
        let max = PageMax { messages: self.shared.config.retained_page_messages, bytes, examined: 4096 };
        let realm = self.publisher.realm.clone();
        let page = realm.retained.page(replay.pattern.filter(), replay.after.as_ref(), clock::unix(), max);
        for message in page.messages.iter().filter(|message| replay.takes(message)) {
            let publication = match realm.retained.position(&message.topic) {
                Some(position) => publication::of(position),
                None => publication::next(),
            };
            self.send_before(message, replay.number, (true, publication), out);
        }
        replay.after = page.next;
        replay.has_retained = replay.after.is_some();
        Turn::More
    }

    /// Sends an event that was there before the subscription.
    fn send_before(
        &mut self,
        message: &Message,
        number: u32,
        (retain, publication): (bool, u64),
        out: &mut Vec<u8>,
    ) {
        self.publisher.tally.matched += 1;
        let Publisher { broker, principal, session, .. } = &self.publisher;
        let lost = |loss| broker.ledger().lost_by(session.client_id(), &message.topic, loss, 1);
        if !broker.access().may_receive(principal, &message.topic) {
            return lost(Loss::Denied);
        }
        let altered = match self.publisher.on_deliver(message) {
            Ok(altered) => altered,
            Err(_) => return lost(Loss::Middleware),
        };
        let message = altered.as_deref().unwrap_or(message);
        let start = out.len();
        let marks = Marks { retain, subscription_ids: &[number], publication };
        let form = broker.form(session.form());
        form.encode(out, &borrowed(message), marks);
        if out.len() - start > self.peer_bytes_max {
            out.truncate(start);
            return lost(Loss::TooLarge);
        }
        self.publisher.tally.deliver(out.len() - start, false);
    }
}
