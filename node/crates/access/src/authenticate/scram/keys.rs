//! What a server keeps of a password for SCRAM (RFC 5802 section 3): enough to check a proof, not to make one.

use std::num::NonZero;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac, pbkdf2};
use subtle::ConstantTimeEq as _;

/// Fewest iterations (RFC 7677 section 4).
pub(crate) const ITERATIONS_MIN: u32 = 4096;

/// Most iterations: seconds of a small client's time.
pub(crate) const ITERATIONS_MAX: u32 = 10_000_000;

/// What unknown names are told where nobody has keys.
pub(crate) const ITERATIONS_USUAL: u32 = 15_000;

/// Bytes of a new salt, and of an invented one.
const SALT_BYTES: usize = 16;

/// Bytes of a salt that is read.
const SALT_BYTES_TAKEN: std::ops::RangeInclusive<usize> = 8..=64;

/// Bytes of SHA-256.
const HASH_BYTES: usize = digest::SHA256_OUTPUT_LEN;

type Hash = [u8; HASH_BYTES];

/// An account's keys. As text: `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`, base64 (RFC 5803).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
    stored: Hash,
    server: Hash,
}

/// Why a text is not SCRAM keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadKeys {
    #[error("`scram` is not `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`")]
    Form,
    #[error("`scram` has {iterations} iterations; {ITERATIONS_MIN} to {ITERATIONS_MAX} are taken")]
    Iterations { iterations: u32 },
    #[error("`scram` has a salt of {bytes} bytes; 8 to 64 are taken")]
    Salt { bytes: usize },
}

impl Keys {
    /// The keys of a password, with a salt of their own. The password is prepared as clients do it
    /// (RFC 4013); where that is not possible it is taken as it is.
    ///
    /// # Errors
    /// Too few iterations, or the system gives no random numbers.
    pub(crate) fn make(password: &str, iterations: u32) -> Result<Keys, &'static str> {
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err("SCRAM takes 4096 to 10000000 iterations");
        }
        let mut salt = vec![0; SALT_BYTES];
        SystemRandom::new().fill(&mut salt).map_err(|_| "the system gives no random numbers")?;
        Ok(Keys::derive(password, salt, iterations))
    }

    pub(super) fn derive(password: &str, salt: Vec<u8>, iterations: u32) -> Keys {
        let prepared = stringprep::saslprep(password).unwrap_or(password.into());
        let rounds = NonZero::new(iterations).unwrap_or(NonZero::<u32>::MIN);
        let mut salted: Hash = [0; HASH_BYTES];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, prepared.as_bytes(), &mut salted);
        let stored = sha256(&mac(&salted, b"Client Key"));
        let server = mac(&salted, b"Server Key");
        Keys { salt, iterations, stored, server }
    }

    /// What somebody is told who has no keys. No proof fits them: nobody knows what hashes to this.
    pub(crate) fn invented(random: &[u8], like: Option<&Keys>) -> Keys {
        let wide = sha256(random);
        let salt_bytes = like.map_or(SALT_BYTES, |like| like.salt.len());
        let salt = random.iter().chain(&wide).copied().take(salt_bytes).collect();
        let iterations = like.map_or(ITERATIONS_USUAL, |like| like.iterations);
        Keys { salt, iterations, stored: sha256(&wide), server: wide }
    }

    /// # Errors
    /// The text has another form, or asks for too little or too much.
    pub(crate) fn parse(text: &str) -> Result<Keys, BadKeys> {
        let mut parts = text.split('$');
        let (Some("SCRAM-SHA-256"), Some(front), Some(back), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadKeys::Form);
        };
        let (iterations, salt) = front.split_once(':').ok_or(BadKeys::Form)?;
        let (stored, server) = back.split_once(':').ok_or(BadKeys::Form)?;
        let iterations = iterations.parse().map_err(|_| BadKeys::Form)?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(BadKeys::Iterations { iterations });
        }
        let salt = STANDARD.decode(salt).map_err(|_| BadKeys::Form)?;
        if !SALT_BYTES_TAKEN.contains(&salt.len()) {
            return Err(BadKeys::Salt { bytes: salt.len() });
        }
        let hash = |text: &str| STANDARD.decode(text).ok().and_then(|bytes| Hash::try_from(bytes).ok());
        let stored = hash(stored).ok_or(BadKeys::Form)?;
        let server = hash(server).ok_or(BadKeys::Form)?;
        Ok(Keys { salt, iterations, stored, server })
    }

    pub(crate) fn to_text(&self) -> String {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored, &self.server].map(|part| STANDARD.encode(part));
        format!("SCRAM-SHA-256${}:{salt}${stored}:{server}", self.iterations)
    }

    /// The server's own proof over `AuthMessage`, if the client's is right. Takes the same time for every
    /// wrong one.
    pub(super) fn server_signature(&self, message: &[u8], proof: &Hash) -> Option<Hash> {
        let signature = mac(&self.stored, message);
        let mut client_key = [0; HASH_BYTES];
        for ((key, signed), proved) in client_key.iter_mut().zip(&signature).zip(proof) {
            *key = signed ^ proved;
        }
        let right: bool = sha256(&client_key).ct_eq(&self.stored).into();
        right.then(|| mac(&self.server, message))
    }

    /// What a client with this password sends as its proof.
    #[cfg(test)]
    pub(super) fn proof(password: &str, salt: &[u8], iterations: u32, message: &[u8]) -> Hash {
        let rounds = NonZero::new(iterations).unwrap();
        let mut salted: Hash = [0; HASH_BYTES];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, password.as_bytes(), &mut salted);
        let client_key = mac(&salted, b"Client Key");
        let signature = mac(&sha256(&client_key), message);
        std::array::from_fn(|at| client_key[at] ^ signature[at])
    }
}

fn mac(key: &[u8], message: &[u8]) -> Hash {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    std::array::from_fn(|at| tag.as_ref()[at])
}

fn sha256(bytes: &[u8]) -> Hash {
    let digest = digest::digest(&digest::SHA256, bytes);
    std::array::from_fn(|at| digest.as_ref()[at])
}
