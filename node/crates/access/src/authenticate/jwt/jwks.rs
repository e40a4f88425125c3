//! JSON Web Key Sets (RFC 7517): the keys in them that verify signatures.

use std::str::FromStr as _;

use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;

use super::keys::{BadKey, Key, Material, base64url};

/// How many keys a set may have.
const KEYS_MAX: usize = 64;

/// Where a set came from: what is fetched cannot hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    File,
    Address,
}

/// Why a set gave no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadSet {
    #[error("line {line}: it is not a JSON Web Key Set: {problem}")]
    Json { line: usize, problem: String },
    #[error("it has {keys} keys; {KEYS_MAX} is the most")]
    TooMany { keys: usize },
    #[error("it has no key that can be used; the first: {first}")]
    Unusable { first: BadKey },
    #[error("it has no keys")]
    Empty,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// One key (RFC 7517 section 4, RFC 7518 section 6, RFC 8037), as far as it counts here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

/// The usable keys of a set. Others are left out, as RFC 7517 section 5 wants it.
///
/// # Errors
/// It is not a set, or none of its keys can be used.
pub(super) fn keys(text: &[u8], origin: Origin) -> Result<Vec<Key>, BadSet> {
    let set: Set = serde_json::from_slice(text)
        .map_err(|error| BadSet::Json { line: error.line(), problem: error.to_string() })?;
    if set.keys.len() > KEYS_MAX {
        return Err(BadSet::TooMany { keys: set.keys.len() });
    }
    let mut keys = Vec::new();
    let mut first_problem = None;
    for value in set.keys {
        match key(value, origin) {
            Ok(key) => keys.push(key),
            Err(problem) => {
                tracing::debug!(%problem, "a key of the set is left out");
                first_problem.get_or_insert(problem);
            }
        }
    }
    match first_problem {
        _ if !keys.is_empty() => Ok(keys),
        Some(first) => Err(BadSet::Unusable { first }),
        None => Err(BadSet::Empty),
    }
}

fn key(value: Value, origin: Origin) -> Result<Key, BadKey> {
    let jwk: Jwk = serde_json::from_value(value).map_err(|_| BadKey::Field { field: "kty" })?;
    let verifies = jwk.key_ops.as_ref().is_none_or(|all| all.iter().any(|one| one == "verify"));
    if !verifies || jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err(BadKey::Use);
    }
    let unknown = |name: &String| BadKey::Algorithm { algorithm: name.clone() };
    let only =
        jwk.alg.as_ref().map(|name| Algorithm::from_str(name).map_err(|_| unknown(name))).transpose()?;
    let material = jwk.material(origin)?;
    Key::new(&material, jwk.kid, only)
}

impl Jwk {
    fn material(&self, origin: Origin) -> Result<Material, BadKey> {
        let field = |name: &'static str, text: &Option<String>| {
            text.as_deref().and_then(base64url).ok_or(BadKey::Field { field: name })
        };
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("oct", _) if origin == Origin::Address => Err(BadKey::RemoteSecret),
            ("oct", _) => Ok(Material::Secret(field("k", &self.k)?)),
            ("RSA", _) => Ok(Material::Rsa { modulus: field("n", &self.n)?, exponent: field("e", &self.e)? }),
            ("EC", Some("P-256")) => {
                Ok(Material::P256(point(32, &field("x", &self.x)?, &field("y", &self.y)?)?))
            }
            ("EC", Some("P-384")) => {
                Ok(Material::P384(point(48, &field("x", &self.x)?, &field("y", &self.y)?)?))
            }
            ("OKP", Some("Ed25519")) => Ok(Material::Ed25519(field("x", &self.x)?)),
            (kty, crv) => Err(BadKey::Kind { kind: format!("{kty} {}", crv.unwrap_or_default()) }),
        }
    }
}

/// An uncompressed point (SEC 1 section 2.3.3) of coordinates of exactly this length (RFC 7518 section 6.2.1.2).
fn point(bytes: usize, x: &[u8], y: &[u8]) -> Result<Vec<u8>, BadKey> {
    if x.len() != bytes || y.len() != bytes {
        return Err(BadKey::Invalid { kind: "EC" });
    }
    Ok([&[4], x, y].concat())
}
