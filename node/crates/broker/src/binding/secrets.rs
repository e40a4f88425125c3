//! Secrets of handlers: set and taken away by name, and read by nobody but the handlers whose bindings name them.

use std::sync::Arc;

use weir_store::{Expect, Refusal, Table, TableOp};

use super::definition::check_handler_name;
use super::manage::HandlerError;
use crate::broker::Broker;

impl Broker {
    /// Sets a secret, which handlers find under the names their bindings give it, and nobody else reads.
    pub async fn set_secret(&self, realm: &Arc<str>, name: &str, value: &str) -> Result<(), HandlerError> {
        check_handler_name(name)?;
        let value = serde_json::to_vec(value).map_err(|_| Refusal::TooLarge)?;
        let op = TableOp::Put { value: value.into(), expect: Expect::Anything };
        self.handler_row_op(Table::Secrets, realm, name, op).await
    }

    /// The names of secrets.
    pub fn secrets(&self, realm: &str) -> Vec<Arc<str>> {
        self.bindings().secrets(realm)
    }

    /// Takes a secret away; one that a binding uses stays.
    pub async fn delete_secret(&self, realm: &Arc<str>, name: &str) -> Result<(), HandlerError> {
        if self.bindings().secret_version(realm, name).is_none() {
            return Err(HandlerError::NoSecret { name: name.into() });
        }
        let uses = |secrets: &std::collections::BTreeMap<Box<str>, Box<str>>| {
            secrets.values().any(|used| **used == *name)
        };
        let used = self.bindings().bindings(realm).into_iter().find(|(_, binding, _)| uses(&binding.secrets));
        if let Some((binding, ..)) = used {
            return Err(HandlerError::InUse { binding });
        }
        self.handler_row_op(Table::Secrets, realm, name, TableOp::Delete { expect: Expect::Anything }).await
    }
}
