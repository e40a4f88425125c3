//! A principal: who a client is, as the authenticators found, and what that rests on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Who acts. Decided once at connect; everything access asks is in here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    pub client_id: Arc<str>,
    /// `None` is anonymous.
    pub user_id: Option<Arc<str>>,
    pub roles: Vec<Arc<str>>,
    /// Further facts of a token or certificate, by name.
    pub claims: Vec<(Arc<str>, Arc<str>)>,
}

/// What it rests on that somebody is who they are. When that is gone, so is what they were let in to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grant {
    /// Nobody was asked.
    Open,
    /// Let in without credentials.
    Anonymous,
    /// An account; the stamp changes whenever its password or its roles do.
    Account { name: Arc<str>, stamp: u64 },
    /// A token; the fingerprint of the key that verified it.
    Token { key: u64 },
    /// A client certificate: its serial number (as in a CRL) and a fingerprint of its issuer's name.
    Certificate { serial: Arc<[u8]>, issuer: u64 },
}
