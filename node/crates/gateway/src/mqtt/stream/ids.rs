//! Packet ids of records, which share one ring of numbers with the window's.

use std::collections::BTreeSet;

use weir_broker::session::window::{Window, packet_id};

/// Half the ring: where the window comes last.
const AWAY: u64 = 32_768;

/// Records take no id that the window reaches with so many deliveries more.
const APART: u16 = 4096;

/// In use by records that were sent and are not answered. Bounded by the window's maximum.
#[derive(Default)]
pub struct Ids {
    used: BTreeSet<u16>,
    last: u16,
}

impl Ids {
    pub fn len(&self) -> usize {
        self.used.len()
    }

    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    pub fn has(&self, id: u16) -> bool {
        self.used.contains(&id)
    }

    /// One that nothing in flight has.
    pub fn next(&mut self, window: &Window) -> u16 {
        let ahead = packet_id(window.next());
        let mut id = after(self.last);
        if distance(ahead, id) < APART {
            id = packet_id(window.next() + AWAY);
        }
        while self.has(id) || window.has(id) {
            id = after(id);
        }
        self.last = id;
        id
    }

    /// A record was sent under this id.
    pub fn take(&mut self, id: u16) {
        self.used.insert(id);
    }

    /// It was answered; false when no record has it.
    pub fn free(&mut self, id: u16) -> bool {
        self.used.remove(&id)
    }

    /// How many deliveries the window may send, of the `room` it has: not more than the client takes, and none
    /// under an id of a record.
    pub fn room_beside(&self, window: &Window, room: usize) -> usize {
        let next = packet_id(window.next());
        let ahead = self.used.range(next..).next().or_else(|| self.used.first());
        let free = ahead.map_or(usize::MAX, |id| usize::from(distance(next, *id)));
        room.saturating_sub(self.used.len()).min(free)
    }
}

/// From 65,535 on to 1: there is no 0 (MQTT-2.2.1-3).
fn after(id: u16) -> u16 {
    id.checked_add(1).unwrap_or(1).max(1)
}

/// Steps from one id to another, around the ring.
fn distance(from: u16, to: u16) -> u16 {
    if to >= from { to - from } else { u16::MAX - (from - to) }
}

#[cfg(test)]
mod tests {
    use weir_model::Qos;

    use super::*;

    #[test]
    fn records_and_deliveries_never_share_a_packet_id() {
        let mut window = Window::new(1, 1024);
        let (mut ids, mut records, mut deliveries) = (Ids::default(), Vec::new(), Vec::new());
        for round in 0..200_000u64 {
            if ids.room_beside(&window, window.room()) > 0 {
                let id = window.send(window.next(), Qos::AtLeastOnce, None);
                assert!(!ids.has(id), "round {round}");
                deliveries.push(id);
            }
            if ids.len() < 100 {
                let id = ids.next(&window);
                assert!(id != 0 && !window.has(id) && !ids.has(id), "round {round}");
                ids.take(id);
                records.push(id);
            }
            if deliveries.len() > 50 {
                window.puback(deliveries.remove(0));
            }
            if records.len() >= 100 && round % 3 == 0 {
                assert!(ids.free(records.remove(0)));
            }
        }
    }

    #[test]
    fn a_record_that_is_never_answered_holds_the_window_back_before_its_id() {
        let mut window = Window::new(1, 10);
        let mut ids = Ids::default();
        let stuck = ids.next(&window);
        ids.take(stuck);
        let mut sent = 0u32;
        while ids.room_beside(&window, window.room()) > 0 {
            let id = window.send(window.next(), Qos::AtLeastOnce, None);
            assert_ne!(id, stuck);
            window.puback(id);
            sent += 1;
        }
        assert_eq!(packet_id(window.next()), stuck);
        assert!(sent > 30_000);
        assert!(ids.free(stuck) && ids.room_beside(&window, window.room()) > 0);
    }
}
