//! The window: QoS 1 and 2 deliveries that were sent and are not answered yet.
//!
//! Deliveries carry dense numbers, from the stored queue or counted here for a clean session. The
//! packet id is `1 + number mod 65535`, so it is the same whatever node or process sends it, without
//! a write before the send.

use std::collections::VecDeque;

use crate::outbox::Claim;
use weir_model::Qos;
use weir_store::Delivery;

/// Distance after which packet ids repeat.
const IDS: u64 = 65_535;

/// The packet id of a queue number.
pub fn packet_id(number: u64) -> u16 {
    (1 + number % IDS) as u16
}

/// What happened to a number.
#[derive(Debug, Clone)]
enum Slot {
    /// Answered, or never sent by this connection.
    Free,
    /// PUBLISH is out.
    Sent { qos: Qos, held: Option<Box<Held>> },
    /// PUBREC came, PUBREL is out.
    Released,
}

/// A shared delivery, kept to be handed on if this member is lost.
#[derive(Debug, Clone)]
pub struct Held {
    pub delivery: Delivery,
    pub claim: Claim,
}

/// What an answer of the client means.
#[derive(Debug)]
pub enum Answered {
    /// The delivery with this number is over. A shared claim, if it was one, is settled.
    Over { number: u64, claim: Option<Claim> },
    /// PUBREL wants sending; the receiver has the message, so a shared claim on it is settled.
    Release { number: u64, claim: Option<Claim> },
    /// No such delivery: an answer from before, or a mistake of the client.
    Unknown,
}

/// Deliveries in flight to one client.
#[derive(Debug)]
pub struct Window {
    slots: VecDeque<Slot>,
    /// The number of `slots[0]`.
    base: u64,
    in_flight: u32,
    max: u32,
}

impl Window {
    /// `max`: the lower of the client's receive maximum and the broker's own bound.
    pub fn new(first: u64, max: u16) -> Window {
        Window { slots: VecDeque::new(), base: first, in_flight: 0, max: u32::from(max.max(1)) }
    }

    /// The number the next delivery must have.
    pub fn next(&self) -> u64 {
        self.base + self.slots.len() as u64
    }

    /// How many may be in flight at once.
    pub fn max(&self) -> usize {
        self.max as usize
    }

    /// Whether a packet id belongs to what is in flight, or lies between.
    pub fn has(&self, packet_id: u16) -> bool {
        self.find(packet_id).is_some()
    }

    /// How many more may be sent now.
    pub fn room(&self) -> usize {
        let by_ids = (IDS - 1).saturating_sub(self.slots.len() as u64) as usize;
        (self.max.saturating_sub(self.in_flight) as usize).min(by_ids)
    }

    /// Whether `number` may be sent without meeting a packet id still in flight.
    pub fn reaches(&self, number: u64) -> bool {
        self.slots.is_empty() || number - self.base < IDS - 1
    }

    /// Marks `number` (not below [`Window::next`]; numbers left out are gone) as sent; returns its packet id.
    pub fn send(&mut self, number: u64, qos: Qos, held: Option<Box<Held>>) -> u16 {
        self.skip_to(number);
        self.slots.push_back(Slot::Sent { qos, held });
        self.in_flight += 1;
        packet_id(number)
    }

    /// Marks `number` as released before (its PUBREC is in the store): PUBREL is sent again.
    pub fn resume_released(&mut self, number: u64) -> u16 {
        self.skip_to(number);
        self.slots.push_back(Slot::Released);
        self.in_flight += 1;
        packet_id(number)
    }

    /// Numbers below `number` do not exist any more.
    pub fn skip_to(&mut self, number: u64) {
        if self.slots.is_empty() {
            self.base = self.base.max(number);
        }
        while self.next() < number {
            self.slots.push_back(Slot::Free);
        }
    }

    /// PUBACK (MQTT-4.3.2).
    pub fn puback(&mut self, packet_id: u16) -> Answered {
        let Some((number, index)) = self.find(packet_id) else { return Answered::Unknown };
        match &mut self.slots[index] {
            Slot::Sent { qos: Qos::AtLeastOnce, held } => {
                let claim = held.take().map(|held| held.claim);
                self.free(index);
                Answered::Over { number, claim }
            }
            _ => Answered::Unknown,
        }
    }

    /// PUBREC (MQTT-4.3.3); `failed`: with a reason code of 0x80 or more, which ends the delivery.
    pub fn pubrec(&mut self, packet_id: u16, failed: bool) -> Answered {
        let Some((number, index)) = self.find(packet_id) else { return Answered::Unknown };
        match &mut self.slots[index] {
            Slot::Sent { qos: Qos::ExactlyOnce, held } if failed => {
                let claim = held.take().map(|held| held.claim);
                self.free(index);
                Answered::Over { number, claim }
            }
            slot @ Slot::Sent { qos: Qos::ExactlyOnce, .. } => {
                let claim = match std::mem::replace(slot, Slot::Released) {
                    Slot::Sent { held, .. } => held.map(|held| held.claim),
                    Slot::Free | Slot::Released => None,
                };
                Answered::Release { number, claim }
            }
            Slot::Released => Answered::Release { number, claim: None },
            _ => Answered::Unknown,
        }
    }

