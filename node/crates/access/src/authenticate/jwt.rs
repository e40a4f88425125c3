//! Tokens: the password is a JSON Web Token (RFC 7519) that somebody signed whose key is known here.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::{self, BoxFuture};
use jsonwebtoken::{Header, Validation};
use serde_json::{Map, Value};
use tokio::sync::Notify;
use weir_model::{Reason, UnixMillis};

use super::counted;
use crate::config;
use crate::identity::{Authenticator, Credentials, Grant, Identity};

mod claims;
pub(crate) mod fetch;
mod jwks;
pub(crate) mod keys;
mod pem;
pub(crate) mod sources;

use keys::{Key, Keys};

/// How many keys are tried for one token that does not say which (RFC 7515 section 4.1.4 makes `kid` optional).
const KEYS_TRIED_MAX: usize = 8;

/// Asks for a token as password, and lets in whom it names.
pub(crate) struct Jwt {
    pub(crate) config: Arc<config::Jwt>,
    pub(crate) keys: Arc<Keys>,
    /// Rung when a token names a key that is not known, as after a rotation.
    pub(crate) unknown_key: Arc<Notify>,
}

/// Why a token was refused. The client learns only that it was; the rest is logged at debug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the token is too long")]
    TooLong,
    #[error("it is not a token, or its algorithm is not known")]
    Malformed,
    #[error("the token names extensions that must be understood (`crit`)")]
    Critical,
    #[error("the algorithm is not allowed")]
    Algorithm,
    #[error("no key here is meant for it")]
    NoKey,
    #[error("the keys have not been fetched yet")]
    NoKeysYet,
    #[error("the signature is wrong")]
    Signature,
    #[error("the token is expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token has no `exp`")]
    NoExpiry,
    #[error("`exp` or `nbf` is not a time")]
    Time,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token is of another issuer")]
    Issuer,
    #[error("the token names no user")]
    User,
    #[error("the roles are not a list of names")]
    Roles,
    #[error("the claim with the realm is not the name of one")]
    Realm,
    #[error("the token has too many claims")]
    Claims,
}

impl Refusal {
    fn reason(self) -> Reason {
        match self {
            Refusal::NoKeysYet => Reason::Unavailable,
            _ => Reason::BadCredentials,
        }
    }
}

impl Authenticator for Jwt {
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Option<Result<Identity, Reason>>> {
        // One signature is checked where a TLS handshake checks several: on the async thread.
        let verdict = self.token(credentials).map(|token| {
            let found = self.judge(token, credentials, UnixMillis::from(SystemTime::now()));
            counted(
                "jwt",
                found.map_err(|refusal| {
                    tracing::debug!(client_id = ?credentials.client_id, why = %refusal, "token refused");
                    refusal.reason()
                }),
            )
        });
        Box::pin(future::ready(verdict))
    }

    fn may_enter(&self, identity: &Identity, realm: &str) -> Option<bool> {
        let Grant::Token { .. } = identity.grant else { return None };
        let mut claims = identity.principal.claims.iter();
        let said = claims.find(|(name, _)| **name == *self.config.realm_claim);
        Some(said.map_or_else(|| identity.is_free_or_in(realm), |(_, own)| **own == *realm))
    }

    fn still_holds(&self, grant: &Grant) -> Option<bool> {
        match grant {
            Grant::Token { key } => Some(self.keys.knows(*key)),
            _ => None,
        }
    }
}

impl Jwt {
    /// The password, if it is a token for us.
    fn token<'a>(&self, credentials: &'a Credentials) -> Option<&'a [u8]> {
        let token = credentials.password.as_deref()?;
        let mine = match self.config.username.as_str() {
            "" => looks_like_a_token(token),
            name => credentials.username.as_deref() == Some(name),
        };
        mine.then_some(token)
    }

    fn judge(&self, token: &[u8], credentials: &Credentials, now: UnixMillis) -> Result<Identity, Refusal> {
        let bytes_max = self.config.token_bytes_max;
        if bytes_max != 0 && token.len() > bytes_max {
            return Err(Refusal::TooLong);
        }
        let (key, claims) = self.verify(token)?;
        let holder = claims::holder(claims, &self.config, now)?;
        let mut principal = holder.principal;
        principal.client_id = credentials.client_id.clone();
        let mut identity = Identity::new(principal, Grant::Token { key });
        identity.expires_at = holder.expires_at;
        if let Some(realm) = holder.realm {
            identity.realm = realm;
        }
        Ok(identity)
    }

    /// The claims, and the fingerprint of the key that vouches for them. Of the header only `alg` and `kid`
    /// count: keys and addresses of keys (`jwk`, `jku`, `x5c`, `x5u`) are the sender's and mean nothing.
    fn verify(&self, token: &[u8]) -> Result<(u64, Map<String, Value>), Refusal> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refusal::Malformed)?;
        if header.crit.is_some() {
            return Err(Refusal::Critical);
        }
        let allowed = &self.config.algorithms;
        if !allowed.is_empty() && !allowed.iter().any(|one| keys::library_name(*one) == header.alg) {
            return Err(Refusal::Algorithm);
        }
        let candidates = self.keys.candidates(header.alg, header.kid.as_deref());
        if candidates.is_empty() {
            return Err(self.no_key(&header));
        }
        let claims = candidates.iter().take(KEYS_TRIED_MAX).find_map(|key| signed_by(key, token, &header));
        claims.ok_or(Refusal::Signature)
    }

    fn no_key(&self, header: &Header) -> Refusal {
        if header.kid.is_some() || self.keys.waits_for_first() {
            self.unknown_key.notify_one();
        }
        if self.keys.waits_for_first() { Refusal::NoKeysYet } else { Refusal::NoKey }
    }
}

/// The claims, if this key signed the token. What they say is judged elsewhere, by one clock.
fn signed_by(key: &Key, token: &[u8], header: &Header) -> Option<(u64, Map<String, Value>)> {
    let mut validation = Validation::new(header.alg);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let decoded = jsonwebtoken::decode(token, &key.decoding, &validation).ok()?;
    Some((key.fingerprint, decoded.claims))
}

/// Three parts of base64url (RFC 7515 section 7.1).
fn looks_like_a_token(password: &[u8]) -> bool {
    let is_part = |part: &[u8]| {
        !part.is_empty()
            && part.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let parts = password.split(|byte| *byte == b'.');
    parts.clone().count() == 3 && parts.into_iter().all(is_part)
}

#[cfg(test)]
mod tests;
