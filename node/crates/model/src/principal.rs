//! A principal: who a client is, as the authenticators found.

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
