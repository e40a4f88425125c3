//! Accounts: user names of a file, with their passwords and keys.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use metrics::counter;
use weir_model::{Principal, Reason};

use super::counted;
use super::cryptosign::{self, Cryptosign};
use super::hashing::Hashing;
use super::scram::{self, Scram};
use super::wampcra::{self, WampCra};
use crate::identity::{Authenticator, Credentials, Exchange, Grant, Identity};

pub(crate) mod book;
pub(crate) mod edit;
mod password;

use book::{Account, Book};

/// Asks for the password of an account; by SCRAM too, where that is enabled, and by WAMP-CRA and cryptosign, where
/// anybody has keys for it.
pub(crate) struct Accounts {
    pub(crate) book: Arc<Book>,
    pub(crate) hashing: Arc<Hashing>,
    pub(crate) scram: bool,
}

impl Account {
    /// Who somebody is that has proved to own this account.
    pub(crate) fn identity(&self, client_id: &Arc<str>) -> Identity {
        let principal = Principal {
            client_id: client_id.clone(),
            user_id: Some(self.name.clone()),
            roles: self.roles.clone(),
            claims: Vec::new(),
        };
        let mut identity =
            Identity::new(principal, Grant::Account { name: self.name.clone(), stamp: self.stamp });
        if let Some(first) = self.realms.first() {
            identity.realm = first.clone();
        }
        identity
    }
}

impl Authenticator for Accounts {
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Option<Result<Identity, Reason>>> {
        Box::pin(async move {
            let (name, password) = (credentials.username.as_deref()?, credentials.password.as_deref()?);
            match self.check(name, password).await {
                Ok(Some(account)) => Some(counted("accounts", Ok(account.identity(&credentials.client_id)))),
                // An unknown name may still be somebody to the next authenticator.
                Ok(None) if self.book.account(name).is_none() => {
                    counter!("weir_access_authentications_total", "method" => "accounts", "result" => "unknown")
                        .increment(1);
                    None
                }
                Ok(None) => {
                    tracing::debug!(client_id = ?credentials.client_id, user = ?name, why = "wrong password", "account refused");
                    Some(counted("accounts", Err(Reason::BadCredentials)))
                }
                Err(reason) => Some(counted("accounts", Err(reason))),
            }
        })
    }

    fn exchange(&self, method: &str, credentials: &Credentials) -> Option<Box<dyn Exchange>> {
        let (book, client_id, name) =
            (self.book.clone(), credentials.client_id.clone(), credentials.username.clone());
        match method {
            scram::METHOD if self.scram => Some(Box::new(Scram::new(book, client_id))),
            wampcra::METHOD if book.has_wampcra() => Some(Box::new(WampCra::new(book, client_id, name))),
            cryptosign::METHOD if book.has_public_keys() => {
                Some(Box::new(Cryptosign::new(book, client_id, name)))
            }
            _ => None,
        }
    }

    fn may_enter(&self, identity: &Identity, realm: &str) -> Option<bool> {
        let Grant::Account { name, .. } = &identity.grant else { return None };
        let account = self.book.account(name);
        Some(account.is_some_and(|account| {
            account.realms.is_empty() || account.realms.iter().any(|own| **own == *realm)
        }))
    }

    fn still_holds(&self, grant: &Grant) -> Option<bool> {
        match grant {
            Grant::Account { name, stamp } => {
                Some(self.book.account(name).is_some_and(|account| account.stamp == *stamp))
            }
            _ => None,
        }
    }

    /// The account with the roles it has now, whatever its password is.
    fn now(&self, identity: &Identity) -> Option<Option<Arc<Principal>>> {
        let Grant::Account { name, .. } = &identity.grant else { return None };
        let account = self.book.account(name);
        Some(account.map(|account| account.identity(&identity.principal.client_id).principal))
    }
}

impl Accounts {
    /// The account, if the password is its own. A name nobody has costs the same as a wrong password: it is
    /// checked against the password of somebody else, and the result thrown away.
    async fn check(&self, name: &str, password: &[u8]) -> Result<Option<Arc<Account>>, Reason> {
        let known = self.book.account(name);
        let Some(checked) =
            known.filter(|account| account.password.is_some()).or_else(|| self.book.stand_in(name))
        else {
            return Ok(None);
        };
        let checked = Arc::clone(checked);
        let is_known = known.is_some_and(|account| Arc::ptr_eq(account, &checked));
        let password = password.to_vec();
        let matches = self.hashing.run({
            let checked = Arc::clone(&checked);
            move || checked.password.as_ref().is_some_and(|own| own.is(&password))
        });
        let matches = matches.await?;
        Ok((matches && is_known).then_some(checked))
    }
}

#[cfg(test)]
mod tests;
