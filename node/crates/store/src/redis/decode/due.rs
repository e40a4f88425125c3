//! What the function `due` answers.

use super::{DecodeError, Values, delayed_entry, outbox_entry, session, unpacked};
use crate::redis::layout::session_of;
use crate::{Due, Fence, SessionKey};

/// One entry that is due, and since when.
pub(in super::super) struct Found {
    pub since: f64,
    pub due: Due,
}

pub(in super::super) fn due(packed: &[u8]) -> Result<Vec<Found>, DecodeError> {
    let list = unpacked(packed)?;
    let found = |entry| {
        let mut entry = Values::of(entry)?;
        let since = entry.text()?.parse().unwrap_or(f64::INFINITY);
        Ok(Found { since, due: one(entry.list()?)? })
    };
    Values::of(&list)?.rest().map(found).collect()
}

fn one(mut entry: Values) -> Result<Due, DecodeError> {
    match entry.text()? {
        "will" => {
            let key = key(entry.text()?)?;
            let fence = Fence { generation: entry.number()?, fence: entry.number()? };
            Ok(Due::Will { key, fence })
        }
        "expiry" => {
            let key = key(entry.text()?)?;
            let fence = Fence { generation: entry.number()?, fence: entry.number()? };
            Ok(Due::Expiry { key, fence })
        }
        "delayed" => {
            let number = entry.number()?;
            let (realm, entry) = delayed_entry(number, entry.bytes()?)?;
            Ok(Due::Delayed { realm, entry })
        }
        "owed" => {
            let key = key(entry.text()?)?;
            let number = entry.number()?;
            Ok(Due::Owed { key, entry: outbox_entry(number, entry.bytes()?)? })
        }
        "orphan" => Ok(Due::Orphan(Box::new(session(entry.list()?)?))),
        _ => Err(DecodeError::Kind { expected: "something due" }),
    }
}

fn key(id: &str) -> Result<SessionKey, DecodeError> {
    session_of(id).ok_or_else(|| DecodeError::Name(id.to_owned()))
}
