//! Live events of a subscription that is still being given what was recorded before: they wait until the record is read to
//! its end, and those that were read there are left out.

use std::collections::{HashSet, VecDeque};

/// Bytes of events that wait for one subscription. Beyond, all that wait are dropped: those that are recorded are read from
/// the record, the others are counted as lost.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// How long after the end of the record a live copy of what was read there may still come from another node (milliseconds).
const LATE_MS: u64 = 60_000;

/// Publications that were read and are remembered; the oldest go. Live copies of older ones were on their way before.
const READ_MAX: usize = 16_384;

/// What becomes of a live event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live {
    Given,
    /// [`Catching::catch_up`] gives it.
    Waits,
    /// It was read in the record.
    Replayed,
    /// So many had to go, this one among them.
    Lost(u64),
}

/// One subscription that catches up with what is live.
pub struct Catching {
    pub number: u32,
    waiting: VecDeque<(u64, Box<[u8]>)>,
    waiting_bytes: usize,
    /// What was read in the record, and in which order.
    read: HashSet<u64>,
    order: VecDeque<u64>,
    /// Events were dropped: the end of the record is to be looked for again.
    has_lost: bool,
    /// Until when it is looked out for late copies; `None` = the record is not read yet.
    until_ms: Option<u64>,
}

impl Catching {
    pub fn new(number: u32) -> Catching {
        Catching {
            number,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            read: HashSet::new(),
            order: VecDeque::new(),
            has_lost: false,
            until_ms: None,
        }
    }

    /// An event has come live.
    pub fn live(&mut self, publication: u64, frame: &[u8]) -> Live {
        if self.read.contains(&publication) {
            return Live::Replayed;
        }
        if self.until_ms.is_some() {
            return Live::Given;
        }
        if self.waiting_bytes + frame.len() > WAITING_BYTES_MAX {
            let lost = self.waiting.len() as u64 + 1;
            (self.waiting, self.waiting_bytes, self.has_lost) = (VecDeque::new(), 0, true);
            return Live::Lost(lost);
        }
        self.waiting_bytes += frame.len();
        self.waiting.push_back((publication, frame.into()));
        Live::Waits
    }

    /// An event was read in the record; false: it was before.
    pub fn read(&mut self, publication: u64) -> bool {
        let is_new = self.read.insert(publication);
        if is_new {
            self.order.push_back(publication);
        }
        if self.order.len() > READ_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.read.remove(&oldest);
        }
        is_new
    }

    /// The record is at its end. The events that have waited, and how many of them were read there; `None`: some were
    /// dropped meanwhile, and it is to be read on.
    pub fn catch_up(&mut self, now_ms: u64) -> Option<(Vec<Box<[u8]>>, u64)> {
        if std::mem::take(&mut self.has_lost) {
            return None;
        }
        self.until_ms = Some(now_ms + LATE_MS);
        self.waiting_bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        let before = waiting.len();
        let new = waiting.into_iter().filter(|(publication, _)| !self.read.contains(publication));
        let given: Vec<_> = new.map(|(_, frame)| frame).collect();
        let replayed = (before - given.len()) as u64;
        Some((given, replayed))
    }

    /// Whether nothing is left to look out for.
    pub fn is_over(&self, now_ms: u64) -> bool {
        self.until_ms.is_some_and(|until| until <= now_ms)
    }

    /// Events that wait.
    pub fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(given: &[Box<[u8]>]) -> Vec<&[u8]> {
        given.iter().map(|frame| &**frame).collect()
    }

    #[test]
    fn what_comes_live_waits_and_is_given_once() {
        let mut catching = Catching::new(7);
        assert_eq!(catching.live(3, b"three"), Live::Waits);
        assert_eq!(catching.live(4, b"four"), Live::Waits);
        assert!(catching.read(2) && catching.read(3));
        assert_eq!(catching.live(2, b"two"), Live::Replayed);
        let (given, replayed) = catching.catch_up(100).unwrap();
        assert_eq!((frames(&given), replayed), (vec![&b"four"[..]], 1));
        assert_eq!(catching.live(3, b"three"), Live::Replayed, "late, from another node");
        assert_eq!(catching.live(5, b"five"), Live::Given);
        assert!(!catching.is_over(100) && catching.is_over(100 + LATE_MS));
    }

    #[test]
    fn when_too_much_waits_the_record_is_read_on() {
        let mut catching = Catching::new(7);
        let large = vec![0; WAITING_BYTES_MAX - 1];
        assert_eq!(catching.live(1, &large), Live::Waits);
        assert_eq!(catching.live(2, b"xx"), Live::Lost(2));
        assert_eq!((catching.waiting(), catching.catch_up(0)), (0, None));
        assert!(catching.read(1) && catching.read(2));
        assert_eq!(catching.live(3, b"three"), Live::Waits);
        assert_eq!(catching.catch_up(0).map(|(given, _)| given.len()), Some(1));
    }

    #[test]
    fn what_is_remembered_of_the_record_is_bounded() {
        let mut catching = Catching::new(7);
        (0..READ_MAX as u64 + 10).for_each(|publication| assert!(catching.read(publication)));
        assert_eq!(catching.read.len(), READ_MAX);
    }
}
