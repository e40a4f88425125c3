//! Entries of the `changes` streams: what the mirrors of all nodes hear.

use std::sync::Arc;

use bytes::Bytes;
use weir_model::{Message, Position, Topic};

use super::{DecodeError, filter, json, number, owner, text_of};
use crate::redis::marks::mark_of;
use crate::redis::mirror::Entry;
use crate::redis::{layout, text};
use crate::{Fence, Mark, PartitionKey, SessionChange, SessionKey, TableRow};

/// What one entry says.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) enum Change {
    /// The shard went back: it is to be read anew.
    Raised,
    Session {
        key: SessionKey,
        change: SessionChange,
    },
    Table(TableRow),
    /// Also when it was made, or takes no more: `seals`.
    Appended {
        key: PartitionKey,
        tail: Mark,
        seals: bool,
    },
    Dropped {
        key: PartitionKey,
    },
    /// `None` = cleared.
    Retained {
        realm: Arc<str>,
        topic: Topic,
        position: Position,
        message: Option<Arc<Message>>,
    },
}

/// Reads an entry of a `changes` stream; `epoch` is the shard's.
pub(in super::super) fn change(epoch: u64, entry: &Entry) -> Result<Change, DecodeError> {
    let fields = Fields(entry);
    let position = Position { epoch, ms: entry.id.ms, seq: entry.id.seq };
    match fields.text("kind")? {
        "retained" => retained(&fields, position, Some(text::decode(fields.get("message")?)?)),
        "raised" => Ok(Change::Raised),
        "cleared" => retained(&fields, position, None),
        "put" => table(&fields, Some(Bytes::copy_from_slice(fields.get("value")?))),
        "deleted" => table(&fields, None),
        kind @ ("made" | "sealed" | "appended") => {
            let (key, tail) = (partition(&fields)?, mark_of(fields.text("tail")?)?);
            Ok(Change::Appended { key, tail, seals: kind == "sealed" })
        }
        "dropped" => Ok(Change::Dropped { key: partition(&fields)? }),
        kind => session(kind, &fields),
    }
}

struct Fields<'a>(&'a Entry);

impl<'a> Fields<'a> {
    fn get(&self, name: &'static str) -> Result<&'a [u8], DecodeError> {
        self.0.field(name).ok_or(DecodeError::Missing(name))
    }

    fn text(&self, name: &'static str) -> Result<&'a str, DecodeError> {
        text_of(self.get(name)?)
    }

    fn number(&self, name: &'static str) -> Result<u64, DecodeError> {
        number(self.text(name)?)
    }
}

fn retained(
    fields: &Fields,
    position: Position,
    message: Option<Arc<Message>>,
) -> Result<Change, DecodeError> {
    let id = fields.text("topic")?;
    let (realm, topic) = layout::topic_of(id).ok_or_else(|| DecodeError::Name(id.to_owned()))?;
    Ok(Change::Retained { realm, topic, position, message })
}

fn table(fields: &Fields, value: Option<Bytes>) -> Result<Change, DecodeError> {
    let id = fields.text("row")?;
    let (table, key) = layout::row_of(id).ok_or_else(|| DecodeError::Name(id.to_owned()))?;
    Ok(Change::Table(TableRow { table, key, version: fields.number("version")?, value }))
}

fn partition(fields: &Fields) -> Result<PartitionKey, DecodeError> {
    let id = fields.text("partition")?;
    layout::partition_of(id).ok_or_else(|| DecodeError::Name(id.to_owned()))
}

fn session(kind: &str, fields: &Fields) -> Result<Change, DecodeError> {
    let id = fields.text("session")?;
    let key = layout::session_of(id).ok_or_else(|| DecodeError::Name(id.to_owned()))?;
    let generation = fields.number("generation")?;
    let fence = || Ok(Fence { generation, fence: fields.number("fence")? });
    let change = match kind {
        "opened" => SessionChange::Opened {
            fence: fence()?,
            home: fields.number("home")?,
            persistent: fields.number("persistent")? == 1,
            owner: owner(fields.get("owner")?)?,
            present: fields.number("present")? == 1,
        },
        "subscribed" => SessionChange::Subscribed {
            generation,
            filter: filter(fields.text("filter")?)?,
            options: json(fields.get("options")?)?,
        },
        "unsubscribed" => SessionChange::Unsubscribed { generation, filter: filter(fields.text("filter")?)? },
        "detached" => SessionChange::Detached { fence: fence()? },
        "ended" => SessionChange::Ended { generation },
        _ => return Err(DecodeError::Kind { expected: "a change" }),
    };
    Ok(Change::Session { key, change })
}
