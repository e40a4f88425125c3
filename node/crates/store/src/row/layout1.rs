//! Layout 1 of rows: of a session's owner it kept the user id alone, and none with what is owed.

use std::sync::Arc;

use serde::Deserialize;
use weir_model::{Message, MessageId, Principal};

use super::codec::{DecodeError, get};
use super::{Detached, Kind, OutboxRow, Row, SessionRow, session_of};
use crate::{Owner, SessionKey, Will};

pub(super) const LAYOUT: u8 = 1;

#[derive(Deserialize)]
struct Session {
    generation: u64,
    fence: u64,
    user_id: Option<Arc<str>>,
    persistent: bool,
    expiry_seconds: u32,
    will: Option<Will>,
    detached: Option<Detached>,
}

#[derive(Deserialize)]
struct Outbox {
    key: SessionKey,
    generation: u64,
    id: MessageId,
    message: Arc<Message>,
}

/// Whether rows of this kind were written otherwise than now.
pub(super) fn differs(kind: u8) -> bool {
    kind == Kind::Session as u8 || kind == Kind::Outbox as u8
}

/// Reads a row of a kind that [`differs`], as the row it is now.
pub(super) fn decode(key: &[u8], bytes: &[u8]) -> Result<Row, DecodeError> {
    if key.first() == Some(&(Kind::Outbox as u8)) {
        let Outbox { key, generation, id, message } = get(bytes)?;
        return Ok(Row::Outbox(Box::new(OutboxRow { key, generation, id, message, owner: None })));
    }
    let Session { generation, fence, user_id, persistent, expiry_seconds, will, detached } = get(bytes)?;
    let client_id = session_of(key).ok_or(DecodeError::Short)?.name;
    let owner = user_id.map(|user_id| {
        let principal = Principal { client_id, user_id: Some(user_id), ..Principal::default() };
        Arc::new(Owner { principal: Arc::new(principal), grant: None })
    });
    let row = SessionRow { generation, fence, owner, persistent, expiry_seconds, will, detached };
    Ok(Row::Session(Box::new(row)))
}
