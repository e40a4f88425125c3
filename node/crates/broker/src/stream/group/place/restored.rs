//! What was stored of a group's progress above the low mark, and is not read again yet.

use std::collections::{BTreeMap, VecDeque};

use weir_store::{Attempt, Mark, Progress};

#[derive(Debug, Default)]
pub(super) struct Restored {
    /// In order.
    done: VecDeque<(Mark, Mark)>,
    attempts: BTreeMap<Mark, Attempt>,
}

impl Restored {
    pub fn new(progress: Progress) -> Restored {
        let attempts = progress.attempts.into_iter().map(|attempt| (attempt.at, attempt)).collect();
        Restored { done: progress.done.into(), attempts }
    }

    /// The finished run that a record stands in. What stands below it has been read.
    pub fn run_at(&mut self, mark: Mark) -> Option<(Mark, Mark)> {
        while let Some((first, last)) = self.done.front().copied() {
            if mark < first {
                return None;
            }
            self.done.pop_front();
            if mark <= last {
                return Some((first, last));
            }
        }
        None
    }

    /// What is known of a record that is read now. What stands below it is gone.
    pub fn attempt_at(&mut self, mark: Mark) -> Option<Attempt> {
        while let Some(first) = self.attempts.first_entry().filter(|first| *first.key() <= mark) {
            let attempt = first.remove();
            if attempt.at == mark {
                return Some(attempt);
            }
        }
        None
    }

    /// Records up to a mark are gone, and so is what was known of them. Says how many of those above `read` were
    /// finished.
    pub fn forget_up_to(&mut self, read: Mark, gone: Mark) -> u64 {
        self.attempts = self.attempts.split_off(&gone);
        self.attempts.remove(&gone);
        let mut finished = 0;
        while let Some((first, last)) = self.done.front_mut().filter(|(first, _)| *first <= gone) {
            let from = first.number.max(read.number + 1);
            finished += (last.number.min(gone.number) + 1).saturating_sub(from);
            if *last > gone {
                *first = Mark { position: gone.position, number: gone.number + 1 };
                break;
            }
            self.done.pop_front();
        }
        finished
    }

    /// Adds what is still to be read to what was found since.
    pub fn complete(&self, progress: &mut Progress) {
        progress.done.extend(&self.done);
        progress.attempts.extend(self.attempts.values());
    }
}
