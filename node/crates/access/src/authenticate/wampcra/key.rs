//! What a server keeps of a password for WAMP-CRA: the key that the client derives too.

use std::num::NonZero;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac, pbkdf2};

use crate::authenticate::scram::{ITERATIONS_MAX, ITERATIONS_MIN, ITERATIONS_USUAL};

/// Bytes of a key before it is written in base64.
pub(crate) const KEY_BYTES: usize = 32;

/// Bytes of a new salt, of which clients are told the base64.
const SALT_BYTES: usize = 16;

/// Characters of a salt that is read.
const SALT_CHARACTERS: std::ops::RangeInclusive<usize> = 8..=128;

/// An account's key, as text: `PBKDF2-SHA256$<iterations>:<salt>$<key>`. The salt is taken as the characters that it
/// is written with, and so is the base64 of the key when something is signed (WAMP, "Salted passwords"). Whoever has
/// it can sign: it is as good as the password wherever WAMP-CRA is spoken.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(super) salt: String,
    pub(super) iterations: u32,
    key: String,
}

/// Why a text is not such a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadKey {
    #[error("`wampcra` is not `PBKDF2-SHA256$<iterations>:<salt>$<key>`")]
    Form,
    #[error("`wampcra` has {iterations} iterations; {ITERATIONS_MIN} to {ITERATIONS_MAX} are taken")]
    Iterations { iterations: u32 },
    #[error("`wampcra` has a salt of {characters} characters; 8 to 128 are taken")]
    Salt { characters: usize },
}

impl Key {
    /// The key of a password, with a salt of its own.
    ///
    /// # Errors
    /// Too few iterations, or the system gives no random numbers.
    pub(crate) fn make(password: &str, iterations: u32) -> Result<Key, &'static str> {
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err("WAMP-CRA takes 4096 to 10000000 iterations");
        }
        let mut salt = [0; SALT_BYTES];
        SystemRandom::new().fill(&mut salt).map_err(|_| "the system gives no random numbers")?;
        Ok(Key::derive(password, STANDARD.encode(salt), iterations))
    }

    pub(super) fn derive(password: &str, salt: String, iterations: u32) -> Key {
        let rounds = NonZero::new(iterations).unwrap_or(NonZero::<u32>::MIN);
        let mut key = [0; KEY_BYTES];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt.as_bytes(), password.as_bytes(), &mut key);
        Key { salt, iterations, key: STANDARD.encode(key) }
    }

    /// What somebody is told who has none. Nobody knows a password for it.
    pub(crate) fn invented(random: &[u8], like: Option<&Key>) -> Key {
        let wide = digest::digest(&digest::SHA256, random);
        let written = STANDARD.encode(random.get(..SALT_BYTES).unwrap_or(random));
        // As long as somebody's, and written as a new one is where that one was made here.
        let salt = match like {
            Some(like) if like.salt.len() != written.len() => STANDARD
                .encode([random, wide.as_ref()].concat())
                .chars()
                .cycle()
                .take(like.salt.len())
                .collect(),
            _ => written,
        };
        let iterations = like.map_or(ITERATIONS_USUAL, |like| like.iterations);
        Key { salt, iterations, key: STANDARD.encode(wide) }
    }

    /// # Errors
    /// The text has another form, or asks for too little or too much.
    pub(crate) fn parse(text: &str) -> Result<Key, BadKey> {
        let mut parts = text.split('$');
        let (Some("PBKDF2-SHA256"), Some(front), Some(key), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadKey::Form);
        };
        let (iterations, salt) = front.split_once(':').ok_or(BadKey::Form)?;
        let iterations = iterations.parse().map_err(|_| BadKey::Form)?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(BadKey::Iterations { iterations });
        }
        if !SALT_CHARACTERS.contains(&salt.len()) {
            return Err(BadKey::Salt { characters: salt.len() });
        }
        let is_key = STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES);
        if !is_key || !salt.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadKey::Form);
        }
        Ok(Key { salt: salt.to_owned(), iterations, key: key.to_owned() })
    }

    pub(crate) fn to_text(&self) -> String {
        format!("PBKDF2-SHA256${}:{}${}", self.iterations, self.salt, self.key)
    }

    /// Whether this is the signature of the key over `challenge`. Takes the same time for every wrong one.
    pub(super) fn has_signed(&self, challenge: &[u8], signature: &[u8]) -> bool {
        hmac::verify(&self.signing(), challenge, signature).is_ok()
    }

    fn signing(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.key.as_bytes())
    }

    /// What a client with this key answers.
    #[cfg(test)]
    pub(super) fn sign(&self, challenge: &[u8]) -> String {
        STANDARD.encode(hmac::sign(&self.signing(), challenge))
    }
}
