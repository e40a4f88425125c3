//! Witnesses: what nodes that are gone were acknowledged, told by whoever heard it of them (`guarantees.md` 7).
//!
//! A node that lives sees for itself when a shard has forgotten a batch of its own. What a dead node was acknowledged,
//! and this one before its last start, nobody would miss: so every node tells its last batches by gossip and notes them on
//! its disk, and those who live ask the shards whether they still know them. There is nothing to put back; it is reported.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use parking_lot::Mutex;
use redis::RedisError;
use weir_model::UnixMillis;

use super::rollback::raise;
use super::shard::Shard;
use super::store::Context;
use crate::Incarnation;

/// Dead nodes that are asked for at once: those heard of last.
const DEAD_MAX: usize = 16;
/// Nodes that are known, dead and alive; the one heard of longest ago goes first.
const NODES_MAX: usize = 128;
/// What was said before that is no witness: shards forget the batches of a node after a week.
const AGE_MAX: Duration = Duration::from_secs(3 * 24 * 3600);
/// Which form a text has.
const FORM: &str = "1";

/// What is known of the last batches of other incarnations.
#[derive(Default)]
pub(super) struct Witnesses {
    by_node: Mutex<BTreeMap<Incarnation, Said>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Said {
    at: UnixMillis,
    /// The last batch acknowledged, by the layout's index of its shard; 0 = none.
    marks: Vec<u64>,
}

/// The last batches of a node as text: form, incarnation, when it was said, and a number for each shard in hexadecimal.
pub(super) fn text(incarnation: Incarnation, at: UnixMillis, marks: impl Iterator<Item = u64>) -> String {
    let marks: Vec<String> = marks.map(|mark| format!("{mark:x}")).collect();
    format!("{FORM} {incarnation} {} {}", at.0, marks.join("."))
}

fn parse(text: &str) -> Option<(Incarnation, Said)> {
    let mut parts = text.split(' ');
    if parts.next()? != FORM {
        return None;
    }
    let (incarnation, at) = (parts.next()?.parse().ok()?, UnixMillis(parts.next()?.parse().ok()?));
    let marks: Result<_, _> = parts.next()?.split('.').map(|mark| u64::from_str_radix(mark, 16)).collect();
    Some((incarnation, Said { at, marks: marks.ok()? }))
}

impl Witnesses {
    /// Takes up what a node says of itself, or what was noted. What makes no sense is passed over: it is a peer's.
    pub fn note(&self, text: &str, shards: usize) {
        let Some((incarnation, said)) = parse(text).filter(|(_, said)| said.marks.len() == shards) else {
            counter!("weir_store_redis_witnesses_refused_total").increment(1);
            return;
        };
        let mut by_node = self.by_node.lock();
        if by_node.get(&incarnation).is_none_or(|known| known.at <= said.at) {
            by_node.insert(incarnation, said);
        }
        if by_node.len() > NODES_MAX
            && let Some(oldest) = by_node.iter().min_by_key(|(_, said)| said.at).map(|(node, _)| *node)
        {
            by_node.remove(&oldest);
        }
    }

    /// What was said by nodes that are not among `alive`, newest first.
    fn of_the_dead(&self, alive: &[Incarnation], now: UnixMillis) -> Vec<(Incarnation, Said)> {
        let by_node = self.by_node.lock();
        let counts = |said: &Said| now.0.saturating_sub(said.at.0) < AGE_MAX.as_millis() as u64;
        let dead = by_node.iter().filter(|(node, said)| !alive.contains(node) && counts(said));
        let mut dead: Vec<_> = dead.map(|(node, said)| (*node, said.clone())).collect();
        dead.sort_by_key(|(_, said)| std::cmp::Reverse(said.at));
        dead.truncate(DEAD_MAX);
        dead
    }
}

/// Asks every shard for the last batches of nodes that are dead. What cannot be asked now is asked the next time.
pub(super) async fn look(context: &Arc<Context>, alive: &[Incarnation], now: UnixMillis) {
    let dead = context.witnesses.of_the_dead(alive, now);
    if dead.is_empty() {
        return;
    }
    for shard in context.layout.all() {
        let index = context.layout.index(shard);
        let mark = |(node, said): &(Incarnation, Said)| (*node, said.marks.get(index).copied().unwrap_or(0));
        let marks: Vec<_> = dead.iter().map(mark).filter(|(_, mark)| *mark > 0).collect();
        if !marks.is_empty()
            && let Err(error) = ask(context, shard, &marks).await
        {
            tracing::debug!(%shard, %error, "cannot ask for what dead nodes were acknowledged");
        }
    }
}

async fn ask(context: &Arc<Context>, shard: Shard, marks: &[(Incarnation, u64)]) -> Result<(), RedisError> {
    // The lane finds another server when this one is away.
    let Ok(mut connection) = context.servers.commands(shard).await else { return Ok(()) };
    let key = |node: &Incarnation| context.layout.key(shard, &format!("batch:{node}"));
    let mut questions = redis::pipe();
    for (node, _) in marks {
        questions.cmd("HGET").arg(key(node)).arg("number");
    }
    let known: Vec<Option<u64>> = questions.query_async(&mut connection).await?;
    for ((node, mark), known) in marks.iter().zip(known) {
        let known = known.unwrap_or(0);
        if known >= *mark {
            continue;
        }
        let before = context.accounts.row(shard);
        let (_, is_first) = raise(context, &mut connection, shard, &before).await?;
        // Nobody who looks later takes it for another loss.
        redis::cmd("HSET").arg(key(node)).arg("number").arg(mark).query_async::<()>(&mut connection).await?;
        tracing::warn!(%shard, incarnation = node, last = mark, found = known, "redis_lost_batches_of_a_dead_node");
        if is_first {
            counter!("weir_store_redis_batches_lost_total").increment(mark - known);
            context.rollbacks.begin(shard, before.epoch, known, mark - known);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_of_itself_reads_back() {
        let said = text(7, UnixMillis(1000), [0, 255, 1 << 40].into_iter());
        assert_eq!(said, "1 7 1000 0.ff.10000000000");
        assert_eq!(parse(&said), Some((7, Said { at: UnixMillis(1000), marks: vec![0, 255, 1 << 40] })));
        for bad in ["", "1", "2 7 1000 0", "1 x 1000 0", "1 7 1000 zz", "1 7 1000", &"9".repeat(5000)] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_dead_count_as_long_as_their_shards_remember_them() {
        let witnesses = Witnesses::default();
        for node in 1..=3 {
            witnesses.note(&text(node, UnixMillis(node * 1000), [1, 2].into_iter()), 2);
        }
        witnesses.note(&text(1, UnixMillis(1), [9, 9].into_iter()), 2);
        witnesses.note(&text(4, UnixMillis(1), [9].into_iter()), 2);
        let dead = witnesses.of_the_dead(&[2], UnixMillis(4000));
        let said: Vec<_> = dead.iter().map(|(node, said)| (*node, said.marks[0])).collect();
        assert_eq!(said, [(3, 1), (1, 1)]);
        let late = UnixMillis(2500 + AGE_MAX.as_millis() as u64);
        assert_eq!(witnesses.of_the_dead(&[], late).len(), 1);
    }

    #[test]
    fn no_more_nodes_are_known_than_a_bound() {
        let witnesses = Witnesses::default();
        (0..NODES_MAX as u64 + 10)
            .for_each(|node| witnesses.note(&text(node, UnixMillis(node), [1].into_iter()), 1));
        assert_eq!(witnesses.by_node.lock().len(), NODES_MAX);
        assert!(!witnesses.by_node.lock().contains_key(&0));
    }
}
