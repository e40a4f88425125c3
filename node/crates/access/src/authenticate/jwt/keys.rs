//! The keys that vouch for tokens, each bound to the algorithms of its own family.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::super::fingerprint;
use crate::config;

/// Smallest RSA modulus in bits (RFC 7518 section 3.3).
const RSA_BITS_MIN: usize = 2048;

/// Largest RSA modulus in bits that the verifier takes.
const RSA_BITS_MAX: usize = 4096;

/// What a key is made of. There is no other way to a [`Key`], so that a public key never becomes the
/// secret of an HMAC, nor a secret a public key.
pub(super) enum Material {
    Secret(Vec<u8>),
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// An uncompressed or compressed point (SEC 1).
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Why something cannot be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadKey {
    #[error("the secret is empty")]
    EmptySecret,
    #[error("an RSA key of {bits} bits; {RSA_BITS_MIN} to {RSA_BITS_MAX} are taken")]
    RsaBits { bits: usize },
    #[error("the numbers of the {kind} key do not make a key")]
    Invalid { kind: &'static str },
    #[error("keys of the kind {kind} are not taken")]
    Kind { kind: String },
    #[error("`{field}` is missing or is not base64url")]
    Field { field: &'static str },
    #[error("the key is meant for `{algorithm}`, which does not fit its kind or is not taken")]
    Algorithm { algorithm: String },
    #[error("the key is not meant for signatures")]
    Use,
    #[error("this is a private key; only the public one belongs here")]
    Private,
    #[error("a shared secret does not come from an address")]
    RemoteSecret,
}

/// A key and what it may verify.
pub(crate) struct Key {
    /// By which tokens name it; compared as it is, and used for nothing else.
    pub(super) kid: Option<Box<str>>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) decoding: DecodingKey,
    pub(super) fingerprint: u64,
}

/// All keys at one moment.
#[derive(Default)]
pub(crate) struct Keys {
    keys: Vec<Arc<Key>>,
    /// Whether an address is configured from which nothing could be fetched so far.
    waits_for_first: bool,
}

impl Material {
    fn parts(&self) -> (&'static str, &[u8], &[u8]) {
        match self {
            Material::Secret(secret) => ("secret", secret, &[]),
            Material::Rsa { modulus, exponent } => ("RSA", modulus, exponent),
            Material::P256(point) => ("P-256", point, &[]),
            Material::P384(point) => ("P-384", point, &[]),
            Material::Ed25519(point) => ("Ed25519", point, &[]),
        }
    }

    fn algorithms(&self) -> &'static [Algorithm] {
        use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
        match self {
            Material::Secret(_) => &[HS256, HS384, HS512],
            Material::Rsa { .. } => &[RS256, RS384, RS512, PS256, PS384, PS512],
            Material::P256(_) => &[ES256],
            Material::P384(_) => &[ES384],
            Material::Ed25519(_) => &[EdDSA],
        }
    }

    fn check(&self) -> Result<(), BadKey> {
        match self {
            Material::Secret(secret) if secret.is_empty() => Err(BadKey::EmptySecret),
            Material::Rsa { modulus, .. } => match bits(modulus) {
                RSA_BITS_MIN..=RSA_BITS_MAX => Ok(()),
                bits => Err(BadKey::RsaBits { bits }),
            },
            Material::Ed25519(point) if point.len() != 32 => Err(BadKey::Invalid { kind: "Ed25519" }),
            _ => Ok(()),
        }
    }

    fn decoding(&self) -> DecodingKey {
        match self {
            Material::Secret(secret) => DecodingKey::from_secret(secret),
            Material::Rsa { modulus, exponent } => DecodingKey::from_rsa_raw_components(modulus, exponent),
            Material::P256(point) | Material::P384(point) => DecodingKey::from_ec_der(point),
            Material::Ed25519(point) => DecodingKey::from_ed_der(point),
        }
    }
}

impl Key {
    /// A key that may verify all algorithms of its kind, or `only` that one.
    ///
    /// # Errors
    /// The material makes no key, or the algorithm does not fit it.
    pub(super) fn new(
        material: &Material,
        kid: Option<String>,
        only: Option<Algorithm>,
    ) -> Result<Key, BadKey> {
        material.check()?;
        let (kind, first, second) = material.parts();
        let algorithms = match only {
            None => material.algorithms().to_vec(),
            Some(only) if material.algorithms().contains(&only) => vec![only],
            Some(only) => return Err(BadKey::Algorithm { algorithm: format!("{only:?}") }),
        };
        let decoding = material.decoding();
        // Making a verifier is what shows whether a point is on its curve; the signature is nobody's.
        if jsonwebtoken::crypto::verify("", b"", &decoding, algorithms[0]).is_err() {
            return Err(BadKey::Invalid { kind });
        }
        let fingerprint = fingerprint([kind.as_bytes(), first, second]);
        Ok(Key { kid: kid.map(Into::into), algorithms, decoding, fingerprint })
    }
}

impl Keys {
    pub(crate) fn new(keys: Vec<Arc<Key>>, waits_for_first: bool) -> Keys {
        Keys { keys, waits_for_first }
    }

    /// Whether both have the same keys in the same order, under the same names.
    pub(crate) fn same(one: &[Arc<Key>], other: &[Arc<Key>]) -> bool {
        let same = |(one, other): (&Arc<Key>, &Arc<Key>)| {
            one.fingerprint == other.fingerprint && one.kid == other.kid && one.algorithms == other.algorithms
        };
        one.len() == other.len() && one.iter().zip(other).all(same)
    }

    /// Whether the key of this fingerprint is still there.
    pub(super) fn knows(&self, fingerprint: u64) -> bool {
        self.keys.iter().any(|key| key.fingerprint == fingerprint)
    }

    pub(super) fn waits_for_first(&self) -> bool {
        self.waits_for_first
    }

    /// The keys for this algorithm: of this `kid` if there are any, else those without one; without a
    /// `kid`, all.
    pub(super) fn candidates(&self, algorithm: Algorithm, kid: Option<&str>) -> Vec<&Key> {
        let fits = |key: &&Key| key.algorithms.contains(&algorithm);
        let all = || self.keys.iter().map(AsRef::as_ref);
        let Some(kid) = kid else { return all().filter(fits).collect() };
        let named: Vec<&Key> = all().filter(|key| key.kid.as_deref() == Some(kid)).collect();
        if named.is_empty() {
            return all().filter(|key| key.kid.is_none()).filter(fits).collect();
        }
        named.into_iter().filter(|key| fits(key)).collect()
    }
}

/// The length of a big-endian number in bits.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    match number.get(zeros) {
        Some(first) => (number.len() - zeros) * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}

/// Base64url with or without padding, as key sets in the wild have it.
pub(super) fn base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// The library's word for a configured algorithm.
pub(super) fn library_name(algorithm: config::Algorithm) -> Algorithm {
    match algorithm {
        config::Algorithm::HS256 => Algorithm::HS256,
        config::Algorithm::HS384 => Algorithm::HS384,
        config::Algorithm::HS512 => Algorithm::HS512,
        config::Algorithm::RS256 => Algorithm::RS256,
        config::Algorithm::RS384 => Algorithm::RS384,
        config::Algorithm::RS512 => Algorithm::RS512,
        config::Algorithm::PS256 => Algorithm::PS256,
        config::Algorithm::PS384 => Algorithm::PS384,
        config::Algorithm::PS512 => Algorithm::PS512,
        config::Algorithm::ES256 => Algorithm::ES256,
        config::Algorithm::ES384 => Algorithm::ES384,
        config::Algorithm::EdDSA => Algorithm::EdDSA,
    }
}
