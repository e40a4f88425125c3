//! The `[access.jwt]` section.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that is never printed: not by `--print-config`, not by `{:?}`.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("x-secret" = true))]
pub struct Secret(pub String);

impl Secret {
    /// What stands in its place wherever a configuration is shown.
    pub const HIDDEN: &str = "***";
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Secret::HIDDEN)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How a token may be signed (RFC 7518 section 3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// The `[access.jwt]` section. Keys may come from several places at once; each verifies only the
/// algorithms of its own family.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Jwt {
    /// The user name that says the password is a token; empty = any user name, if the password looks like one.
    pub username: String,
    /// The secret that HS256, HS384 and HS512 tokens are signed with; never printed.
    pub secret: Option<Secret>,
    /// The file with that secret; a line end at its end does not belong to it.
    pub secret_file: Option<PathBuf>,
    /// A public key in PEM (RSA, P-256, P-384 or Ed25519, or a certificate with one).
    pub public_key: Option<String>,
    /// The file with such keys, one or several.
    pub public_key_file: Option<PathBuf>,
    /// The file with a JSON Web Key Set (RFC 7517).
    pub jwks_file: Option<PathBuf>,
    /// Where a JSON Web Key Set is fetched from (`https://` or `http://`); while it cannot be, the last one stays.
    pub jwks_url: Option<String>,
    /// PEM file with the authorities believed for `jwks_url`; left out, those of Mozilla.
    pub jwks_ca_file: Option<PathBuf>,
    /// Seconds between two fetches of `jwks_url`; a token with an unknown `kid` brings the next one forward.
    pub jwks_refresh_seconds: u64,
    /// Seconds a fetch of `jwks_url` may take in all.
    pub jwks_timeout_seconds: u64,
    /// Bytes of a key set; a longer one is refused.
    pub jwks_bytes_max: u64,
    /// The algorithms taken; empty = all that fit a key.
    pub algorithms: Vec<Algorithm>,
    /// One of these must be in the token's `aud`; empty = `aud` is not looked at.
    pub audience: Vec<String>,
    /// One of these must be the token's `iss`; empty = `iss` is not looked at.
    pub issuer: Vec<String>,
    /// Seconds by which clocks may differ when `exp` and `nbf` are looked at.
    pub leeway_seconds: u64,
    /// Whether a token without `exp` is refused.
    pub expiry_required: bool,
    /// Bytes of a token; a longer one is refused; 0 = no limit.
    pub token_bytes_max: usize,
    /// The claim with the user id, a text or a whole number.
    pub user_claim: String,
    /// The claim with the roles, a list or a text with spaces between.
    pub roles_claim: String,
    /// The claim with the realm that the token is for; without it an MQTT client is in `default`, a WAMP client where it asks to be. Empty = no claim says it.
    pub realm_claim: String,
    /// The claim that marks a back-end handler: a token in which it is an object gets the role `handler`; empty = none does.
    pub handler_claim: String,
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            username: "JWT".to_owned(),
            secret: None,
            secret_file: None,
            public_key: None,
            public_key_file: None,
            jwks_file: None,
            jwks_url: None,
            jwks_ca_file: None,
            jwks_refresh_seconds: 300,
            jwks_timeout_seconds: 5,
            jwks_bytes_max: 256 << 10,
            algorithms: Vec::new(),
            audience: Vec::new(),
            issuer: Vec::new(),
            leeway_seconds: 30,
            expiry_required: false,
            token_bytes_max: 8 << 10,
            user_claim: "user_id".to_owned(),
            roles_claim: "roles".to_owned(),
            realm_claim: "realm".to_owned(),
            handler_claim: "handler".to_owned(),
        }
    }
}

impl Jwt {
    /// Whether a key is named.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.secret.is_some()
            || self.secret_file.is_some()
            || self.public_key.is_some()
            || self.public_key_file.is_some()
            || self.jwks_file.is_some()
            || self.jwks_url.is_some()
    }
}
