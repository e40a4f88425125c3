//! Aliases of a handler: which of its versions a name stands for, each with a share of the keys.

use std::sync::Arc;

use weir_model::UnixMillis;

use super::definition::{ALIASES_MAX, Alias, Share, Which, check_handler_name, check_shares};
use super::manage::HandlerError;
use crate::broker::Broker;
use crate::clock;

impl Broker {
    /// Points an alias at versions, each with its share of the keys. What it was before can be gone back to. All nodes
    /// follow as soon as they hear of the row.
    pub async fn set_alias(
        &self,
        realm: &Arc<str>,
        name: &str,
        alias: &str,
        shares: Vec<Share>,
        (guard_percent, guard_calls_min): (u8, u32),
    ) -> Result<Alias, HandlerError> {
        check_handler_name(alias)?;
        check_shares(&shares)?;
        self.change_handler(realm, name, |handler| {
            let unknown = shares.iter().find(|share| handler.version(&share.digest).is_none());
            if let Some(unknown) = unknown {
                return Err(HandlerError::NoVersion { handler: name.into(), which: unknown.digest.clone() });
            }
            if handler.aliases.len() >= ALIASES_MAX && !handler.aliases.contains_key(alias) {
                return Err(HandlerError::TooMany { what: "aliases", max: ALIASES_MAX });
            }
            let before = handler.aliases.get(alias);
            let before = match before {
                Some(known) if known.shares != shares => known.shares.clone(),
                Some(known) => known.before.clone(),
                None => Vec::new(),
            };
            let since = later(handler.aliases.get(alias));
            let now = Alias { shares: shares.clone(), before, guard_percent, guard_calls_min, since };
            handler.aliases.insert(alias.into(), now.clone());
            Ok(now)
        })
        .await
    }

    /// Sets an alias back to what it was before; `since`: only if it was not changed after that.
    pub async fn roll_back_alias(
        &self,
        realm: &Arc<str>,
        name: &str,
        alias: &str,
        since: Option<UnixMillis>,
    ) -> Result<Alias, HandlerError> {
        self.change_handler(realm, name, |handler| {
            let missing = || HandlerError::NoVersion { handler: name.into(), which: alias.into() };
            let known = handler.aliases.get_mut(alias).ok_or_else(missing)?;
            if since.is_some_and(|since| since != known.since) {
                return Ok(known.clone());
            }
            if known.before.is_empty() {
                return Err(HandlerError::NothingBefore { alias: alias.into() });
            }
            let since = later(Some(known));
            std::mem::swap(&mut known.shares, &mut known.before);
            // What failed is not gone back to by itself.
            known.guard_percent = 0;
            known.since = since;
            Ok(known.clone())
        })
        .await
    }

    /// Takes an alias away; one that a binding follows stays.
    pub async fn delete_alias(&self, realm: &Arc<str>, name: &str, alias: &str) -> Result<(), HandlerError> {
        let follows = |which: &Which| *which == Which::Alias(alias.into());
        let bindings = self.bindings().bindings(realm);
        let mut of_handler = bindings.into_iter().filter(|(_, binding, _)| *binding.handler == *name);
        let used = of_handler
            .find(|(_, binding, _)| follows(&binding.which) || binding.shadow.as_ref().is_some_and(follows));
        if let Some((binding, ..)) = used {
            return Err(HandlerError::InUse { binding });
        }
        self.change_handler(realm, name, |handler| match handler.aliases.remove(alias) {
            Some(_) => Ok(()),
            None => Err(HandlerError::NoVersion { handler: name.into(), which: alias.into() }),
        })
        .await
    }
}

/// A time after the one an alias was changed last.
fn later(alias: Option<&Alias>) -> UnixMillis {
    let now = clock::unix();
    alias.map_or(now, |alias| now.max(UnixMillis(alias.since.0 + 1)))
}
