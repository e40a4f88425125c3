//! Nodes with links and nothing else, and an inbox that remembers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::watch;
use weir_cluster::link::Config;
use weir_cluster::record::encode_publish;
use weir_cluster::{
    Control, Digest, Inbox, InterestChanges, Link, LinkLocal, LinkPeer, Links, Outgoing, Records,
};
use weir_model::{Filter, Qos};
use weir_net::peer::{CA_FILE, NODE_FILE, NODE_KEY_FILE, NodeId, PeerAuthority, PeerEndpoint, PeerTls};

pub const REALM: &str = "default";
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Authority {
    authority: PeerAuthority,
    dir: TempDir,
}

impl Authority {
    pub fn new() -> Authority {
        let (authority, dir) = (PeerAuthority::generate().unwrap(), tempfile::tempdir().unwrap());
        authority.write(dir.path()).unwrap();
        Authority { authority, dir }
    }

    /// What the node of this name shows; issued once.
    pub fn tls(&self, name: &str) -> PeerTls {
        let (node, dir) = (node_id(name), self.dir.path().join(name));
        std::fs::create_dir_all(&dir).unwrap();
        self.authority.issue_node(&node, &dir).unwrap();
        let ca = self.dir.path().join(CA_FILE);
        PeerTls::from_pem(&ca, &dir.join(NODE_FILE), &dir.join(NODE_KEY_FILE)).unwrap()
    }

    pub fn endpoint(&self, name: &str) -> PeerEndpoint {
        PeerEndpoint::bind("127.0.0.1:0".parse().unwrap(), self.tls(name)).unwrap()
    }

    pub fn node(&self, name: &str) -> Node {
        self.node_with(name, Config::default(), "test")
    }

    pub fn node_with(&self, name: &str, config: Config, cluster_id: &str) -> Node {
        let endpoint = self.endpoint(name);
        let local = LinkLocal {
            node_id: node_id(name),
            incarnation: 1,
            cluster_id: cluster_id.into(),
            store_id: "store".into(),
            version: "test".into(),
        };
        let inbox = Arc::new(Recorder::default());
        let links = Links::start(endpoint.clone(), local, inbox.clone(), config);
        Node { name: name.to_owned(), endpoint, links, inbox }
    }
}

pub fn node_id(name: &str) -> NodeId {
    name.parse().unwrap()
}

pub struct Node {
    pub name: String,
    pub endpoint: PeerEndpoint,
    pub links: Arc<Links>,
    pub inbox: Arc<Recorder>,
}

impl Node {
    pub fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    pub fn as_peer(&self) -> LinkPeer {
        LinkPeer { node_id: node_id(&self.name), incarnation: 1, address: self.address() }
    }

    pub fn link_to(&self, peer: &Node) -> Arc<Link> {
        self.find_link(peer).expect("there is a link")
    }

    pub fn find_link(&self, peer: &Node) -> Option<Arc<Link>> {
        self.links.all().into_iter().find(|link| link.node_id().as_str() == peer.name)
    }
}

/// Two nodes, linked and connected both ways.
pub async fn pair(config: Config) -> (Node, Node) {
    let authority = Authority::new();
    let (a, b) = (authority.node_with("a", config.clone(), "test"), authority.node_with("b", config, "test"));
    introduce(&[&a, &b]).await;
    (a, b)
}

/// Tells all of all, and waits until every link is connected and in sync.
pub async fn introduce(nodes: &[&Node]) {
    let peers: Vec<_> = nodes.iter().map(|node| node.as_peer()).collect();
    nodes.iter().for_each(|node| node.links.update(&peers));
    let up = |node: &&Node| {
        let links = node.links.all();
        links.len() == nodes.len() - 1 && links.iter().all(|link| link.is_up() && link.is_in_sync())
    };
    until("all links are up", || nodes.iter().all(up)).await;
}

/// Waits for a condition that is bound to come.
pub async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let waiting = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "waited too long: {what}");
}

/// A record whose payload begins with its number.
pub fn record(topic: &str, number: u64, payload_bytes: usize, qos: Qos) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(payload_bytes.max(8), 7);
    let mut out = Vec::new();
    encode_publish(
        &mut out,
        &Outgoing {
            realm: REALM,
            topic,
            payload: &payload,
            qos,
            retain: false,
            expiry_ms_left: None,
            properties: None,
            position: None,
            numbered: &[],
            share: None,
            only_named: false,
        },
    );
    out
}

