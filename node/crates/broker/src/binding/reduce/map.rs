//! The first step: what a record of the source gives to each key, and what the one it replaces takes back.

use std::collections::BTreeMap;

use bytes::Bytes;
use weir_model::Message;
use weir_runtime::{Invocation, Keyed, Pool};

use super::{Cause, Given, Place, bounded, message, topics, written};
use crate::binding::definition::Reduction;
use crate::binding::stream::Kv;
use crate::binding::work::{Answered, Outcome, Question, Task, Work, Wrong};
use crate::stream::group::Effects;

/// What a record has given: each value with its key.
type Mapped = Vec<(Box<str>, Vec<u8>)>;

/// Maps a record of the source.
pub(in super::super) async fn map(work: &Work, reduction: &Reduction, task: &Task<'_>, kv: &Kv) -> Outcome {
    let mut question = Map { reduction, task, partition: kv.partition(), place: None, before: Mapped::new() };
    if reduction.is_changelog && !task.key.is_empty() {
        let place = match Place::Mapped.key(None, task.key) {
            Ok(place) => place,
            Err((reason, _)) => return Outcome::Rejected(reason.into()),
        };
        match kv.kept(&place).await {
            Ok(kept) => question.before = kept.map(|kept| read(&kept)).unwrap_or_default(),
            Err(again) => return again,
        }
        question.place = Some(place);
    }
    work.ask(task, &question).await
}

struct Map<'a> {
    reduction: &'a Reduction,
    task: &'a Task<'a>,
    /// Of the source.
    partition: u32,
    /// Where what the record before gave is kept; `None` = it stays given.
    place: Option<Bytes>,
    before: Mapped,
}

impl Question for Map<'_> {
    type Answer = Vec<Keyed>;

    fn key(&self) -> &[u8] {
        self.task.key
    }

    async fn ask(&self, pool: &Pool) -> Invocation<Vec<Keyed>> {
        if self.place.is_some() && self.task.message.payload.is_empty() {
            // The key is taken away: it gives nothing any more.
            return Invocation::of(Vec::new());
        }
        pool.map(&self.task.as_call(true)).await
    }

    fn judge(&self, work: &Work, answered: Answered<Vec<Keyed>>) -> Result<Effects, Wrong> {
        let now: Mapped =
            answered.answer.into_iter().map(|keyed| (keyed.key, keyed.value.to_vec())).collect();
        let mut effects = Effects::default();
        if let Some(place) = &self.place {
            let value = match now.is_empty() {
                true => None,
                false => Some(bounded(written(&now), "what a record gives")?),
            };
            if value.is_some() || !self.before.is_empty() {
                effects.kept.push((place.clone(), value));
            }
        }
        let cause = Cause { id: self.task.id, published_at: self.task.published_at.0 };
        for (key, values) in changes(&self.before, &now) {
            let given = written(&Given { cause, values });
            effects.owed.push(self.message(work, key, given, answered.hops)?);
        }
        Ok(effects)
    }
}

impl Map<'_> {
    fn message(
        &self,
        work: &Work,
        key: &str,
        given: Vec<u8>,
        hops: u32,
    ) -> Result<std::sync::Arc<Message>, Wrong> {
        let partition = if self.reduction.is_merging { self.partition } else { 0 };
        let topic = topics::given(&work.name.1, self.reduction.run, partition, key)?;
        Ok(message(self.task.message, topic, given.into(), false, hops))
    }
}

fn read(kept: &[u8]) -> Mapped {
    postcard::from_bytes(kept).unwrap_or_else(|error| {
        tracing::error!(%error, "what a record has given is kept and cannot be read: it stays given");
        Mapped::new()
    })
}

/// What changes for each key when `now` takes the place of `before`: what is in both stays as it is.
fn changes<'a>(before: &'a Mapped, now: &'a Mapped) -> BTreeMap<&'a str, Vec<(&'a [u8], i32)>> {
    let mut weights: BTreeMap<(&str, &[u8]), i32> = BTreeMap::new();
    for (mapped, weight) in [(before, -1), (now, 1)] {
        for (key, value) in mapped {
            *weights.entry((key, value)).or_default() += weight;
        }
    }
    let mut changes: BTreeMap<&str, Vec<(&[u8], i32)>> = BTreeMap::new();
    for ((key, value), weight) in weights {
        let repeats = std::iter::repeat_n((value, weight.signum()), weight.unsigned_abs() as usize);
        changes.entry(key).or_default().extend(repeats);
    }
    changes.retain(|_, values| !values.is_empty());
    // What goes, goes first: a state need never hold both.
    changes.values_mut().for_each(|values| values.sort_by_key(|(_, weight)| *weight));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::logs::CallResult;

    fn mapped(pairs: &[(&str, &str)]) -> Mapped {
        pairs.iter().map(|(key, value)| ((*key).into(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_record_takes_back_what_the_one_before_gave_and_gives_its_own() {
        let (before, now) = (mapped(&[("a", "1"), ("b", "2")]), mapped(&[("b", "3"), ("c", "4")]));
        let changes = changes(&before, &now);
        assert_eq!(changes["a"], [(&b"1"[..], -1)]);
        assert_eq!(changes["b"], [(&b"2"[..], -1), (&b"3"[..], 1)]);
        assert_eq!(changes["c"], [(&b"4"[..], 1)]);
    }

    #[test]
    fn what_stays_is_told_to_nobody() {
        let (before, now) = (mapped(&[("a", "1"), ("a", "1")]), mapped(&[("a", "1")]));
        assert_eq!(changes(&before, &before).len(), 0);
        assert_eq!(changes(&before, &now)["a"], [(&b"1"[..], -1)]);
    }

    #[test]
    fn a_value_given_twice_counts_twice() {
        let now = mapped(&[("a", "1"), ("a", "1")]);
        assert_eq!(changes(&Mapped::new(), &now)["a"], [(&b"1"[..], 1), (&b"1"[..], 1)]);
    }

    #[test]
    fn what_was_given_is_read_back() {
        let given = mapped(&[("a", "1"), ("b", "")]);
        assert_eq!(read(&written(&given)), given);
        assert_eq!(CallResult::BadOutput, bounded(vec![0; 70_000], "it").unwrap_err().1);
    }
}
