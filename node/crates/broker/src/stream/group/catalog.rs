//! Every group there is, as the mirror tells it: its row, which nodes have members, and its hub on this node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use hashbrown::HashMap;
use metrics::counter;
use parking_lot::RwLock;
use weir_store::{Incarnation, Mark, PartitionKey, Table, TableRow};

use super::definition::Row;
use super::hub::Hub;
use super::life::KeeperMsg;
use crate::broker::Broker;
use crate::supervisor::Slot;

/// Names a group. Streams and groups have no slash in their names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupKey {
    pub realm: Arc<str>,
    pub stream: Arc<str>,
    pub group: Arc<str>,
}

impl GroupKey {
    pub fn row_key(&self) -> Arc<str> {
        format!("{}/{}/{}", self.realm, self.stream, self.group).into()
    }

    pub fn member_key(&self, node: Incarnation) -> Arc<str> {
        format!("{}/{node}", self.row_key()).into()
    }

    fn of_row(key: &str) -> Option<GroupKey> {
        let mut parts = key.rsplitn(3, '/');
        let (group, stream, realm) = (parts.next()?, parts.next()?, parts.next()?);
        Some(GroupKey { realm: realm.into(), stream: stream.into(), group: group.into() })
    }

    fn of_member(key: &str) -> Option<(GroupKey, Incarnation)> {
        let (group, node) = key.rsplit_once('/')?;
        Some((GroupKey::of_row(group)?, node.parse().ok()?))
    }
}

/// What has happened to a group on this node since it started.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub lost: AtomicU64,
    pub dropped: AtomicU64,
    pub dead_lettered: AtomicU64,
    pub went_back: AtomicU64,
    pub stalled: AtomicU64,
    pub reacquired: AtomicU64,
    pub fenced: AtomicU64,
}

impl Counts {
    /// Counts an event, for the group and in the metric.
    pub fn add(count: &AtomicU64, event: &'static str, n: u64) {
        if n > 0 {
            count.fetch_add(n, Ordering::Relaxed);
            counter!("weir_broker_group_events_total", "event" => event).increment(n);
        }
    }
}

/// By realm and stream.
type HubsByStream = HashMap<(Arc<str>, Arc<str>), Vec<Arc<Hub>>>;

/// The groups of all streams.
#[derive(Default)]
pub(crate) struct Groups {
    known: RwLock<HashMap<GroupKey, Known>>,
    hubs: RwLock<HubsByStream>,
    live: AtomicUsize,
    members: AtomicUsize,
    is_leaving: AtomicBool,
    pub keeper: Slot<KeeperMsg>,
}

#[derive(Default)]
struct Known {
    /// With its version.
    row: Option<(u64, Arc<Row>)>,
    /// The nodes with members, and the versions of their rows.
    nodes: BTreeMap<Incarnation, u64>,
    counts: Arc<Counts>,
}

/// What is known of a group at a moment.
#[derive(Default)]
pub(crate) struct Seen {
    pub row: Option<(u64, Arc<Row>)>,
    pub nodes: BTreeMap<Incarnation, u64>,
    pub counts: Arc<Counts>,
}

impl Groups {
    pub fn seen(&self, key: &GroupKey) -> Seen {
        let known = self.known.read();
        let Some(Known { row, nodes, counts }) = known.get(key) else { return Seen::default() };
        Seen { row: row.clone(), nodes: nodes.clone(), counts: counts.clone() }
    }

    /// The groups of a stream, by name.
    pub fn of_stream(&self, realm: &str, stream: &str) -> Vec<GroupKey> {
        let known = self.known.read();
        let has_row = |(key, known): &(&GroupKey, &Known)| {
            known.row.is_some() && *key.realm == *realm && *key.stream == *stream
        };
        let mut keys: Vec<_> = known.iter().filter(has_row).map(|(key, _)| key.clone()).collect();
        keys.sort();
        keys
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.read().values().filter(|known| known.row.is_some()).count()
    }

    /// A row of a group, or of a node with members, has changed.
    pub fn heard(&self, row: &TableRow) {
        match row.table {
            Table::Groups => self.group_changed(row),
            Table::Members => self.members_changed(row),
            _ => {}
        }
    }

    fn group_changed(&self, changed: &TableRow) {
        let Some(key) = GroupKey::of_row(&changed.key) else {
            return tracing::error!("a row of groups has no realm or stream in its key");
        };
        let row = changed.value.as_ref().map(|value| serde_json::from_slice::<Row>(value));
        let row = match row.transpose() {
            Ok(row) => row.map(Arc::new),
            Err(error) => return tracing::error!(group = %key.group, %error, "a group's row cannot be read"),
        };
        let mut known = self.known.write();
        let entry = known.entry(key.clone()).or_default();
        if entry.row.as_ref().is_some_and(|(version, _)| *version >= changed.version) {
            return;
        }
        entry.row = row.clone().map(|row| (changed.version, row));
        if entry.row.is_none() && entry.nodes.is_empty() {
            known.remove(&key);
        }
        drop(known);
        if let Some(hub) = self.hub(&key) {
            match row {
                Some(row) => hub.redefine(&row),
                None => hub.look(),
            }
        }
    }

