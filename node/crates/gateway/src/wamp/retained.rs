//! Retained events for a new subscription, in pages between other things.

use std::task::Context;

use weir_broker::clock;
use weir_broker::fanout::borrowed;
use weir_broker::form::{Marks, next_publication};
use weir_broker::ledger::Loss;
use weir_broker::publish::Publisher;
use weir_broker::retained::PageMax;
use weir_model::{Message, Topic};
use weir_wire::wamp::uri::Pattern;

use super::channel::Wamp;
use super::form;

/// Retained events still owed to one subscription.
pub struct Replay {
    number: u32,
    pattern: Pattern,
    after: Option<Topic>,
}

impl Replay {
    pub fn new(number: u32, pattern: Pattern) -> Replay {
        Replay { number, pattern, after: None }
    }

    pub fn number(&self) -> u32 {
        self.number
    }
}

impl Wamp {
    /// Sends the next page.
    pub fn replay(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) {
        let bytes_max = self.shared.config.answer_bytes_max / 2;
        if out.len() >= bytes_max {
            return;
        }
        let Some(mut replay) = self.replays.pop_front() else { return };
        let messages = self.shared.config.retained_page_messages;
        let max = PageMax { messages, bytes: bytes_max, examined: 4096 };
        let retained = &self.publisher.realm.retained;
        let page = retained.page(replay.pattern.filter(), replay.after.as_ref(), clock::unix(), max);
        for message in page.messages.iter().filter(|message| replay.pattern.matches(&message.topic)) {
            self.send_retained(message, replay.number, out);
        }
        match page.next {
            Some(next) => {
                replay.after = Some(next);
                self.replays.push_front(replay);
            }
            None if self.replays.is_empty() => self.replays = Default::default(),
            None => {}
        }
        // Others on this thread have their turn.
        cx.waker().wake_by_ref();
    }

    fn send_retained(&mut self, message: &Message, number: u32, out: &mut Vec<u8>) {
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
        let marks = Marks { retain: true, subscription_ids: &[number], publication: next_publication() };
        let form = broker.form(form::form_id(self.serialization));
        form.encode(out, &borrowed(message), marks);
        if out.len() - start > self.peer_bytes_max {
            out.truncate(start);
            return lost(Loss::TooLarge);
        }
        self.publisher.tally.deliver(out.len() - start, false);
    }
}
