//! One call of a batch function: sent, answered, and confirmed at the level.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use redis::aio::ConnectionLike;
use redis::{Cmd, RedisError, Value};

use crate::redis::account::ShardRow;
use crate::redis::decode::DecodeError;
use crate::redis::errors::{Kind, Policy};
use crate::redis::level::Unconfirmed;
use crate::redis::servers::{Away, Connection};
use crate::redis::shard::Shard;

/// How long one try to confirm may take; then the batch is asked for again.
const CONFIRM: Duration = Duration::from_secs(1);

/// What the server has said of a batch.
pub(super) enum Heard {
    /// It is through, at the level.
    Confirmed(Reply),
    /// It is applied, with these answers, packed; the level is being waited for.
    Applied { answers: Vec<u8>, confirming: BoxFuture<'static, Result<Heard, Failure>> },
}

/// What has to be confirmed beside the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confirming {
    /// The level of the store, before anything is heard.
    All,
    /// The same, but some want to hear before.
    Rest,
    /// Nothing: all have asked for less.
    Nothing,
}

/// What a batch was answered.
pub(super) struct Reply {
    /// Packed; one answer per step.
    pub answers: Vec<u8>,
    pub row: ShardRow,
    /// The batch had been applied before, its answer was lost.
    pub repeated: bool,
}

impl Reply {
    /// Whether the batch had no steps when it was applied: an empty list is one byte.
    pub fn is_empty(&self) -> bool {
        self.answers.len() <= 1
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Away(#[from] Away),
    #[error(transparent)]
    Unconfirmed(#[from] Unconfirmed),
    #[error("an answer that makes no sense: {0}")]
    Garbled(#[from] DecodeError),
}

impl Failure {
    pub fn kind(&self) -> Kind {
        match self {
            Failure::Redis(error) => Kind::of(error),
            Failure::Away(_) => Kind::Away,
            Failure::Unconfirmed(_) => Kind::Io,
            Failure::Garbled(_) => Kind::Other,
        }
    }

    /// Whether the batch may have been applied.
    pub fn may_be_done(&self) -> bool {
        matches!(self.kind().policy(), Policy::AskAgain | Policy::GiveUp)
    }

    /// The number behind `GAP` and `STALEEPOCH`.
    pub fn told(&self) -> Option<u64> {
        let Failure::Redis(error) = self else { return None };
        error.detail()?.trim().parse().ok()
    }
}

pub(super) async fn call(
    mut connection: Connection,
    command: Cmd,
    prefix: Arc<str>,
    shard: Shard,
    confirming: Confirming,
) -> Result<Heard, Failure> {
    let wait = match connection.wait()? {
        Some(wait) if confirming == Confirming::All => wait,
        wait => {
            let answer = connection.req_packed_command(&command).await?;
            let reply = reply(answer.extract_error()?)?;
            if wait.is_none() || confirming == Confirming::Nothing {
                return Ok(Heard::Confirmed(reply));
            }
            let answers = reply.answers.clone();
            let confirm = async move {
                connection.confirm(&prefix, shard, CONFIRM).await?;
                Ok(Heard::Confirmed(reply))
            };
            return Ok(Heard::Applied { answers, confirming: confirm.boxed() });
        }
    };
    let mut pipeline = redis::pipe();
    pipeline.add_command(command).add_command(wait.command());
    let mut answers = connection.req_packed_commands(&pipeline, 0, 2).await?.into_iter();
    let (answer, confirmed) = (answers.next().unwrap_or(Value::Nil), answers.next().unwrap_or(Value::Nil));
    let reply = reply(answer.extract_error()?)?;
    // A repeat writes nothing, so its WAIT waits for nothing.
    if reply.repeated || !wait.enough(&confirmed) {
        connection.confirm(&prefix, shard, CONFIRM).await?;
    }
    Ok(Heard::Confirmed(reply))
}

/// `{ answers, row of the shard, whether it is a repeat }`.
fn reply(answer: Value) -> Result<Reply, DecodeError> {
    let Value::Array(parts) = answer else { return Err(DecodeError::Kind { expected: "a list" }) };
    let mut parts = parts.into_iter();
    let (Some(Value::BulkString(answers)), Some(Value::BulkString(row)), Some(Value::Int(repeated))) =
        (parts.next(), parts.next(), parts.next())
    else {
        return Err(DecodeError::Short);
    };
    Ok(Reply { answers, row: ShardRow::of(&row)?, repeated: repeated == 1 })
}
