//! Which records a partition has: number, position and size of each, in 12 bytes.

use std::collections::VecDeque;

use weir_model::{Position, UnixMillis};

use crate::Mark;

/// How many numbers one run covers.
const RUN_NUMBERS: u64 = 64;

/// How many milliseconds one run covers: what fits beside the number in 32 bits.
const RUN_MS: u64 = 1 << 24;

/// The records there are, in order. Compaction leaves holes; a run without records is gone.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    runs: VecDeque<Run>,
    records: u64,
    bytes: u64,
}

/// Up to [`RUN_NUMBERS`] records that follow one another.
#[derive(Debug)]
struct Run {
    base: Mark,
    slots: Vec<Slot>,
}

/// One record, told from the base of its run.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Numbers behind the base in the upper 8 bits, milliseconds in the others.
    offset: u32,
    /// Behind that of the base when it is in the same millisecond; else from 0 on.
    seq: u32,
    bytes: u32,
}

impl Run {
    fn mark(&self, slot: Slot) -> Mark {
        let Position { epoch, ms, seq } = self.base.position;
        let later = u64::from(slot.offset) % RUN_MS;
        let seq = if later == 0 { seq + u64::from(slot.seq) } else { u64::from(slot.seq) };
        Mark {
            position: Position { epoch, ms: ms + later, seq },
            number: self.base.number + u64::from(slot.offset) / RUN_MS,
        }
    }

    /// The record as it would stand in this run, if it can.
    fn slot(&self, mark: Mark, bytes: u32) -> Option<Slot> {
        let base = self.base.position;
        let number = mark.number.checked_sub(self.base.number).filter(|number| *number < RUN_NUMBERS)?;
        let later = mark.position.ms.checked_sub(base.ms).filter(|later| *later < RUN_MS)?;
        let seq = if later == 0 { mark.position.seq.checked_sub(base.seq)? } else { mark.position.seq };
        let seq = u32::try_from(seq).ok().filter(|_| mark.position.epoch == base.epoch)?;
        Some(Slot { offset: (number * RUN_MS + later) as u32, seq, bytes })
    }

    fn last(&self) -> Mark {
        self.slots.last().map_or(self.base, |slot| self.mark(*slot))
    }
}

impl Runs {
    pub fn records(&self) -> u64 {
        self.records
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends a record; numbers and positions must rise.
    pub fn push(&mut self, mark: Mark, bytes: u32) {
        self.records += 1;
        self.bytes += u64::from(bytes);
        if let Some(run) = self.runs.back_mut()
            && let Some(slot) = run.slot(mark, bytes)
        {
            return run.slots.push(slot);
        }
        self.runs.push_back(Run { base: mark, slots: vec![Slot { offset: 0, seq: 0, bytes }] });
    }

    /// The oldest record and its size.
    pub fn first(&self) -> Option<(Mark, u32)> {
        let run = self.runs.front()?;
        run.slots.first().map(|slot| (run.mark(*slot), slot.bytes))
    }

    pub fn pop_first(&mut self) -> Option<(Mark, u32)> {
        let found = self.first()?;
        self.take(0, 0);
        Some(found)
    }

    /// Takes a record out from between the others and says how large it was.
    pub fn remove(&mut self, number: u64) -> Option<u32> {
        let at = self.runs.partition_point(|run| run.base.number <= number).checked_sub(1)?;
        let run = self.runs.get(at)?;
        let place = run.slots.binary_search_by_key(&number, |slot| run.mark(*slot).number).ok()?;
        let bytes = run.slots[place].bytes;
        self.take(at, place);
        Some(bytes)
    }

    /// The last record at or before a position.
    pub fn last_up_to(&self, position: Position) -> Option<Mark> {
        self.last_where(|mark| mark.position <= position)
    }

    /// The last record from before a time.
    pub fn last_before(&self, at: UnixMillis) -> Option<Mark> {
        self.last_where(|mark| mark.position.ms < at.0)
    }

    /// The last record for which it holds; it must hold for all before one for which it does.
    fn last_where(&self, holds: impl Fn(Mark) -> bool) -> Option<Mark> {
        let whole = self.runs.partition_point(|run| holds(run.last()));
        if let Some(run) = self.runs.get(whole) {
            let place = run.slots.partition_point(|slot| holds(run.mark(*slot)));
            if let Some(slot) = place.checked_sub(1).and_then(|place| run.slots.get(place)) {
                return Some(run.mark(*slot));
            }
        }
        Some(self.runs.get(whole.checked_sub(1)?)?.last())
    }

    fn take(&mut self, at: usize, place: usize) {
        let Some(run) = self.runs.get_mut(at) else { return };
        let slot = run.slots.remove(place);
        self.records -= 1;
        self.bytes -= u64::from(slot.bytes);
        if run.slots.is_empty() {
            self.runs.remove(at);
        } else if run.slots.len() * 4 < run.slots.capacity() {
            run.slots.shrink_to(run.slots.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: u64, ms: u64, seq: u64) -> Mark {
        Mark { position: Position { epoch: 7, ms, seq }, number }
    }

    fn filled() -> (Runs, Vec<Mark>) {
        let mut marks = Vec::new();
        let mut position = mark(0, 1000, 5_000_000_000).position;
        for number in 1..=400 {
            let ms = 1000 + number / 10 * (number % 7) * 1000 * number;
            position = position.next(ms);
            marks.push(Mark { position, number });
        }
        let mut runs = Runs::default();
        marks.iter().for_each(|mark| runs.push(*mark, mark.number as u32));
        (runs, marks)
    }

    #[test]
    fn every_record_is_found_again_by_its_position() {
        let (runs, marks) = filled();
        for mark in &marks {
            assert_eq!(runs.last_up_to(mark.position), Some(*mark));
            let before = marks.iter().rfind(|other| other.position.ms < mark.position.ms);
            assert_eq!(runs.last_before(UnixMillis(mark.position.ms)), before.copied());
        }
        assert_eq!(runs.last_up_to(Position::default()), None);
        assert_eq!((runs.records(), runs.bytes()), (400, 400 * 401 / 2));
    }

    #[test]
    fn records_go_from_the_front_and_from_between() {
        let (mut runs, marks) = filled();
        for number in (2..=400).step_by(2) {
            assert_eq!(runs.remove(number), Some(number as u32));
            assert_eq!(runs.remove(number), None);
        }
        assert_eq!(runs.last_up_to(marks[199].position), Some(marks[198]));
        for number in (1..=400).step_by(2) {
            assert_eq!(runs.pop_first(), Some((marks[number - 1], number as u32)));
        }
        assert_eq!((runs.records(), runs.bytes(), runs.pop_first()), (0, 0, None));
        runs.push(mark(401, u64::MAX - 1, 0), 3);
        assert_eq!(runs.first(), Some((mark(401, u64::MAX - 1, 0), 3)));
    }

    #[test]
    fn a_run_ends_where_the_time_the_numbers_or_the_epoch_leave_it() {
        let mut runs = Runs::default();
        let later = Mark { position: Position { epoch: 8, ms: 1, seq: 0 }, number: 5 };
        let marks =
            [mark(1, 10, 3), mark(2, 10, 1 << 40), mark(3, 11, 1 << 41), mark(4, 11 + RUN_MS, 0), later];
        marks.iter().for_each(|mark| runs.push(*mark, 1));
        for mark in marks {
            assert_eq!(runs.pop_first(), Some((mark, 1)));
        }
    }
}
