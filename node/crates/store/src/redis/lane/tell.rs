//! What the mirror of this node hears by the answers to its own steps, before those leave.

use hashbrown::HashMap;

use super::Runner;
use crate::contract::guard_value;
use crate::redis::submit::StepAnswer;
use crate::{Mark, Outcome, PartitionKey, PartitionOp, Step, Table, TableOp, TableRow, TopicOp, guard_key};

impl Runner {
    pub(super) fn tell_mirror<'s>(&self, answered: impl Iterator<Item = (&'s Step, &'s StepAnswer)>) {
        let rows = self.context.feed.rows();
        let mut tails: HashMap<&PartitionKey, Mark> = HashMap::new();
        for (step, answer) in answered {
            let Ok(outcomes) = answer else { continue };
            match (step, outcomes.as_slice()) {
                (
                    Step::Topic { realm, topic, op: TopicOp::Retain { message } },
                    [Outcome::Retained(position)],
                ) => {
                    rows.retained(realm, topic, *position, message.as_ref());
                }
                (
                    Step::Topic { realm, topic, op: TopicOp::Exchange(exchange) },
                    [Outcome::Exchanged { positions, version }],
                ) => {
                    for (position, message) in positions.iter().zip(&exchange.values) {
                        rows.retained(realm, topic, *position, message.as_ref());
                    }
                    if let (1.., Some(guard)) = (*version, &exchange.then) {
                        let value = guard.as_ref().map(|guard| guard_value(positions, guard));
                        let key = guard_key(realm, topic).into();
                        rows.table(TableRow { table: Table::Guards, key, version: *version, value });
                    }
                }
                (Step::Table { table, key, op }, [Outcome::Put { version: version @ 1.. }]) => {
                    let value = match op {
                        TableOp::Put { value, .. } => Some(value.clone()),
                        TableOp::Delete { .. } => None,
                    };
                    rows.table(TableRow { table: *table, key: key.clone(), version: *version, value });
                }
                (Step::Partition { key, ops }, outcomes) => {
                    for (op, outcome) in ops.iter().zip(outcomes) {
                        if let Outcome::Appended { mark, first: true } = outcome {
                            tails.insert(key, *mark);
                        }
                        if matches!(op, PartitionOp::Drop) {
                            tails.remove(key);
                            rows.dropped(key);
                        }
                    }
                }
                _ => {}
            }
        }
        tails.into_iter().for_each(|(key, tail)| rows.appended(key, tail));
    }
}
