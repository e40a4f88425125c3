//! A queue as the writer sees it: which numbers have rows and how large they are.

use std::collections::VecDeque;

use crate::QueueEnds;

/// What lies under one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Gone,
    Released,
    Waiting { bytes: u32, body: u64 },
}

impl Slot {
    /// What it counts for in the queue's bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Slot::Waiting { bytes, .. } => u64::from(bytes),
            Slot::Gone | Slot::Released => 0,
        }
    }
}

/// The rows of one queue from the oldest on, 16 bytes each. Rows answered out of order leave holes;
/// their number is bounded by what a receiver may leave unanswered (65,535 packet ids).
#[derive(Debug, Default)]
pub(crate) struct Queue {
    slots: VecDeque<Slot>,
    tail: u64,
    messages: u64,
    /// Those of them that still have their message.
    waiting: u64,
    bytes: u64,
}

impl Queue {
    /// An empty queue whose next number is `tail + 1`.
    pub fn after(tail: u64) -> Queue {
        Queue { tail, ..Queue::default() }
    }

    pub fn tail(&self) -> u64 {
        self.tail
    }

    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Rows that a full queue may give up.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    pub fn ends(&self, sent: u64) -> QueueEnds {
        QueueEnds { head: self.head(), tail: self.tail, sent, messages: self.messages, bytes: self.bytes }
    }

    /// The oldest row's number; `tail + 1` when empty.
    pub fn head(&self) -> u64 {
        self.tail + 1 - self.slots.len() as u64
    }

    pub fn push(&mut self, bytes: u32, body: u64) -> u64 {
        self.tail += 1;
        self.slots.push_back(Slot::Waiting { bytes, body });
        self.messages += 1;
        self.waiting += 1;
        self.bytes += u64::from(bytes);
        self.tail
    }

    /// Puts back a row that was found in the tables; numbers must come in order.
    pub fn restore(&mut self, number: u64, slot: Slot) {
        let known = if self.slots.is_empty() { number - 1 } else { self.tail };
        self.tail = self.tail.max(number);
        self.slots.extend(std::iter::repeat_n(Slot::Gone, (self.tail - known) as usize));
        let index = (number - self.head()) as usize;
        self.slots[index] = slot;
        self.messages += 1;
        if let Slot::Waiting { bytes, .. } = slot {
            self.waiting += 1;
            self.bytes += u64::from(bytes);
        }
    }

    pub fn get(&self, number: u64) -> Slot {
        let index = number.checked_sub(self.head());
        index.and_then(|i| self.slots.get(i as usize)).copied().unwrap_or(Slot::Gone)
    }

    /// Takes a row out and says what it was.
    pub fn remove(&mut self, number: u64) -> Slot {
        let was = self.replace(number, Slot::Gone);
        if was != Slot::Gone {
            self.messages -= 1;
        }
        while self.slots.front() == Some(&Slot::Gone) {
            self.slots.pop_front();
        }
        was
    }

    /// PUBREC: the row stays without its message.
    pub fn release(&mut self, number: u64) -> Slot {
        match self.get(number) {
            Slot::Waiting { .. } => self.replace(number, Slot::Released),
            other => other,
        }
    }

    /// The oldest row that still has its message: what a full queue gives up first.
    pub fn oldest_waiting(&self) -> Option<u64> {
        let index = self.slots.iter().position(|slot| matches!(slot, Slot::Waiting { .. }))?;
        Some(self.head() + index as u64)
    }

    pub fn rows(&self) -> impl Iterator<Item = (u64, Slot)> + '_ {
        let head = self.head();
        let numbered = self.slots.iter().enumerate().map(move |(i, slot)| (head + i as u64, *slot));
        numbered.filter(|(_, slot)| *slot != Slot::Gone)
    }

    fn replace(&mut self, number: u64, slot: Slot) -> Slot {
        let Some(index) = number.checked_sub(self.head()) else { return Slot::Gone };
        let Some(place) = self.slots.get_mut(index as usize) else { return Slot::Gone };
        let was = std::mem::replace(place, slot);
        if let Slot::Waiting { bytes, .. } = was {
            self.waiting -= 1;
            self.bytes -= u64::from(bytes);
        }
        was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_moves_past_holes_and_numbers_go_on() {
        let mut queue = Queue::default();
        assert_eq!((queue.head(), queue.tail()), (1, 0));
        for _ in 0..3 {
            queue.push(10, 0);
        }
        assert_eq!(queue.remove(2), Slot::Waiting { bytes: 10, body: 0 });
        assert_eq!(queue.remove(2), Slot::Gone);
        assert_eq!((queue.head(), queue.messages(), queue.bytes()), (1, 2, 20));
        queue.remove(1);
        assert_eq!(queue.head(), 3);
        queue.remove(3);
        assert_eq!((queue.head(), queue.tail(), queue.bytes()), (4, 3, 0));
        assert_eq!(queue.push(1, 0), 4);
    }

    #[test]
    fn rows_found_again_give_the_same_queue() {
        let mut queue = Queue::after(9);
        queue.restore(4, Slot::Released);
        queue.restore(7, Slot::Waiting { bytes: 5, body: 2 });
        assert_eq!(queue.ends(0), QueueEnds { head: 4, tail: 9, sent: 0, messages: 2, bytes: 5 });
        assert_eq!(queue.rows().map(|(n, _)| n).collect::<Vec<_>>(), [4, 7]);

        let mut queue = Queue::after(2);
        queue.restore(5, Slot::Released);
        queue.restore(6, Slot::Released);
        assert_eq!((queue.head(), queue.tail(), queue.messages()), (5, 6, 2));
    }
}
