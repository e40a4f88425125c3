//! WAMP-CRA (WAMP, "Challenge Response Authentication"), salted: a client signs what it is told with a key that it
//! derives from its password, and the password never crosses the wire.

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::future::{self, BoxFuture};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;
use weir_model::Reason;

use super::accounts::book::Book;
use super::counted;
use crate::identity::{Exchange, Step};

mod key;

pub(crate) use key::{BadKey, KEY_BYTES, Key};

/// Its name as an authentication method.
pub(crate) const METHOD: &str = "wampcra";

/// Random bytes in a challenge.
const NONCE_BYTES: usize = 24;

/// One client's exchange: it says its session's id in decimal digits, is answered
/// `{"challenge", "salt", "keylen", "iterations"}` in JSON, and says the signature in base64. It rests on the accounts
/// as they were when it began.
pub(crate) struct WampCra {
    book: Arc<Book>,
    client_id: Arc<str>,
    name: Option<String>,
    state: State,
}

enum State {
    /// Waits for the session's id.
    First,
    /// Has sent the challenge and waits for its signature.
    Signature(Box<Asked>),
    Over,
}

/// What the client's signature is checked against.
struct Asked {
    challenge: String,
    key: Key,
}

/// Why an exchange failed; logged at debug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the client does not say who it is")]
    NoName,
    #[error("what came first is not the id of a session")]
    Session,
    #[error("no account with a key for WAMP-CRA, or a wrong signature")]
    Signature,
    #[error("nothing was to be sent any more")]
    Over,
    #[error("the system gives no random numbers")]
    Random,
}

impl Exchange for WampCra {
    fn step<'a>(&'a mut self, data: &'a [u8]) -> BoxFuture<'a, Result<Step, Reason>> {
        let step = match std::mem::replace(&mut self.state, State::Over) {
            State::First => nonce().and_then(|nonce| self.challenge(data, &nonce)),
            State::Signature(asked) => self.check(&asked, data),
            State::Over => Err(Refusal::Over),
        };
        let step = step.map_err(|refusal| {
            tracing::debug!(client_id = ?self.client_id, why = %refusal, "wampcra refused");
            if refusal == Refusal::Random { Reason::Internal } else { Reason::BadCredentials }
        });
        Box::pin(future::ready(match step {
            Ok(Step::Continue(data)) => Ok(Step::Continue(data)),
            verdict => counted("wampcra", verdict),
        }))
    }
}

impl WampCra {
    pub(crate) fn new(book: Arc<Book>, client_id: Arc<str>, name: Option<String>) -> WampCra {
        WampCra { book, client_id, name, state: State::First }
    }

    /// Who is unknown is told a salt too, and fails like with a wrong password. Roles are told to nobody who has
    /// not proved anything yet: `authrole` is the same for all.
    fn challenge(&mut self, data: &[u8], nonce: &str) -> Result<Step, Refusal> {
        let name = self.name.as_deref().ok_or(Refusal::NoName)?;
        let session: u64 =
            std::str::from_utf8(data).ok().and_then(|id| id.parse().ok()).ok_or(Refusal::Session)?;
        let key = self.book.account(name).and_then(|account| account.wampcra.clone());
        let key = key.unwrap_or_else(|| self.book.invented_key(name));
        let challenge = json!({
            "authid": name,
            "authrole": "user",
            "authmethod": METHOD,
            "authprovider": "static",
            "session": session,
            "nonce": nonce,
            "timestamp": humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        });
        let challenge = challenge.to_string();
        let asked = json!({
            "challenge": challenge,
            "salt": key.salt,
            "keylen": KEY_BYTES,
            "iterations": key.iterations,
        });
        self.state = State::Signature(Box::new(Asked { challenge, key }));
        Ok(Step::Continue(asked.to_string().into_bytes()))
    }

    fn check(&self, asked: &Asked, data: &[u8]) -> Result<Step, Refusal> {
        let signature = STANDARD.decode(data).map_err(|_| Refusal::Signature)?;
        if !asked.key.has_signed(asked.challenge.as_bytes(), &signature) {
            return Err(Refusal::Signature);
        }
        let account = self.name.as_deref().and_then(|name| self.book.account(name));
        let account = account.filter(|account| account.wampcra.is_some()).ok_or(Refusal::Signature)?;
        Ok(Step::Done { identity: account.identity(&self.client_id), data: Vec::new() })
    }
}

fn nonce() -> Result<String, Refusal> {
    let mut bytes = [0; NONCE_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Refusal::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests;
