//! What goes to a client with a packet id: live copies, stored rows, retained messages.

use std::task::Context;

use weir_broker::clock;
use weir_broker::ledger::Loss;
use weir_broker::outbox::Live;
use weir_broker::session::window::Held;
use weir_broker::store::{Page, Queued, RowState, SessionOp};
use weir_model::Qos;
use weir_wire::mqtt::{PacketType, ReasonCode};

use super::channel::Mqtt;
use super::form;
use crate::connection::Channel;

/// Most bytes of rows one read of a queue takes into memory.
const PAGE_BYTES: usize = 256 << 10;

impl Mqtt {
    /// Goes on with what the store or the retained table is needed for.
    pub fn pay_owed(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) {
        self.send_releases(out);
        let Some(owed) = &mut self.owed else { return };
        if owed.replaying.take_if(|commit| commit.is_answered()).is_some() {
            self.behind = true;
        }
        self.replay(cx, out);
        self.owed.take_if(|o| o.releases.is_empty() && o.replays.is_empty() && o.replaying.is_none());
    }

    /// PUBRELs whose PUBREC is stored, in order.
    pub fn send_releases(&mut self, out: &mut Vec<u8>) {
        while let Some(owed) = &mut self.owed
            && let Some((packet_id, _)) = owed.releases.pop_front_if(|(_, commit)| commit.is_answered())
        {
            self.ack(PacketType::Pubrel, packet_id, ReasonCode::Success, out);
        }
    }

    /// Live copies from the outbox, as far as the window and the answer buffer allow.
    pub fn send_copies(&mut self, out: &mut Vec<u8>) {
        while out.len() < self.config().answer_bytes_max && self.loading.is_none() {
            let copies = self.take_copies(self.window.room().min(256));
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
            Some(number) if number > next || self.behind || !self.window.reaches(number) => {
                self.behind = true;
                return;
            }
            Some(number) => number,
            None => next,
        };
        let queued = live.number.is_some() || live.claim.as_ref().is_some_and(|c| c.number.is_some());
        self.publisher.tally.restored += u64::from(queued);
        let delivery = live.delivery;
        let held = live.claim.map(|claim| Box::new(Held { delivery: delivery.clone(), claim }));
        self.send_delivery(number, &delivery, held, false, out);
    }

    /// Encodes one numbered delivery, unless it has expired or is too large for the client.
    fn send_delivery(
        &mut self,
        number: u64,
        delivery: &weir_broker::store::Delivery,
        held: Option<Box<Held>>,
        dup: bool,
        out: &mut Vec<u8>,
    ) {
        if delivery.message.is_expired(clock::unix()) {
            return self.give_up(number, held, Loss::Expired);
        }
        let start = out.len();
        let packet_id = weir_broker::session::window::packet_id(number);
        form::encode_delivery(out, delivery, packet_id, dup, self.version);
        if out.len() - start > self.frame_bytes_max {
            out.truncate(start);
            return self.give_up(number, held, Loss::TooLarge);
        }
        if delivery.qos > Qos::AtMostOnce {
            self.window.send(number, delivery.qos, held);
        }
        self.publisher.tally.delivered += 1;
        self.publisher.tally.delivered_bytes += (out.len() - start) as u64;
    }

    /// A copy that will not be sent: its row goes.
    fn give_up(&mut self, number: u64, held: Option<Box<Held>>, loss: Loss) {
        self.publisher.broker.ledger().lost(loss, 1);
        if let Some(held) = held {
            self.publisher.broker.group_ack(&held.claim);
        } else if let Some(fence) = self.stored_fence() {
            self.window.skip_to(number + 1);
            self.submit(SessionOp::Ack { fence, number });
        }
    }

    /// Starts reading the stored queue if it has more than was seen.
    pub fn load(&mut self, cx: &mut Context<'_>) {
        let room = self.window.room();
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
            match row.state {
                RowState::Waiting(delivery) => {
                    self.publisher.tally.restored += 1;
                    let dup = row.number <= self.sent_before;
                    self.send_delivery(row.number, &delivery, None, dup, out);
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
