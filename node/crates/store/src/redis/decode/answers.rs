//! The answers to a batch: one value per op, or one negative number for a refused step.

use smallvec::SmallVec;
use weir_model::MessageId;

use super::stream::{Firsts, claimed, partition_outcome, table_outcome};
use super::{
    DecodeError, ValueRef, Values, bytes_of, number_of, outbox_entry, position, queue_ends, subscriptions,
    text_of, unpacked, word,
};
use crate::{Answer, Fence, Opened, OutboxEntry, Outcome, Refusal, SessionOp, Step, TopicOp};

/// What the steps of a batch were answered, in order.
pub(in super::super) fn answers<'s>(
    steps: impl Iterator<Item = &'s Step>,
    packed: &[u8],
) -> Result<Answer, DecodeError> {
    let list = unpacked(packed)?;
    let mut values = Values::of(&list)?;
    let mut firsts = Firsts::default();
    steps.map(|step| answer(step, &mut values, &mut firsts)).collect()
}

/// The outer error says that the answer makes no sense.
fn answer<'s>(
    step: &'s Step,
    values: &mut Values,
    firsts: &mut Firsts<'s>,
) -> Result<Result<SmallVec<[Outcome; 1]>, Refusal>, DecodeError> {
    if let Some(ValueRef::Integer(code)) = values.peek()
        && let Some(code) = code.as_i64().filter(|code| *code < 0)
    {
        values.next()?;
        return Ok(Err(refusal(code)?));
    }
    match step {
        Step::Session { ops, .. } => {
            let outcomes: Result<_, _> = ops.iter().map(|op| outcome(op, values.next()?)).collect();
            outcomes.map(Ok)
        }
        Step::Topic { op, .. } => {
            topic_outcome(op, values.next()?).map(|outcome| Ok(SmallVec::from_iter([outcome])))
        }
        Step::Partition { key, ops } => {
            let outcome = |op| partition_outcome(key, op, values.next()?, firsts);
            ops.iter().map(outcome).collect::<Result<_, _>>().map(Ok)
        }
        Step::Table { .. } => table_outcome(values.next()?).map(|outcome| Ok(SmallVec::from_iter([outcome]))),
    }
}

fn refusal(code: i64) -> Result<Refusal, DecodeError> {
    Ok(match code {
        -1 => Refusal::Fenced,
        -2 => Refusal::NotOwner,
        -3 => Refusal::StoreFull,
        -4 => Refusal::QueueRefuses,
        -5 => Refusal::QueuesFull,
        -6 => Refusal::RetainedFull,
        -7 => Refusal::TooLarge,
        -8 => Refusal::Guarded,
        _ => return Err(DecodeError::Kind { expected: "a refusal" }),
    })
}

fn outcome(op: &SessionOp, value: &ValueRef) -> Result<Outcome, DecodeError> {
    Ok(match op {
        SessionOp::Open(_) => Outcome::Opened(Box::new(opened(Values::of(value)?)?)),
        SessionOp::Enqueue(_) => enqueued(value)?,
        SessionOp::Receive { fence, packet_id } => {
            let mut list = Values::of(value)?;
            let (first, uses) = (list.flag()?, list.number()?);
            Outcome::Received { first, id: MessageId::received(fence.generation, *packet_id, uses) }
        }
        SessionOp::FireWill { .. } => Outcome::Fired(fired(Values::of(value)?.next()?)?),
        _ => Outcome::Done,
    })
}

fn enqueued(value: &ValueRef) -> Result<Outcome, DecodeError> {
    match value {
        ValueRef::Integer(_) => Ok(Outcome::Enqueued { number: number_of(value)?, dropped: 0 }),
        ValueRef::Array(_) => {
            let mut list = Values::of(value)?;
            let (number, dropped) = (list.number()?, list.number()?);
            Ok(Outcome::Enqueued { number, dropped: u32::try_from(dropped).unwrap_or(u32::MAX) })
        }
        other => word(bytes_of(other)?),
    }
}

fn topic_outcome(op: &TopicOp, value: &ValueRef) -> Result<Outcome, DecodeError> {
    match (op, value) {
        (TopicOp::Retain { .. }, value) => {
            let mut list = Values::of(value)?;
            let change = list.text()?;
            Ok(Outcome::Retained(position(list.number()?, change)?))
        }
        (TopicOp::Exchange(_), ValueRef::Integer(_)) => Ok(Outcome::Moved),
        (TopicOp::Exchange(_), value) => exchanged(Values::of(value)?),
        (TopicOp::Claim { .. }, value) => claimed(value),
        (_, ValueRef::Integer(_)) => Ok(Outcome::Done),
        (_, other) => word(bytes_of(other)?),
    }
}

/// `{ version, epoch, change... }`.
fn exchanged(mut list: Values) -> Result<Outcome, DecodeError> {
    let (version, epoch) = (list.number()?, list.number()?);
    let positions = list.rest().map(|change| position(epoch, text_of(bytes_of(change)?)?));
    Ok(Outcome::Exchanged { positions: positions.collect::<Result<_, _>>()?, version })
}

fn fired(value: &ValueRef) -> Result<Option<OutboxEntry>, DecodeError> {
    if matches!(value, ValueRef::Boolean(false)) {
        return Ok(None);
    }
    let mut list = Values::of(value)?;
    let entry = list.number()?;
    outbox_entry(entry, list.bytes()?).map(Some)
}

fn opened(mut list: Values) -> Result<Opened, DecodeError> {
    let fence = Fence { generation: list.number()?, fence: list.number()? };
    let present = list.flag()?;
    let subscriptions = subscriptions(list.list()?)?;
    let queue = queue_ends(list.list()?)?;
    let packet_id = |value| {
        let text = text_of(bytes_of(value)?)?;
        text.parse().map_err(|_| DecodeError::Number(text.to_owned()))
    };
    let mut received = list.list()?.rest().map(packet_id).collect::<Result<Vec<u16>, DecodeError>>()?;
    received.sort_unstable();
    Ok(Opened { fence, present, subscriptions, queue, received, fired: fired(list.next()?)? })
}
