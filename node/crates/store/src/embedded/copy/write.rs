//! Rows of a copy as rows of an embedded store.

use std::collections::HashSet;
use std::sync::Arc;

use weir_model::{Message, MessageId};

use super::stream::{self, Names};
use crate::copy::{CopyRow, QueueCopy, SessionCopy, Windows};
use crate::row::{
    Change, Detached, Ends, Key, Kind, OutboxRow, Row, Seen, SessionRow, Write, id_key, number_key,
    retained_key, session_key, text_key,
};
use crate::{Delivery, RowState};

/// What a row takes beside its message, about.
const ROW_BYTES: u64 = 256;

/// About how much it takes on the disk.
pub(super) fn size_of(row: &CopyRow) -> u64 {
    let of = |message: &Arc<Message>| message.size_bytes() as u64;
    match row {
        CopyRow::Session(session) => {
            let many = session.subscriptions.len() + session.received.len() + session.seen.len();
            session.will.as_ref().map_or(0, |will| of(&will.message)) + ROW_BYTES * (1 + many as u64)
        }
        CopyRow::Queue { rows, .. } => {
            let messages = rows.iter().filter_map(QueueCopy::delivery).map(|delivery| of(&delivery.message));
            messages.sum::<u64>() + ROW_BYTES * rows.len() as u64
        }
        CopyRow::Owed { entry, .. } | CopyRow::Delayed { entry, .. } => of(&entry.message) + ROW_BYTES,
        CopyRow::DelaySeen(ids) => ROW_BYTES * ids.len() as u64,
        CopyRow::Retained { message, .. } => of(message) + ROW_BYTES,
        CopyRow::Partition(_) | CopyRow::Claim(_) => 2 * ROW_BYTES,
        CopyRow::Place { place, .. } => {
            ROW_BYTES * (1 + place.progress.done.len() + place.progress.attempts.len()) as u64
        }
        CopyRow::RecordSeen { ids, .. } => ROW_BYTES * ids.len() as u64,
        CopyRow::Records { records, .. } => {
            let bytes = records.iter().map(|record| of(&record.message) + record.key.len() as u64);
            bytes.sum::<u64>() + ROW_BYTES * records.len() as u64
        }
        CopyRow::Kept { values, .. } => {
            let bytes = values.iter().map(|(key, value)| (key.len() + value.len()) as u64);
            bytes.sum::<u64>() + ROW_BYTES * values.len() as u64
        }
        CopyRow::GroupOwed { entries, .. } => {
            let bytes = entries.iter().map(|entry| of(&entry.message));
            bytes.sum::<u64>() + ROW_BYTES * entries.len() as u64
        }
        CopyRow::GroupOutbox { .. } => ROW_BYTES,
        CopyRow::Table(row) => ROW_BYTES + row.value.as_ref().map_or(0, |value| value.len() as u64),
    }
}

/// `bodies`: the shared messages that are written already.
pub(super) fn writes(
    row: CopyRow,
    windows: Windows,
    bodies: &mut HashSet<u64>,
    names: &mut Names,
) -> Vec<Write> {
    match row {
        CopyRow::Partition(partition) => stream::partition(*partition, names),
        CopyRow::Place { key, place } => stream::place(&key, place, names),
        CopyRow::RecordSeen { key, ids } => stream::record_seen(&key, ids, windows, names),
        CopyRow::Records { key, records } => stream::records(&key, records, names),
        CopyRow::Kept { key, group, values } => stream::kept(&key, &group, values, names),
        CopyRow::GroupOwed { key, group, entries } => stream::owed(&key, &group, entries, names),
        CopyRow::GroupOutbox { key, group, tail } => stream::outbox(&key, &group, tail, names),
        CopyRow::Table(row) => stream::cell(row, names),
        CopyRow::Claim(claim) => stream::claim(*claim, names),
        CopyRow::Session(session) => session_writes(*session, windows),
        CopyRow::Queue { generation, rows, .. } => {
            rows.into_iter().flat_map(|row| queue_writes(generation, row, bodies)).collect()
        }
        CopyRow::Owed { key, generation, entry } => {
            let row = Row::Outbox(Box::new(OutboxRow {
                key,
                generation,
                id: entry.id,
                message: entry.message,
                owner: entry.owner,
            }));
            vec![put(id_key(Kind::Outbox, entry.entry), row)]
        }
        CopyRow::Delayed { realm, due, entry } => {
            let row = Row::Delayed { realm, message: entry.message, epoch: Some(entry.id.source) };
            vec![put(number_key(Kind::Delayed, due.0, entry.entry), row)]
        }
        CopyRow::DelaySeen(ids) => {
            let place = |at: u64| id_key(Kind::DelaySeen, at % windows.delay_ids_max as u64);
            ids.into_iter().enumerate().map(|(at, id)| seen(place(at as u64), at, id)).collect()
        }
        CopyRow::Retained { realm, topic, position, message } => {
            vec![put(retained_key(&realm, &topic), Row::Retained { position, message })]
        }
    }
}

fn session_writes(session: SessionCopy, windows: Windows) -> Vec<Write> {
    let generation = session.fence.generation;
    let detached = session.left.map(|left| Detached {
        at: left.at,
        sent: left.sent,
        expires_at: left.expires_at,
        will_at: left.will_at,
    });
    let row = SessionRow {
        generation,
        fence: session.fence.fence,
        owner: session.owner,
        persistent: session.persistent,
        expiry_seconds: session.expiry_seconds,
        will: session.will,
        detached,
    };
    let mut writes = vec![put(session_key(&session.key), Row::Session(Box::new(row)))];
    writes.extend(session.subscriptions.into_iter().map(|(filter, options)| {
        put(text_key(Kind::Subscription, generation, filter.as_str()), Row::Subscription(options))
    }));
    if session.tail > 0 || session.uses > 0 {
        let ends = Ends { tail: session.tail, uses_reserved: session.uses };
        writes.push(put(id_key(Kind::Ends, generation), Row::Ends(ends)));
    }
    writes.extend(session.received.into_iter().map(|(packet_id, count)| {
        put(number_key(Kind::Received, generation, u64::from(packet_id)), Row::Received(count))
    }));
    let place = |at: u64| number_key(Kind::Seen, generation, at % windows.ids_max as u64);
    writes.extend(session.seen.into_iter().enumerate().map(|(at, id)| seen(place(at as u64), at, id)));
    writes
}

fn queue_writes(generation: u64, row: QueueCopy, bodies: &mut HashSet<u64>) -> Vec<Write> {
    let QueueCopy { number, state, body } = row;
    let key = number_key(Kind::Queue, generation, number);
    match state {
        RowState::Released => vec![put(key, Row::Released)],
        RowState::Waiting(delivery) => {
            let is_first = body != 0 && bodies.insert(body);
            let shared = is_first.then(|| shared(body, &delivery));
            let row = Row::Waiting { delivery, body };
            shared.into_iter().chain([put(key, row)]).collect()
        }
    }
}

fn shared(body: u64, delivery: &Delivery) -> Write {
    put(id_key(Kind::Body, body), Row::Body(delivery.message.clone()))
}

fn seen(key: Key, at: usize, id: MessageId) -> Write {
    put(key, Row::Seen(Seen { at: at as u64, id }))
}

pub(super) fn put(key: Key, row: Row) -> Write {
    Write { key, change: Change::Put(row) }
}
