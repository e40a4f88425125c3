//! The `[access]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod accounts;
mod certificates;
mod jwt;

pub use accounts::{Accounts, Scram};
pub use certificates::{CertificateIdentity, Certificates};
pub use jwt::{Algorithm, Jwt, Secret};

/// Who may connect without credentials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Anonymous {
    /// Where no authenticator is configured: on listeners bound to a loopback address, and a node with
    /// any other listener is refused at start. With an authenticator: nowhere.
    #[default]
    Auto,
    /// Nowhere.
    Never,
    /// Only on listeners bound to a loopback address.
    Loopback,
    /// On every listener, also one the whole network reaches.
    Anywhere,
}

/// An authenticator by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A token as password.
    Jwt,
    /// A user name and a password of the accounts file.
    Accounts,
    /// The client's certificate.
    Certificates,
}

/// What a client sees that subscribes to what it may not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RefusedSubscribe {
    /// A SUBACK that says so (0x87; MQTT 3.1.1: 0x80); the connection stays.
    #[default]
    Answer,
    /// The end of the connection.
    Close,
}

/// The `[access]` section.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where clients may connect without credentials: `auto`, `never`, `loopback` or `anywhere`.
    pub anonymous: Anonymous,
    /// The authenticators in the order in which they are asked (`jwt`, `accounts`, `certificates`); empty = all that are configured, in this order.
    pub order: Vec<Method>,
    /// What clients may do: `open` (everything), `cashew`, `own`, or the path of a policy file.
    pub policy: String,
    /// What a client sees that subscribes to what it may not: `answer` (a SUBACK that says so) or `close`.
    pub refused_subscribe: RefusedSubscribe,
    /// Seconds between two looks at the files of this section, which are re-read when they changed; 0 looks only when told to.
    pub reload_seconds: u64,
    /// How many passwords are hashed at the same time, each on a thread of its own; 0 = as many as there are cores.
    pub hashing_at_once_max: usize,
    /// How many more clients may wait for their password to be hashed; beyond that they are told that the server is busy.
    pub hashing_waiting_max: usize,
    /// Tokens signed by somebody else; configured when a key is.
    pub jwt: Jwt,
    /// User names and passwords; configured when `file` is.
    pub accounts: Accounts,
    /// Client certificates; configured when `identity` is.
    pub certificates: Certificates,
    /// SCRAM-SHA-256, the enhanced authentication of MQTT 5, for the accounts.
    pub scram: Scram,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            anonymous: Anonymous::default(),
            order: Vec::new(),
            policy: "open".to_owned(),
            refused_subscribe: RefusedSubscribe::default(),
            reload_seconds: 5,
            hashing_at_once_max: 0,
            hashing_waiting_max: 1024,
            jwt: Jwt::default(),
            accounts: Accounts::default(),
            certificates: Certificates::default(),
            scram: Scram::default(),
        }
    }
}

impl Method {
    /// Its name in `order`, in metrics and in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Jwt => "jwt",
            Method::Accounts => "accounts",
            Method::Certificates => "certificates",
        }
    }
}

impl Config {
    /// Whether anybody is asked who they are.
    #[must_use]
    pub fn has_authenticator(&self) -> bool {
        !self.configured().is_empty()
    }

    /// The authenticators whose tables name a key, a file or an identity.
    #[must_use]
    pub fn configured(&self) -> Vec<Method> {
        let all = [
            (Method::Jwt, self.jwt.is_configured()),
            (Method::Accounts, self.accounts.file.is_some()),
            (Method::Certificates, self.certificates.identity.is_some()),
        ];
        all.into_iter().filter_map(|(method, configured)| configured.then_some(method)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authenticator_is_configured_when_its_table_names_a_key_a_file_or_an_identity() {
        let mut config = Config::default();
        assert!(!config.has_authenticator());
        config.jwt.jwks_url = Some("https://idp.example/keys".to_owned());
        config.accounts.file = Some("accounts.toml".into());
        config.certificates.crl_files = vec!["x.crl".into()];
        assert_eq!(config.configured(), [Method::Jwt, Method::Accounts]);
        config.certificates.identity = Some(CertificateIdentity::SubjectCn);
        assert_eq!(config.configured(), [Method::Jwt, Method::Accounts, Method::Certificates]);
    }
}
