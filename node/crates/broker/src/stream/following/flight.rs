//! What was sent of a stream and is not answered yet, in the order it was sent.

use std::collections::VecDeque;

use weir_store::Mark;

/// Entries that are kept at most: what is sent and answered behind one that is not waits here.
pub const ENTRIES_MAX: usize = 8192;

/// Where a record stands in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    pub generation: u64,
    pub partition: u32,
    pub mark: Mark,
}

struct Entry {
    at: At,
    /// `None` = finished.
    packet_id: Option<u16>,
}

/// Deliveries of one stream to one connection. Bounded by [`ENTRIES_MAX`]: who finds it full waits for answers.
#[derive(Default)]
pub struct Flight {
    entries: VecDeque<Entry>,
}

impl Flight {
    /// Whether no more may be sent before the oldest is answered.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= ENTRIES_MAX
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A record is on its way, and wants an answer under this packet id; `None`: it wants none.
    pub fn sent(&mut self, at: At, packet_id: Option<u16>) {
        self.entries.push_back(Entry { at, packet_id });
    }

    /// The answer came; false when it was not waited for.
    pub fn answered(&mut self, packet_id: u16) -> bool {
        let entry = self.entries.iter_mut().find(|entry| entry.packet_id == Some(packet_id));
        entry.map(|entry| entry.packet_id = None).is_some()
    }

    /// The oldest, if it is finished.
    pub fn finished(&mut self) -> Option<At> {
        self.entries.pop_front_if(|entry| entry.packet_id.is_none()).map(|entry| entry.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64) -> At {
        At { generation: 1, partition: 0, mark: Mark { number, ..Mark::default() } }
    }

    fn finished(flight: &mut Flight) -> Vec<u64> {
        std::iter::from_fn(|| flight.finished()).map(|at| at.mark.number).collect()
    }

    #[test]
    fn a_place_moves_only_over_what_was_answered_in_order() {
        let mut flight = Flight::default();
        flight.sent(at(1), Some(10));
        flight.sent(at(2), Some(11));
        flight.sent(at(3), None);
        flight.sent(at(4), Some(12));
        assert!(flight.answered(11) && !flight.answered(11));
        assert_eq!(finished(&mut flight), [0; 0]);
        assert!(flight.answered(10));
        assert_eq!(finished(&mut flight), [1, 2, 3]);
        assert!(!flight.answered(99));
        assert!(flight.answered(12));
        assert_eq!(finished(&mut flight), [4]);
        assert!(flight.is_empty());
    }

    #[test]
    fn one_that_is_never_answered_bounds_what_waits_behind_it() {
        let mut flight = Flight::default();
        flight.sent(at(0), Some(1));
        let sent = (1..).take_while(|n| {
            let full = flight.is_full();
            flight.sent(at(*n), None);
            !full
        });
        assert_eq!(sent.count(), ENTRIES_MAX - 1);
    }
}