/// A stable hash of a topic that spreads over the streams.
pub fn hash(topic: &str) -> u64 {
    topic
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[derive(Default)]
pub struct Wanted {
    pub filters: HashMap<(Arc<str>, Filter), u32>,
    /// What a full set that is coming has named so far.
    fresh: Option<HashMap<(Arc<str>, Filter), u32>>,
    pub full_sets: u32,
    digest: Digest,
}

/// Remembers what came. While it is held, it takes what is given and asks for nothing more.
pub struct Recorder {
    /// Numbers by topic, QoS 0 and others apart.
    pub numbers: Mutex<HashMap<(String, Qos), Vec<u64>>>,
    pub wanted: Mutex<HashMap<String, Wanted>>,
    pub controls: Mutex<Vec<Control>>,
    pub gone: Mutex<Vec<(String, u64)>>,
    pub counts_only: AtomicBool,
    hold: watch::Sender<bool>,
    hold_mirror: watch::Sender<bool>,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder {
            numbers: Mutex::default(),
            wanted: Mutex::default(),
            controls: Mutex::default(),
            gone: Mutex::default(),
            counts_only: AtomicBool::new(false),
            hold: watch::Sender::new(false),
            hold_mirror: watch::Sender::new(false),
        }
    }
}

async fn wait_until_let_go(mut held: watch::Receiver<bool>) {
    // An error says that the recorder is gone.
    let _ = held.wait_for(|held| !held).await;
}

impl Recorder {
    pub fn hold(&self, hold: bool) {
        self.hold.send_replace(hold);
    }

    pub fn hold_mirror(&self, hold: bool) {
        self.hold_mirror.send_replace(hold);
    }

    pub fn numbers_of(&self, topic: &str, qos: Qos) -> Vec<u64> {
        self.numbers.lock().get(&(topic.to_owned(), qos)).cloned().unwrap_or_default()
    }

    pub fn wants(&self, peer: &str, filter: &str) -> u32 {
        let key = (Arc::from(REALM), Filter::new(filter).unwrap());
        self.wanted.lock().get(peer).and_then(|wanted| wanted.filters.get(&key).copied()).unwrap_or(0)
    }

    pub fn wanted_by(&self, peer: &str) -> usize {
        self.wanted.lock().get(peer).map_or(0, |wanted| wanted.filters.len())
    }

    pub fn full_sets_of(&self, peer: &str) -> u32 {
        self.wanted.lock().get(peer).map_or(0, |wanted| wanted.full_sets)
    }

    /// Forgets one filter as a fault would.
    pub fn lose_a_filter_of(&self, peer: &str) {
        let mut wanted = self.wanted.lock();
        let wanted = wanted.get_mut(peer).expect("the peer wants something");
        let key = wanted.filters.keys().next().expect("the peer wants something").clone();
        let was = wanted.filters.remove(&key).expect("it was there");
        wanted.digest.change(&key.0, &key.1, was, 0);
    }
}

impl Wanted {
    fn set(&mut self, realm: &Arc<str>, filter: &Filter, members: u32) {
        let key = (realm.clone(), filter.clone());
        if let Some(fresh) = &mut self.fresh {
            fresh.insert(key.clone(), members);
        }
        let was = match members {
            0 => self.filters.remove(&key),
            _ => self.filters.insert(key, members),
        };
        self.digest.change(realm, filter, was.unwrap_or(0), members);
    }

    fn sweep(&mut self) {
        let Some(fresh) = self.fresh.take() else { return };
        let stale: Vec<_> = self.filters.keys().filter(|key| !fresh.contains_key(*key)).cloned().collect();
        stale.iter().for_each(|(realm, filter)| self.set(realm, filter, 0));
    }
}

impl Inbox for Recorder {
    fn interest(&self, link: &Arc<Link>, changes: InterestChanges<'_>) {
        let mut all = self.wanted.lock();
        let wanted = all.entry(link.node_id().to_string()).or_default();
        match changes {
            InterestChanges::Full => {
                wanted.fresh = Some(HashMap::new());
                wanted.full_sets += 1;
            }
            InterestChanges::FullEnd => wanted.sweep(),
            InterestChanges::Changed(changes) => {
                changes.iter().for_each(|change| wanted.set(&change.realm, &change.filter, change.members));
            }
            InterestChanges::Gone => {
                all.remove(link.node_id().as_str());
                self.gone.lock().push((link.node_id().to_string(), link.incarnation()));
            }
        }
    }

    fn interest_digest(&self, link: &Arc<Link>) -> Option<Digest> {
        Some(self.wanted.lock().get(link.node_id().as_str())?.digest)
    }

    fn records(&self, _: &Arc<Link>, run: Bytes) -> Option<BoxFuture<'static, ()>> {
        if self.counts_only.load(Ordering::Relaxed) {
            assert!(Records::decode(&run).all(|record| record.is_ok()));
            return None;
        }
        let mut numbers = self.numbers.lock();
        for record in Records::decode(&run) {
            let record = record.unwrap();
            let number = u64::from_le_bytes(*record.payload.first_chunk().unwrap());
            numbers.entry((record.topic.to_owned(), record.qos)).or_default().push(number);
        }
        let held = self.hold.subscribe();
        let is_held = *held.borrow();
        is_held.then(|| wait_until_let_go(held).boxed())
    }

    fn control(&self, _: &Arc<Link>, control: Control) {
        self.controls.lock().push(control);
    }

    fn caught_up(&self) -> BoxFuture<'static, ()> {
        wait_until_let_go(self.hold_mirror.subscribe()).boxed()
    }
}
