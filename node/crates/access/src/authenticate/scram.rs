//! SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding: client and server prove to each other that
//! they know a password, and neither says it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::future::{self, BoxFuture};
use ring::rand::{SecureRandom as _, SystemRandom};
use weir_model::Reason;

use super::accounts::book::Book;
use super::counted;
use crate::identity::{Exchange, Step};

mod keys;
mod message;

pub(crate) use keys::{BadKeys, ITERATIONS_MAX, ITERATIONS_MIN, ITERATIONS_USUAL, Keys};
use message::{ClientFinal, ClientFirst, Malformed};

/// Its name as an authentication method (MQTT 5, section 4.12).
pub(crate) const METHOD: &str = "SCRAM-SHA-256";

/// Random bytes in the server's part of the nonce.
const NONCE_BYTES: usize = 18;

/// One client's exchange. It rests on the accounts as they were when it began; whether they still are is
/// asked of its grant like of any other.
pub(crate) struct Scram {
    book: Arc<Book>,
    client_id: Arc<str>,
    state: State,
}

enum State {
    /// Waits for `client-first-message`.
    First,
    /// Has sent `server-first-message` and waits for `client-final-message`.
    Final(Box<Challenge>),
    Over,
}

/// What the client's proof is checked against.
struct Challenge {
    first: ClientFirst,
    /// `server-first-message`.
    sent: String,
    nonce: String,
    keys: Keys,
}

/// Why an exchange failed; logged at debug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("the channel binding is another one than said at first")]
    Binding,
    #[error("the nonce is another one")]
    Nonce,
    #[error("no account with SCRAM keys, or a wrong proof")]
    Proof,
    #[error("nothing was to be sent any more")]
    Over,
    #[error("the system gives no random numbers")]
    Random,
}

impl Exchange for Scram {
    fn step<'a>(&'a mut self, data: &'a [u8]) -> BoxFuture<'a, Result<Step, Reason>> {
        let step = match std::mem::replace(&mut self.state, State::Over) {
            State::First => nonce().and_then(|nonce| self.challenge(data, &nonce)),
            State::Final(challenge) => self.check(&challenge, data),
            State::Over => Err(Refusal::Over),
        };
        let step = step.map_err(|refusal| {
            tracing::debug!(client_id = ?self.client_id, why = %refusal, "scram refused");
            if refusal == Refusal::Random { Reason::Internal } else { Reason::BadCredentials }
        });
        Box::pin(future::ready(match step {
            Ok(Step::Continue(data)) => Ok(Step::Continue(data)),
            verdict => counted("scram", verdict),
        }))
    }
}

impl Scram {
    pub(crate) fn new(book: Arc<Book>, client_id: Arc<str>) -> Scram {
        Scram { book, client_id, state: State::First }
    }

    /// Who is unknown is told a salt too, and fails like with a wrong password.
    fn challenge(&mut self, data: &[u8], server_nonce: &str) -> Result<Step, Refusal> {
        let first = ClientFirst::parse(data)?;
        let keys = self.book.account(&first.name).and_then(|account| account.scram.clone());
        let keys = keys.unwrap_or_else(|| self.book.invented_keys(&first.name));
        let nonce = format!("{}{server_nonce}", first.nonce);
        let sent = format!("r={nonce},s={},i={}", STANDARD.encode(&keys.salt), keys.iterations);
        let answer = sent.clone().into_bytes();
        self.state = State::Final(Box::new(Challenge { first, sent, nonce, keys }));
        Ok(Step::Continue(answer))
    }

    fn check(&self, challenge: &Challenge, data: &[u8]) -> Result<Step, Refusal> {
        let Challenge { first, sent, nonce, keys } = challenge;
        let last = ClientFinal::parse(data)?;
        if last.binding != first.header.as_bytes() {
            return Err(Refusal::Binding);
        }
        if last.nonce != *nonce {
            return Err(Refusal::Nonce);
        }
        let signed = format!("{},{sent},{}", first.bare, last.without_proof);
        let signature = keys.server_signature(signed.as_bytes(), &last.proof).ok_or(Refusal::Proof)?;
        let account = self.book.account(&first.name).filter(|account| account.scram.is_some());
        let account = account.ok_or(Refusal::Proof)?;
        let data = format!("v={}", STANDARD.encode(signature)).into_bytes();
        Ok(Step::Done { identity: account.identity(&self.client_id), data })
    }
}

fn nonce() -> Result<String, Refusal> {
    let mut bytes = [0; NONCE_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Refusal::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests;
