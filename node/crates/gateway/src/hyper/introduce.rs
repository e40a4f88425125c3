//! What a client says before its LOGIN: refused until that comes. Nothing knows of the client yet.

use std::time::Duration;

use metrics::counter;
use tokio::io::AsyncReadExt;
use weir_net::{Stream, close_gracefully};
use weir_wire::hyper::{self, Command, Cut, Data, Reply, Request, RequestError, code};
use weir_wire::wamp::Id;

use crate::mqtt::Shared;
use crate::wamp::introduce::write;

/// Refusals before a LOGIN; who needs more is sent away.
const REFUSALS_MAX: usize = 32;

/// A client that has sent its LOGIN.
pub struct Introduced {
    pub stream: Stream,
    pub login: Login,
    /// What came behind it.
    pub rest: Vec<u8>,
}

/// Who wants in, and where.
pub struct Login {
    pub id: Id,
    pub realm: String,
    pub authid: Option<String>,
    pub ticket: Option<String>,
}

/// Waits for the LOGIN; `None` when none came, or too late. May be dropped at any time.
pub async fn login(shared: &Shared, mut stream: Stream) -> Option<Introduced> {
    let patience = Duration::from_millis(shared.config.connect_timeout_ms);
    let what = match tokio::time::timeout(patience, introduce(shared, &mut stream)).await {
        Ok(Ok((login, rest))) => return Some(Introduced { stream, login, rest }),
        Ok(Err(what)) => what,
        Err(_) => "timeout",
    };
    counter!("weir_gateway_connects_refused_total").increment(1);
    tracing::debug!(what, "a connection was refused");
    close_gracefully(&mut stream, shared.linger).await;
    None
}

async fn introduce(shared: &Shared, stream: &mut Stream) -> Result<(Login, Vec<u8>), &'static str> {
    let limits = shared.config.wamp.limits();
    let mut bytes = Vec::new();
    for _ in 0..REFUSALS_MAX {
        let mut cut = Cut::default();
        let end = loop {
            match cut.find(&bytes, &limits) {
                Ok(Some(end)) => break end,
                Ok(None) => read_some(stream, &mut bytes).await?,
                Err(error) => {
                    refuse(stream, None, code::INVALID_ARGUMENT, &error.to_string()).await?;
                    return Err("no message, or one that is too long");
                }
            }
        };
        let rest = bytes.split_off(end);
        match hyper::decode(&bytes, &limits) {
            Ok(Request { id: Some(id), command: Command::Login { realm, authid, ticket } }) => {
                let owned = |text: Option<weir_wire::wamp::Text<'_>>| text.map(|text| text.into_owned());
                let login =
                    Login { id, realm: realm.into_owned(), authid: owned(authid), ticket: owned(ticket) };
                return Ok((login, rest));
            }
            Ok(Request { command: Command::Goodbye, .. }) => return Err("goodbye before a login"),
            Ok(request) => refuse(stream, request.id, code::NOT_AUTHORIZED, "login first").await?,
            Err(RequestError::Wrong { id, wrong }) => {
                refuse(stream, id, code::INVALID_ARGUMENT, &wrong.to_string()).await?;
            }
            Err(error) => {
                refuse(stream, None, code::INVALID_ARGUMENT, &error.to_string()).await?;
                return Err("no message");
            }
        }
        bytes = rest;
    }
    Err("too many messages before a login")
}

/// Answers with ERR.
pub async fn refuse(
    stream: &mut Stream,
    id: Option<Id>,
    code: u64,
    message: &str,
) -> Result<(), &'static str> {
    let mut out = Vec::new();
    Reply::Error { id, data: Data::Failed { code, message } }.append(&mut out);
    write(stream, &out).await
}

async fn read_some(stream: &mut Stream, bytes: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut buffer = [0; 2048];
    let read = stream.read(&mut buffer).await.map_err(|_| "the socket failed")?;
    if read == 0 {
        return Err("closed too early");
    }
    bytes.extend_from_slice(&buffer[..read]);
    Ok(())
}
