//! What goes to a client with a packet id: live copies, stored rows, retained messages.

use std::sync::Arc;
use std::task::Context;

use weir_broker::Limit;
use weir_broker::addressed::Addressed;
use weir_broker::clock;
use weir_broker::ledger::Loss;
use weir_broker::outbox::{Claim, Live};
use weir_broker::publish::Publisher;
use weir_broker::session::window::Held;
use weir_broker::store::{Delivery, Page, Queued, Refusal, RowState, SessionOp};
use weir_model::{Message, Qos, Reason};
use weir_wire::mqtt::{PacketType, ReasonCode};

use super::channel::Mqtt;
use super::form;
use crate::connection::{Channel, Flow};

/// Most bytes of rows one read of a queue takes into memory.
const PAGE_BYTES: usize = 256 << 10;

impl Mqtt {
    /// Goes on with what the store or the retained table is needed for.
    pub fn pay_owed(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Option<Flow> {
        if let Some(flow) = self.send_releases(out) {
            return Some(flow);
        }
        let owed = self.owed.as_mut()?;
        if owed.replaying.take_if(|commit| commit.is_answered()).is_some() {
            self.behind = true;
        }
        self.replay(cx, out);
        self.answer_requests();
        self.owed.take_if(|owed| owed.is_nothing());
        None
    }

    /// PUBRELs whose PUBREC is stored, in order. One that could not be stored ends the connection: on the
    /// next one the client gets PUBLISH again, and knows it by its packet id as long as it has no PUBREL.
    pub fn send_releases(&mut self, out: &mut Vec<u8>) -> Option<Flow> {
        while let Some(owed) = &mut self.owed
            && let Some((packet_id, commit)) = owed.releases.pop_front_if(|(_, commit)| commit.is_answered())
        {
            match commit.refusal() {
                None => self.ack(PacketType::Pubrel, packet_id, ReasonCode::Success, out),
                Some(Refusal::Fenced) => return Some(self.end(Reason::TakenOver, "", out)),
                Some(_) => return Some(self.end(Reason::Unavailable, "a PUBREC cannot be kept", out)),
            }
        }
        None
    }

    /// Live copies from the outbox, as far as the window and the answer buffer allow.
    pub fn send_copies(&mut self, out: &mut Vec<u8>) {
        while out.len() < self.config().answer_bytes_max && self.loading.is_none() {
            let room = self.send_room().min(256);
            let copies = self.take_copies(room);
            if copies.is_empty() {
                break;
            }
            for live in copies {
                self.send_live(live, out);
            }
        }
        if self.publisher.session.stored.is_some() && self.publisher.session.outbox.take_behind() {
            self.behind = true;
        }
    }

    /// One numbered copy; a clean session numbers it here.
    pub fn send_live(&mut self, live: Live, out: &mut Vec<u8>) {
        let next = self.window.next();
        let number = match live.number {
            // A live copy only saves a read: out of order, the queue is read instead.
            Some(number) if number < next => return,
            Some(number) if number > next || self.behind || !self.reaches(number) => {
                self.behind = true;
                return;
            }
            Some(number) => number,
            None => next,
        };
        let may = self.may_have(&live.delivery.message);
        if let (false, Some(claim)) = (may, &live.claim) {
            return self.hand_back(live.delivery.message, claim.clone());
        }
        if !may {
            return self.deny(number, &live.delivery, live.is_stored(), false);
        }
        self.publisher.tally.restored += u64::from(live.is_stored());
        let delivery = live.delivery;
        let held = live.claim.map(|claim| Box::new(Held { delivery: delivery.clone(), claim }));
        self.send_delivery(number, &delivery, held, false, out);
    }

    /// Encodes one numbered delivery, unless it has expired, is refused by middleware or too large for the client. One
    /// that is sent again was counted when it was sent first, and middleware is asked again.
    fn send_delivery(
        &mut self,
        number: u64,
        delivery: &Delivery,
        held: Option<Box<Held>>,
        again: bool,
        out: &mut Vec<u8>,
    ) {
        if delivery.message.is_expired(clock::unix()) {
            return self.give_up(number, delivery, held, again, Loss::Expired);
        }
        let addressed = Addressed::of(delivery.message.properties.as_deref());
        if addressed.is_some_and(|addressed| !addressed.allows(self.session())) {
            return self.give_up(number, delivery, held, again, Loss::Denied);
        }
        self.note_seen(delivery);
        let altered;
        let delivery = match self.publisher.on_deliver(&delivery.message) {
            Ok(None) => delivery,
            Ok(Some(message)) => {
                altered = Delivery { message, ..delivery.clone() };
                &altered
            }
            Err(_) => return self.give_up(number, delivery, held, again, Loss::Middleware),
        };
        let start = out.len();
        let packet_id = weir_broker::session::window::packet_id(number);
        form::encode_delivery(out, delivery, packet_id, again, self.version);
        if out.len() - start > self.frame_bytes_max {
            out.truncate(start);
            return self.give_up(number, delivery, held, again, Loss::TooLarge);
        }
        if delivery.qos > Qos::AtMostOnce {
            self.window.send(number, delivery.qos, held);
        } else if let Some(held) = held {
            // Sent at QoS 0 there is no answer to wait for.
            self.publisher.broker.group_ack(&held.claim);
        }
        self.publisher.tally.deliver(out.len() - start, again);
    }

    /// Whether a delivery may be sent under its packet id: neither another one has it, nor a record.
    fn reaches(&self, number: u64) -> bool {
        self.window.reaches(number) && !self.is_records(weir_broker::session::window::packet_id(number))
    }

    /// Whether this client may still have a message. Matching asked already; a row of a queue may be
    /// older than the client's rights, and a copy older than a change of them.
    fn may_have(&self, message: &Message) -> bool {
        let Publisher { broker, principal, session, .. } = &self.publisher;
        let access = broker.access();
        let settled = session.stored.is_none() && self.access_version == access.version();
        settled || access.may_receive(principal, &message.topic)
    }

    /// A shared message that this member may not have any more goes to another one. It was not sent, so
    /// nothing is counted here.
    fn hand_back(&mut self, message: Arc<Message>, claim: Claim) {
        let Publisher { broker, realm, session, .. } = &self.publisher;
        broker.hand_on_claim(realm, session, message, claim);
    }

    /// A delivery that this client may not have any more. From its own queue a shared one goes to another
    /// member, unless it is of QoS 2 and may have been sent (MQTT-4.8.2-4); any other is given up.
    fn deny(&mut self, number: u64, delivery: &Delivery, stored: bool, again: bool) {
        let Publisher { broker, realm, session, .. } = &self.publisher;
        let stays = delivery.qos == Qos::ExactlyOnce && again;
        if stored && !stays && broker.hand_on_row(realm, session, number, delivery) {
            return self.window.skip_to(number + 1);
        }
        self.publisher.tally.restored += u64::from(stored && !again);
        self.give_up(number, delivery, None, again, Loss::Denied);
    }

    /// A copy that will not be sent: its row goes.
    fn give_up(
        &mut self,
        number: u64,
        delivery: &Delivery,
        held: Option<Box<Held>>,
        again: bool,
        loss: Loss,
    ) {
        let (ledger, client) = (self.publisher.broker.ledger(), self.publisher.session.client_id());
        ledger.lost_by(client, &delivery.message.topic, loss, u64::from(!again));
        if let Some(held) = held {
            self.publisher.broker.group_ack(&held.claim);
        } else if let Some(fence) = self.stored_fence() {
            self.window.skip_to(number + 1);
            self.submit(SessionOp::Ack { fence, number });
        }
    }

    /// Counts, once until all has been sent, that deliveries wait because the window is full.
    pub fn note_window(&mut self) {
        if !self.window_limits && self.window.room() > 0 {
            return;
        }
        let waits = self.behind
            || self.loading.is_some()
            || self.owed.as_ref().is_some_and(|owed| !owed.replays.is_empty())
            || self.session().outbox.has_copies();
        if waits && !self.window_limits {
            self.publisher.broker.limited(Limit::Inflight);
        }
        self.window_limits = waits;
    }

    /// Starts reading the stored queue if it has more than was seen.
    pub fn load(&mut self, cx: &mut Context<'_>) {
        let room = self.send_room();
        if !self.behind || self.loading.is_some() || room == 0 {
            return;
        }
        let page = Page { rows_max: room.min(512), bytes_max: PAGE_BYTES };
        let after = self.window.next() - 1;
        let key = self.session().key.clone();
        self.loading = Some(self.publisher.broker.store().read_queue(key, after, page));
        self.behind = false;
        // Its first poll registers this task.
        cx.waker().wake_by_ref();
    }

    /// Rows of the stored queue, in order.
    pub fn send_rows(&mut self, rows: Vec<Queued>, out: &mut Vec<u8>) {
        let Some(last) = rows.last().map(|row| row.number) else { return };
        self.behind = true;
        for row in rows {
            if row.number < self.window.next() || !self.window.reaches(row.number) {
                continue;
            }
            if !self.reaches(row.number) {
                // Until the client has answered the record under this packet id.
                return self.window.skip_to(row.number);
            }
            match row.state {
                RowState::Waiting(delivery) => {
                    let again = row.number <= self.sent_before;
                    if !self.may_have(&delivery.message) {
                        self.deny(row.number, &delivery, true, again);
                        continue;
                    }
                    self.publisher.tally.restored += u64::from(!again);
                    self.send_delivery(row.number, &delivery, None, again, out);
                }
                RowState::Released => {
                    let packet_id = self.window.resume_released(row.number);
                    self.ack(PacketType::Pubrel, packet_id, ReasonCode::Success, out);
                }
            }
        }
        tracing::trace!(last, "rows of a queue sent");
    }
}
