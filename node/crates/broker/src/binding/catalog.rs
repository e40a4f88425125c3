//! Every handler and binding there is, as the mirror tells it, and what works for them on this node.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use weir_runtime::{Digest, Program, Runtime, StartError};
use weir_store::{Table, TableRow};

use super::definition::{Binding, Handler};
use super::life::KeeperMsg;
use super::logs::Journal;
use crate::supervisor::Slot;

/// Realm and name.
pub(crate) type Name = (Arc<str>, Arc<str>);

/// A row as it is now.
#[derive(Debug, Clone)]
pub(crate) struct Row<T> {
    pub version: u64,
    pub is: Arc<T>,
}

/// Runs programs; started by the first that is wanted.
pub(crate) struct Engine {
    pub config: weir_runtime::Config,
    /// Where compiled programs are kept; `None` = nowhere.
    cache: Option<PathBuf>,
    started: Mutex<Option<Arc<Runtime>>>,
}

impl Engine {
    pub fn new(config: weir_runtime::Config, cache: Option<PathBuf>) -> Engine {
        Engine { config, cache, started: Mutex::default() }
    }

    pub fn runtime(&self) -> Result<Arc<Runtime>, StartError> {
        let mut started = self.started.lock();
        if let Some(runtime) = &*started {
            return Ok(runtime.clone());
        }
        let runtime = Runtime::start(&self.config, self.cache.as_deref())?;
        Ok(started.insert(runtime).clone())
    }
}

type Rows<T> = HashMap<Name, Row<T>>;

#[derive(Default)]
pub(crate) struct Bindings {
    handlers: RwLock<Rows<Handler>>,
    bindings: RwLock<Rows<Binding>>,
    /// Values of secrets, which nobody is told.
    secrets: RwLock<Rows<Box<str>>>,
    /// Raised when a handler or a secret changes: who has looked at one looks again.
    changes: AtomicU64,
    /// How this node runs programs; not set = it runs none.
    pub engine: OnceLock<Engine>,
    /// Programs that were used here.
    pub programs: Mutex<HashMap<Digest, Arc<Program>>>,
    pub journals: Mutex<HashMap<Name, Arc<Journal>>>,
    pub keeper: Slot<KeeperMsg>,
    /// Held while a row of bindings becomes part of the chain of its realm, and while that is given a program.
    pub chaining: Mutex<()>,
    /// Whether middleware of some realm is asked before deliveries.
    asks_on_delivery: AtomicBool,
}

/// The key of a row.
pub(super) fn row_key(realm: &str, name: &str) -> Arc<str> {
    format!("{realm}/{name}").into()
}

impl Bindings {
    pub fn handler(&self, realm: &Arc<str>, name: &str) -> Option<Row<Handler>> {
        self.handlers.read().get(&(realm.clone(), Arc::from(name))).cloned()
    }

    pub fn binding(&self, realm: &Arc<str>, name: &str) -> Option<Row<Binding>> {
        self.bindings.read().get(&(realm.clone(), Arc::from(name))).cloned()
    }

    pub fn secret(&self, realm: &Arc<str>, name: &str) -> Option<Arc<Box<str>>> {
        self.secrets.read().get(&(realm.clone(), Arc::from(name))).map(|row| row.is.clone())
    }

    pub fn secret_version(&self, realm: &Arc<str>, name: &str) -> Option<u64> {
        self.secrets.read().get(&(realm.clone(), Arc::from(name))).map(|row| row.version)
    }

    /// Of a realm, by name.
    pub fn handlers(&self, realm: &str) -> Vec<(Arc<str>, Arc<Handler>)> {
        let all = sorted(&self.handlers.read(), realm);
        all.into_iter().map(|(name, handler, _)| (name, handler)).collect()
    }

    /// Of a realm, by name.
    pub fn bindings(&self, realm: &str) -> Vec<(Arc<str>, Arc<Binding>, u64)> {
        sorted(&self.bindings.read(), realm)
    }

    /// Of a realm, by name.
    pub fn secrets(&self, realm: &str) -> Vec<Arc<str>> {
        sorted(&self.secrets.read(), realm).into_iter().map(|(name, ..)| name).collect()
    }

    /// Of all realms.
    pub fn all(&self) -> Vec<(Name, Row<Binding>)> {
        self.bindings.read().iter().map(|(name, row)| (name.clone(), row.clone())).collect()
    }

    /// Goes up when a handler, an alias or a secret changes.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// A row has changed.
    pub fn heard(&self, row: &TableRow) {
        match row.table {
            Table::Handlers => {
                put(&self.handlers, row);
                self.changes.fetch_add(1, Ordering::AcqRel);
            }
            Table::Secrets => {
                put(&self.secrets, row);
                self.changes.fetch_add(1, Ordering::AcqRel);
            }
            Table::Bindings => put(&self.bindings, row),
            _ => return,
        }
        self.keeper.cast(KeeperMsg::Look);
    }

    /// Whether middleware of some realm is asked before deliveries.
    #[inline]
    pub fn asks_on_delivery(&self) -> bool {
        self.asks_on_delivery.load(Ordering::Relaxed)
    }

    pub fn ask_on_delivery(&self, asks: bool) {
        self.asks_on_delivery.store(asks, Ordering::Release);
    }

    /// What a binding's calls have come to on this node.
    pub fn journal(&self, realm: &Arc<str>, name: &Arc<str>) -> Arc<Journal> {
        self.journals.lock().entry((realm.clone(), name.clone())).or_default().clone()
    }
}

fn put<T: DeserializeOwned>(rows: &RwLock<Rows<T>>, row: &TableRow) {
    let Some((realm, name)) = row.key.rsplit_once('/') else {
        return tracing::error!("a row of handlers or bindings has no realm in its key");
    };
    let name: Name = (realm.into(), name.into());
    let mut rows = rows.write();
    if rows.get(&name).is_some_and(|known| known.version >= row.version) {
        return;
    }
    let Some(value) = &row.value else { return drop(rows.remove(&name)) };
    match serde_json::from_slice(value) {
        Ok(is) => drop(rows.insert(name, Row { version: row.version, is: Arc::new(is) })),
        Err(error) => tracing::error!(name = %name.1, %error, "a row of handlers or bindings cannot be read"),
    }
}

fn sorted<T>(rows: &Rows<T>, realm: &str) -> Vec<(Arc<str>, Arc<T>, u64)> {
    let of_realm = rows.iter().filter(|((of, _), _)| **of == *realm);
    let mut found: Vec<_> =
        of_realm.map(|((_, name), row)| (name.clone(), row.is.clone(), row.version)).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}
