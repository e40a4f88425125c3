//! The command that carries a batch: whose it is, which, under which limits, and its steps.

use redis::Cmd;

use super::Batch;
use super::window::ChangedAt;
use crate::config::QueueFull;
use crate::redis::encode::Steps;
use crate::redis::layout::place;
use crate::redis::library::Function;
use crate::redis::shard::Shard;
use crate::redis::store::Context;
use crate::state::Rules;

/// Numbers above have no exact form in Lua.
const EXACT_MAX: u64 = (1 << 53) - 1;

pub(super) fn command(context: &Context, shard: Shard, batch: &Batch, before: u64, epoch: u64) -> Cmd {
    let mut command = if batch.free { Function::Free.call() } else { Function::Grow.call() };
    command.arg(1).arg(context.layout.tag(shard));
    command.arg(context.node.incarnation).arg(batch.number).arg(before).arg(epoch);
    limits(&mut command, context, shard);
    match batch.is_taken_back {
        true => command.arg(Steps::default().into_bytes()),
        false => command.arg(&batch.packed[..]),
    };
    command.arg(batch.again.map(|ChangedAt { ms, guard }| format!("{ms}:{guard}")).unwrap_or_default());
    command.arg((context.rules.idempotency_keys_max as u64).min(EXACT_MAX));
    command.arg(if matches!(shard, Shard::Partition(_)) { context.not_buried() } else { String::new() });
    command
}

/// What this shard may hold: of all shards' limits what the others leave.
fn limits(command: &mut Cmd, context: &Context, shard: Shard) {
    let Rules { queue_messages_max, queue_bytes_max, .. } = context.rules;
    let others = context.accounts.beside(shard);
    let (messages, bytes) = others.owed();
    let left = |max: u64, held: u64| max.saturating_sub(held).min(EXACT_MAX);
    command.arg(place(shard));
    command.arg(match context.rules.queue_full {
        QueueFull::DropOldest => "oldest",
        QueueFull::DropNewest => "newest",
        QueueFull::Refuse => "refuse",
    });
    for limit in [
        queue_messages_max.min(EXACT_MAX),
        queue_bytes_max.min(EXACT_MAX),
        left(context.rules.queued_messages_total_max, messages),
        left(context.rules.queued_bytes_total_max, bytes),
        left(context.rules.retained_messages_max, others.retained_messages),
        left(context.rules.retained_bytes_max, others.retained_bytes),
        context.rules.dedup_ids_max as u64,
        context.rules.delay_ids_max as u64,
        context.changes_max,
        context.claim_ms,
    ] {
        command.arg(limit);
    }
}