    fn members_changed(&self, changed: &TableRow) {
        let Some((key, node)) = GroupKey::of_member(&changed.key) else {
            return tracing::error!("a row of members has no group or node in its key");
        };
        let mut known = self.known.write();
        let entry = known.entry(key.clone()).or_default();
        if entry.nodes.get(&node).is_some_and(|version| *version >= changed.version) {
            return;
        }
        match changed.value {
            Some(_) => drop(entry.nodes.insert(node, changed.version)),
            None => drop(entry.nodes.remove(&node)),
        }
        if entry.row.is_none() && entry.nodes.is_empty() {
            known.remove(&key);
        }
        drop(known);
        if let Some(hub) = self.hub(&key) {
            hub.look();
        }
    }

    /// A partition has grown, or is gone.
    pub fn appended(&self, broker: &Broker, key: &PartitionKey, tail: Option<Mark>) {
        if self.live.load(Ordering::Acquire) == 0 {
            return;
        }
        let hubs = self.hubs.read().get(&(key.realm.clone(), key.stream.clone())).cloned();
        for hub in hubs.into_iter().flatten() {
            hub.appended(broker, key, tail);
        }
    }

    /// The group's hub here, if it has one.
    pub fn hub(&self, key: &GroupKey) -> Option<Arc<Hub>> {
        let hubs = self.hubs.read();
        let of_stream = hubs.get(&(key.realm.clone(), key.stream.clone()))?;
        of_stream.iter().find(|hub| hub.key == *key).cloned()
    }

    pub fn hubs(&self) -> Vec<Arc<Hub>> {
        self.hubs.read().values().flatten().cloned().collect()
    }

    /// The hub that takes a new member: `join` says whether one does. A fresh one replaces those that are over.
    pub fn hub_for<T>(
        &self,
        key: &GroupKey,
        fresh: impl FnOnce() -> Arc<Hub>,
        mut join: impl FnMut(&Hub) -> Option<T>,
    ) -> Option<(Arc<Hub>, T, bool)> {
        let mut hubs = self.hubs.write();
        let of_stream = hubs.entry((key.realm.clone(), key.stream.clone())).or_default();
        for hub in of_stream.iter().filter(|hub| hub.key == *key) {
            if let Some(joined) = join(hub) {
                return Some((hub.clone(), joined, false));
            }
        }
        let hub = fresh();
        let joined = join(&hub)?;
        of_stream.insert(0, hub.clone());
        self.live.fetch_add(1, Ordering::AcqRel);
        Some((hub, joined, true))
    }

    /// A hub is done with.
    pub fn forget(&self, hub: &Arc<Hub>) {
        let mut hubs = self.hubs.write();
        let at = (hub.key.realm.clone(), hub.key.stream.clone());
        let Some(of_stream) = hubs.get_mut(&at) else { return };
        let before = of_stream.len();
        of_stream.retain(|known| !Arc::ptr_eq(known, hub));
        self.live.fetch_sub(before - of_stream.len(), Ordering::AcqRel);
        if of_stream.is_empty() {
            hubs.remove(&at);
        }
    }

    /// Hubs at work.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// A member wants in; false when there are `max` already. 0 = no limit.
    pub fn enters(&self, max: usize) -> bool {
        let before = self.members.fetch_add(1, Ordering::AcqRel);
        let enters = max == 0 || before < max;
        if !enters {
            self.left();
        }
        enters
    }

    pub fn left(&self) {
        self.members.fetch_sub(1, Ordering::AcqRel);
    }

    /// Members at this node.
    pub fn members(&self) -> usize {
        self.members.load(Ordering::Acquire)
    }

    /// The node stops: groups give back what they have.
    pub fn leave(&self) {
        self.is_leaving.store(true, Ordering::Release);
        self.hubs().iter().for_each(|hub| hub.look());
    }

    pub fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_rows_are_read_back_also_with_slashes_in_the_realm() {
        let key = GroupKey { realm: "a/b".into(), stream: "s {1}".into(), group: "g".into() };
        assert_eq!(GroupKey::of_row(&key.row_key()), Some(key.clone()));
        assert_eq!(GroupKey::of_member(&key.member_key(17)), Some((key, 17)));
        assert_eq!(GroupKey::of_row("a/b"), None);
        assert_eq!(GroupKey::of_member("r/s/g/x"), None);
    }
}