    /// PUBCOMP.
    pub fn pubcomp(&mut self, packet_id: u16) -> Answered {
        let Some((number, index)) = self.find(packet_id) else { return Answered::Unknown };
        match self.slots[index] {
            Slot::Released => {
                self.free(index);
                Answered::Over { number, claim: None }
            }
            _ => Answered::Unknown,
        }
    }

    fn find(&self, packet_id: u16) -> Option<(u64, usize)> {
        let wanted = u64::from(packet_id.checked_sub(1)?);
        let index = (wanted + IDS - self.base % IDS) % IDS;
        let index = usize::try_from(index).ok().filter(|i| *i < self.slots.len())?;
        Some((self.base + index as u64, index))
    }

    fn free(&mut self, index: usize) {
        self.slots[index] = Slot::Free;
        self.in_flight -= 1;
        while matches!(self.slots.front(), Some(Slot::Free)) {
            self.slots.pop_front();
            self.base += 1;
        }
        if self.slots.is_empty() {
            self.slots = VecDeque::new();
        }
    }

    /// Shared deliveries that were not acknowledged.
    pub fn into_held(self) -> Vec<Held> {
        let held = |slot| match slot {
            Slot::Sent { held: Some(held), .. } => Some(*held),
            _ => None,
        };
        self.slots.into_iter().filter_map(held).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn packet_ids_follow_from_the_queue_number_and_are_never_zero() {
        assert_eq!(packet_id(0), 1);
        assert_eq!(packet_id(1), 2);
        assert_eq!(packet_id(65_534), 65_535);
        assert_eq!(packet_id(65_535), 1);
    }

    #[test]
    fn a_full_window_has_no_room_until_an_answer_comes() {
        let mut window = Window::new(1, 2);
        let first = window.send(1, Qos::AtLeastOnce, None);
        window.send(2, Qos::AtLeastOnce, None);
        assert_eq!(window.room(), 0);
        assert!(matches!(window.puback(first), Answered::Over { number: 1, .. }));
        assert_eq!(window.room(), 1);
        assert!(matches!(window.puback(first), Answered::Unknown));
    }

    #[test]
    fn qos2_is_over_only_after_pubcomp() {
        let mut window = Window::new(5, 10);
        let id = window.send(5, Qos::ExactlyOnce, None);
        assert!(matches!(window.pubcomp(id), Answered::Unknown));
        assert!(matches!(window.pubrec(id, false), Answered::Release { number: 5, .. }));
        assert!(matches!(window.pubrec(id, false), Answered::Release { number: 5, .. }));
        assert!(matches!(window.puback(id), Answered::Unknown));
        assert!(matches!(window.pubcomp(id), Answered::Over { number: 5, .. }));
        assert_eq!(window.room(), 10);
    }

    #[test]
    fn a_shared_qos2_message_is_settled_once_its_receiver_has_it() {
        let filter = weir_model::Filter::new("$share/g/t").unwrap();
        let message = std::sync::Arc::new(weir_model::Message {
            topic: weir_model::Topic::new("t").unwrap(),
            payload: bytes::Bytes::new(),
            qos: Qos::ExactlyOnce,
            retain: false,
            expires_at: None,
            properties: None,
        });
        let held = |number| {
            let group = crate::share::Group::new(filter.clone(), "r".into());
            let delivery = Delivery {
                message: message.clone(),
                qos: Qos::ExactlyOnce,
                retain: false,
                subscription_ids: Default::default(),
                group: Some(filter.clone()),
            };
            Some(Box::new(Held { delivery, claim: Claim { group, number: Some(number), handovers: 0 } }))
        };
        let mut window = Window::new(1, 10);
        let id = window.send(1, Qos::ExactlyOnce, held(7));
        window.send(2, Qos::ExactlyOnce, held(8));
        let answered = window.pubrec(id, false);
        assert!(matches!(answered, Answered::Release { claim: Some(Claim { number: Some(7), .. }), .. }));
        assert!(matches!(window.pubrec(id, false), Answered::Release { claim: None, .. }));
        let left: Vec<_> = window.into_held().iter().map(|held| held.claim.number).collect();
        assert_eq!(left, [Some(8)]);
    }

    #[test]
    fn one_stuck_delivery_never_lets_its_packet_id_be_used_again() {
        let mut window = Window::new(0, 10);
        window.send(0, Qos::AtLeastOnce, None);
        for number in 1..IDS - 1 {
            assert!(window.reaches(number));
            let id = window.send(number, Qos::AtLeastOnce, None);
            assert!(matches!(window.puback(id), Answered::Over { .. }));
        }
        assert_eq!(window.room(), 0);
    }

    proptest! {
        #[test]
        fn every_sent_number_is_found_by_its_packet_id(first in 0u64..200_000, gaps in prop::collection::vec(0u64..5, 1..50)) {
            let mut window = Window::new(first, 100);
            let mut number = first;
            let mut sent = Vec::new();
            for gap in gaps {
                number += gap;
                sent.push((number, window.send(number, Qos::AtLeastOnce, None)));
                number += 1;
            }
            for (number, id) in sent.into_iter().rev() {
                let answered = window.puback(id);
                let over = matches!(answered, Answered::Over { number: n, .. } if n == number);
                prop_assert!(over);
            }
            prop_assert_eq!(window.room(), 100);
        }
    }
}
