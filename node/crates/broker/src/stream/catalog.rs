//! The catalog: every stream there is, as the mirror tells it.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;
use weir_store::{Mark, PartitionKey, Table, TableRow};

use super::definition::Definition;
use super::{Life, Stream};
use crate::broker::Broker;

/// The streams of all realms.
#[derive(Default)]
pub struct Streams {
    by_name: RwLock<ByName>,
}

/// By realm and name.
type ByName = HashMap<(Arc<str>, Arc<str>), Arc<Stream>>;

/// A stream as it was, and as it is: `None` = not there.
struct Change {
    before: Option<Arc<Stream>>,
    now: Option<Arc<Stream>>,
}

/// The key of a stream's row.
pub(super) fn row_key(realm: &str, name: &str) -> Arc<str> {
    format!("{realm}/{name}").into()
}

/// Realm and name of a row; names have no slash.
fn names_of(row_key: &str) -> Option<(Arc<str>, Arc<str>)> {
    let (realm, name) = row_key.rsplit_once('/')?;
    Some((realm.into(), name.into()))
}

impl Streams {
    pub fn get(&self, realm: &Arc<str>, name: &str) -> Option<Arc<Stream>> {
        self.by_name.read().get(&(realm.clone(), Arc::from(name))).cloned()
    }

    /// The streams of a realm, by name.
    pub fn all(&self, realm: &str) -> Vec<Arc<Stream>> {
        let by_name = self.by_name.read();
        let mut all: Vec<_> = by_name.values().filter(|stream| *stream.realm == *realm).cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    pub fn len(&self) -> usize {
        self.by_name.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.read().is_empty()
    }

    /// A partition has grown, or is gone.
    pub(crate) fn appended(&self, key: &PartitionKey, tail: Option<Mark>) {
        let stream = self.by_name.read().get(&(key.realm.clone(), key.stream.clone())).cloned();
        if let Some(stream) = stream {
            stream.appended(key, tail);
        }
    }

    /// Puts a row's stream in its place; `None` = the row is not newer than what is there.
    fn heard(&self, row: &TableRow) -> Option<Change> {
        let Some((realm, name)) = names_of(&row.key) else {
            tracing::error!("a row of streams has no realm in its key");
            return None;
        };
        let mut by_name = self.by_name.write();
        let at = (realm.clone(), name.clone());
        let before = by_name.get(&at).cloned();
        if before.as_ref().is_some_and(|before| before.version >= row.version) {
            return None;
        }
        let Some(value) = &row.value else {
            return Some(Change { before: by_name.remove(&at), now: None });
        };
        let definition: Definition = match serde_json::from_slice(value) {
            Ok(definition) => definition,
            Err(error) => {
                tracing::error!(stream = %name, %error, "the definition of a stream cannot be read");
                return None;
            }
        };
        let life = before.as_ref().map_or_else(|| Arc::new(Life::default()), |before| before.life.clone());
        let stream = Arc::new(Stream { realm, name, version: row.version, definition, life });
        by_name.insert(at, stream.clone());
        Some(Change { before, now: Some(stream) })
    }
}

impl Broker {
    /// A row of the store's tables has changed.
    pub(crate) fn table_changed(&self, row: &TableRow) {
        match row.table {
            Table::Streams => self.stream_changed(row),
            Table::Groups | Table::Members => self.groups_known().heard(row),
            Table::Handlers | Table::Bindings | Table::Secrets => self.handlers_changed(row),
            Table::Guards => self.guard_changed(row),
        }
    }

    fn stream_changed(&self, row: &TableRow) {
        let Some(Change { before, now }) = self.streams().heard(row) else { return };
        let Some(realm) = before.as_ref().or(now.as_ref()).map(|stream| self.realm_or_new(&stream.realm))
        else {
            return;
        };
        realm.routes.capture(before.as_ref(), now.as_ref());
        if let Some(stream) = before.or(now) {
            stream.ring();
        }
    }
}
