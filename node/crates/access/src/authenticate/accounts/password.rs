//! A password as it is kept: argon2id or bcrypt, never the password itself.

use argon2::password_hash::phc::PasswordHash;
use argon2::{ARGON2ID_IDENT, Argon2, Params, PasswordHasher as _, PasswordVerifier as _};
use ring::rand::{SecureRandom as _, SystemRandom};

/// Most memory of one hash, in KiB: 1 GiB.
const ARGON2_MEMORY_MAX: u32 = 1 << 20;

/// Most passes over that memory.
const ARGON2_PASSES_MAX: u32 = 64;

/// Highest bcrypt cost: several seconds a password.
const BCRYPT_COST_MAX: u32 = 16;

/// Bytes of salt in a new hash.
const SALT_BYTES: usize = 16;

/// A hash, ready to compare with.
pub(crate) enum Password {
    Argon2id(Box<PasswordHash>),
    /// Compares the first 72 bytes only, as bcrypt always did.
    Bcrypt(Box<str>),
}

/// Why a text is not a password hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadHash {
    #[error(
        "the password is not a hash of argon2id (`$argon2id$..`) or bcrypt (`$2b$..`); `weir account passwd` makes one"
    )]
    Kind,
    #[error("the argon2id hash is damaged")]
    Argon2,
    #[error(
        "the argon2id hash asks for m={memory}, t={passes}; at most m={ARGON2_MEMORY_MAX}, t={ARGON2_PASSES_MAX} is taken"
    )]
    Argon2Cost { memory: u32, passes: u32 },
    #[error("the bcrypt hash is damaged")]
    Bcrypt,
    #[error("the bcrypt hash has the cost {cost}; at most {BCRYPT_COST_MAX} is taken")]
    BcryptCost { cost: u32 },
}

impl Password {
    /// # Errors
    /// It is no hash, or one that would take too long.
    pub(super) fn parse(text: &str) -> Result<Password, BadHash> {
        if text.starts_with("$argon2id$") {
            return argon2id(text);
        }
        if ["$2a$", "$2b$", "$2y$"].iter().any(|version| text.starts_with(version)) {
            return bcrypt(text);
        }
        Err(BadHash::Kind)
    }

    /// Whether this is the password. Takes as long as whoever made the hash wanted it to.
    pub(super) fn is(&self, password: &[u8]) -> bool {
        match self {
            Password::Argon2id(hash) => Argon2::default().verify_password(password, &**hash).is_ok(),
            Password::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Password::Argon2id(_) => "argon2id",
            Password::Bcrypt(_) => "bcrypt",
        }
    }
}

fn argon2id(text: &str) -> Result<Password, BadHash> {
    let hash = PasswordHash::new(text).map_err(|_| BadHash::Argon2)?;
    if hash.algorithm != ARGON2ID_IDENT || hash.salt.is_none() || hash.hash.is_none() {
        return Err(BadHash::Argon2);
    }
    let params = Params::try_from(&hash).map_err(|_| BadHash::Argon2)?;
    let (memory, passes) = (params.m_cost(), params.t_cost());
    if memory > ARGON2_MEMORY_MAX || passes > ARGON2_PASSES_MAX {
        return Err(BadHash::Argon2Cost { memory, passes });
    }
    Ok(Password::Argon2id(Box::new(hash)))
}

/// `$2b$<cost>$<22 of salt><31 of hash>`.
fn bcrypt(text: &str) -> Result<Password, BadHash> {
    let cost = text.get(4..6).and_then(|cost| cost.parse::<u32>().ok()).ok_or(BadHash::Bcrypt)?;
    if cost > BCRYPT_COST_MAX {
        return Err(BadHash::BcryptCost { cost });
    }
    text.parse::<bcrypt::HashParts>().map_err(|_| BadHash::Bcrypt)?;
    Ok(Password::Bcrypt(text.into()))
}

/// A new hash: argon2id of this cost, and a salt of its own.
///
/// # Errors
/// The system gives no random numbers, or argon2 no hash.
pub(super) fn hash(password: &[u8], cost: &Params) -> Result<String, &'static str> {
    let mut salt = [0; SALT_BYTES];
    SystemRandom::new().fill(&mut salt).map_err(|_| "the system gives no random numbers")?;
    let hash = Argon2::from(cost).hash_password_with_salt(password, &salt);
    hash.map(|hash| hash.to_string()).map_err(|_| "argon2 cannot hash this password")
}
