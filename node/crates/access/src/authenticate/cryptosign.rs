//! cryptosign (WAMP, "Cryptosign-based Authentication"): a client signs random bytes with the Ed25519 key (RFC 8032)
//! whose public half stands with its account. Channel binding is not offered.

use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::future::{self, BoxFuture};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::json;
use weir_model::Reason;

use super::accounts::book::{Account, Book};
use super::counted;
use crate::identity::{Exchange, Step};

/// Its name as an authentication method.
pub(crate) const METHOD: &str = "cryptosign";

/// Random bytes that are signed.
const CHALLENGE_BYTES: usize = 32;

/// Bytes of a signature (RFC 8032 section 5.1.6).
const SIGNATURE_BYTES: usize = 64;

/// An Ed25519 public key, as text 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PublicKey([u8; 32]);

impl PublicKey {
    pub(crate) fn parse(text: &str) -> Option<PublicKey> {
        bytes_of(text)?.try_into().ok().map(PublicKey)
    }
}

/// One client's exchange: it says its public key in hexadecimal digits, is answered `{"challenge"}` in JSON, and says
/// the signature and behind it what was signed, in hexadecimal digits. It rests on the accounts as they were when it
/// began.
pub(crate) struct Cryptosign {
    book: Arc<Book>,
    client_id: Arc<str>,
    name: Option<String>,
    state: State,
}

enum State {
    /// Waits for the public key.
    First,
    /// Has sent the challenge and waits for its signature.
    Signature(Box<Asked>),
    Over,
}

/// What the client's signature is checked against.
struct Asked {
    challenge: [u8; CHALLENGE_BYTES],
    key: PublicKey,
    /// Whose key it is; `None` = nobody's who was named.
    account: Option<Arc<Account>>,
}

/// Why an exchange failed; logged at debug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("`authextra.pubkey` is not 64 hexadecimal digits")]
    Key,
    #[error("the answer is not a signature and what was signed")]
    Form,
    #[error("no account with this key, or a wrong signature")]
    Signature,
    #[error("nothing was to be sent any more")]
    Over,
    #[error("the system gives no random numbers")]
    Random,
}

impl Exchange for Cryptosign {
    fn step<'a>(&'a mut self, data: &'a [u8]) -> BoxFuture<'a, Result<Step, Reason>> {
        let step = match std::mem::replace(&mut self.state, State::Over) {
            State::First => challenge().and_then(|challenge| self.ask(data, challenge)),
            State::Signature(asked) => self.check(&asked, data),
            State::Over => Err(Refusal::Over),
        };
        let step = step.map_err(|refusal| {
            tracing::debug!(client_id = ?self.client_id, why = %refusal, "cryptosign refused");
            if refusal == Refusal::Random { Reason::Internal } else { Reason::BadCredentials }
        });
        Box::pin(future::ready(match step {
            Ok(Step::Continue(data)) => Ok(Step::Continue(data)),
            verdict => counted("cryptosign", verdict),
        }))
    }
}

impl Cryptosign {
    pub(crate) fn new(book: Arc<Book>, client_id: Arc<str>, name: Option<String>) -> Cryptosign {
        Cryptosign { book, client_id, name, state: State::First }
    }

    /// Everybody is asked to sign, so that nobody learns which keys and names there are. Who does not say a name is
    /// whose key it is.
    fn ask(&mut self, data: &[u8], challenge: [u8; CHALLENGE_BYTES]) -> Result<Step, Refusal> {
        let key = std::str::from_utf8(data).ok().and_then(PublicKey::parse).ok_or(Refusal::Key)?;
        let account = self.book.owner_of(key);
        let is_meant =
            |account: &&Arc<Account>| self.name.as_deref().is_none_or(|name| *account.name == *name);
        let account = account.filter(is_meant).cloned();
        let asked = json!({ "challenge": digits(&challenge) });
        self.state = State::Signature(Box::new(Asked { challenge, key, account }));
        Ok(Step::Continue(asked.to_string().into_bytes()))
    }

    fn check(&self, asked: &Asked, data: &[u8]) -> Result<Step, Refusal> {
        let answer = std::str::from_utf8(data).ok().and_then(bytes_of).ok_or(Refusal::Form)?;
        let (signature, signed) = answer.split_at_checked(SIGNATURE_BYTES).ok_or(Refusal::Form)?;
        if signed != asked.challenge {
            return Err(Refusal::Form);
        }
        let key = UnparsedPublicKey::new(&ED25519, asked.key.0);
        key.verify(&asked.challenge, signature).map_err(|_| Refusal::Signature)?;
        let account = asked.account.as_ref().ok_or(Refusal::Signature)?;
        Ok(Step::Done { identity: account.identity(&self.client_id), data: Vec::new() })
    }
}

fn challenge() -> Result<[u8; CHALLENGE_BYTES], Refusal> {
    let mut bytes = [0; CHALLENGE_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Refusal::Random)?;
    Ok(bytes)
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What hexadecimal digits say; `None` for anything else.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| Some(digit(&pair[0])? << 4 | digit(&pair[1])?);
    text.len().is_multiple_of(2).then(|| text.as_bytes().chunks_exact(2).map(pair).collect())?
}

#[cfg(test)]
mod tests;
