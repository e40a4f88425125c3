//! Several brokers of one process over one store, linked over loopback, and what tests do to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use weir_access::Access;
use weir_broker::form::{Form, Marks, Publish};
use weir_broker::peers::inbox::Inbox;
use weir_broker::{Broker, Config, Realm};
use weir_cluster::link::Config as LinkConfig;
use weir_cluster::{Link, LinkLocal, LinkPeer, Links};
use weir_model::{DEFAULT_REALM, UnixMillis};
use weir_net::peer::{CA_FILE, NODE_FILE, NODE_KEY_FILE, NodeId, PeerAuthority, PeerEndpoint, PeerTls};
use weir_store::{NodeRef, SharedMemory};

use super::watched::Watched;

/// Far more than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Frames are a length of two bytes, the length of the topic, the topic and the payload.
struct Plain;

impl Form for Plain {
    fn protocol(&self) -> &'static str {
        "mqtt"
    }

    fn encode(&self, out: &mut Vec<u8>, publish: &Publish<'_>, _: Marks<'_>) {
        let len = 3 + publish.topic.len() + publish.payload.len();
        out.extend_from_slice(&(len as u16).to_le_bytes());
        out.push(publish.topic.len() as u8);
        out.extend_from_slice(publish.topic.as_bytes());
        out.extend_from_slice(publish.payload);
    }

    fn frame_len(&self, frames: &[u8]) -> usize {
        usize::from(u16::from_le_bytes([frames[0], frames[1]]))
    }

    fn topic<'a>(&self, frame: &'a [u8]) -> Option<std::borrow::Cow<'a, str>> {
        std::str::from_utf8(&frame[3..3 + usize::from(frame[2])]).ok().map(Into::into)
    }
}

static FORMS: &[&dyn Form] = &[&Plain];

/// The first frame of some: topic, payload, and how long it is.
pub fn frame(frames: &[u8]) -> (String, String, usize) {
    let (len, topic) = (Plain.frame_len(frames), Plain.topic(frames).unwrap());
    (topic.to_string(), text(&frames[3 + topic.len()..len]), len)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// One node of the cluster.
pub struct Node {
    pub name: &'static str,
    pub incarnation: u64,
    pub broker: Broker,
    pub store: Arc<Watched>,
    pub links: Arc<Links>,
    endpoint: PeerEndpoint,
    connections: AtomicU64,
    /// It was killed: nobody answers any more.
    is_dead: AtomicBool,
}

impl Node {
    pub fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    pub fn realm(&self) -> Arc<Realm> {
        self.broker.realm_or_new(&DEFAULT_REALM.into())
    }

    pub fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn as_peer(&self) -> LinkPeer {
        LinkPeer {
            node_id: node_id(self.name),
            incarnation: self.incarnation,
            address: self.endpoint.local_addr().unwrap(),
        }
    }

    pub fn find_link(&self, peer: &Node) -> Option<Arc<Link>> {
        self.links.all().into_iter().find(|link| link.incarnation() == peer.incarnation)
    }

    pub fn link_to(&self, peer: &Node) -> Arc<Link> {
        self.find_link(peer).expect("there is a link")
    }

    /// Messages it has given to the link to a peer.
    pub fn sent_to(&self, peer: &Node) -> u64 {
        self.link_to(peer).counts().pushed
    }

    /// How many receivers of a topic, and how many groups, it knows of.
    pub fn receivers(&self, topic: &str) -> usize {
        let matched = self.realm().routes.find(topic, self.broker.access());
        matched.targets.len() + matched.groups.len()
    }

    /// Receivers of a topic that stand for other nodes.
    pub fn peers_for(&self, topic: &str) -> usize {
        let matched = self.realm().routes.find(topic, self.broker.access());
        let in_groups = matched.groups.iter().flat_map(|group| group.members());
        let all = matched.targets.iter().map(|target| target.session.clone()).chain(in_groups);
        all.filter(|session| session.peer.is_some()).count()
    }
}

fn node_id(name: &str) -> NodeId {
    name.parse().unwrap()
}

/// How the nodes of a test are made.
#[derive(Clone)]
pub struct Setup {
    pub broker: Config,
    pub store: weir_store::Config,
    pub link: LinkConfig,
}

impl Default for Setup {
    fn default() -> Setup {
        let store = weir_store::Config { claim_ms: 300, ..weir_store::Config::default() };
        let link = LinkConfig {
            digest_interval_ms: 200,
            ping_interval_ms: 20,
            dial_interval_max_ms: 50,
            ..LinkConfig::default()
        };
        Setup { broker: Config { sys_interval_seconds: 0, ..Config::default() }, store, link }
    }
}

/// The nodes, and what they share.
pub struct Bed {
    pub store: SharedMemory,
    pub nodes: Vec<Arc<Node>>,
    setup: Setup,
    authority: PeerAuthority,
    dir: TempDir,
    incarnations: u64,
}

impl Bed {
    /// Nodes of these names, all linked.
    pub async fn of(names: &[&'static str]) -> Bed {
        Bed::with(Setup::default(), names).await
    }

    pub async fn with(setup: Setup, names: &[&'static str]) -> Bed {
        let (authority, dir) = (PeerAuthority::generate().unwrap(), tempfile::tempdir().unwrap());
        authority.write(dir.path()).unwrap();
        let store = SharedMemory::new(&setup.store, Arc::new(|| UnixMillis::from(SystemTime::now())));
        let mut bed = Bed { store, nodes: Vec::new(), setup, authority, dir, incarnations: 0 };
        for name in names {
            bed.add(name).await;
        }
        bed.introduce().await;
        bed
    }

    fn endpoint(&self, name: &str) -> PeerEndpoint {
        let dir = self.dir.path().join(format!("{name}-{}", self.incarnations));
        std::fs::create_dir_all(&dir).unwrap();
        self.authority.issue_node(&node_id(name), &dir).unwrap();
        let ca = self.dir.path().join(CA_FILE);
        let tls = PeerTls::from_pem(&ca, &dir.join(NODE_FILE), &dir.join(NODE_KEY_FILE)).unwrap();
        PeerEndpoint::bind("127.0.0.1:0".parse().unwrap(), tls).unwrap()
    }

    /// A node that nobody knows yet.
    pub async fn add(&mut self, name: &'static str) -> Arc<Node> {
        self.incarnations += 1;
        let (incarnation, endpoint) = (self.incarnations, self.endpoint(name));
        let store = self.store.node(NodeRef { node_id: name.into(), incarnation });
        let store = Arc::new(Watched::new(store));
        let access = Arc::new(Access::open());
        let broker = Broker::start(self.setup.broker.clone(), store.clone(), access, FORMS).await.unwrap();
        let local = LinkLocal {
            node_id: node_id(name),
            incarnation,
            cluster_id: "test".into(),
            store_id: "shared".into(),
            version: "test".into(),
        };
        let inbox = Arc::new(Inbox(broker.clone()));
        let links = Links::start(endpoint.clone(), local, inbox, self.setup.link.clone());
        broker.join(links.clone());
        let (connections, is_dead) = (AtomicU64::new(0), AtomicBool::new(false));
        let node = Node { name, incarnation, broker, store, links, endpoint, connections, is_dead };
        let node = Arc::new(node);
        self.nodes.push(node.clone());
        node
    }

    /// Tells all of all, and waits until every link is up and every interest known.
    pub async fn introduce(&self) {
        let peers: Vec<_> = self.nodes.iter().map(|node| node.as_peer()).collect();
        self.nodes.iter().for_each(|node| node.links.update(&peers));
        let linked = |node: &Arc<Node>| {
            let links = node.links.all();
            links.len() == self.nodes.len() - 1 && links.iter().all(|link| link.is_up() && link.is_in_sync())
        };
        until("all nodes are linked", || self.nodes.iter().all(linked)).await;
    }

    /// Also tells all of a node that never answers.
    pub fn introduce_a_stranger(&self) {
        let nowhere = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address: SocketAddr = nowhere.local_addr().unwrap();
        let stranger = LinkPeer { node_id: node_id("zz"), incarnation: u64::MAX, address };
        let peers: Vec<_> = self.nodes.iter().map(|node| node.as_peer()).chain([stranger]).collect();
        self.nodes.iter().for_each(|node| node.links.update(&peers));
    }

    pub fn node(&self, name: &str) -> Arc<Node> {
        self.nodes.iter().find(|node| node.name == name).expect("a node of that name").clone()
    }

    /// A node dies: it is heard no more, its lease ends, and the others know.
    pub async fn kill(&mut self, name: &str) {
        let place = self.nodes.iter().position(|node| node.name == name).expect("a node of that name");
        let node = self.nodes.remove(place);
        node.is_dead.store(true, Ordering::Relaxed);
        self.store.cut(node.incarnation);
        node.endpoint.close(weir_net::peer::code::DONE, "killed");
        node.links.stop().await;
        node.broker.shutdown().await;
        weir_store::Store::close(&*node.store).await;
        let peers: Vec<_> = self.nodes.iter().map(|node| node.as_peer()).collect();
        self.nodes.iter().for_each(|node| node.links.update(&peers));
    }

    /// Closes the connection of a link at once; it is made anew.
    pub fn cut_link(&self, one: &str, other: &str) {
        self.node(one).link_to(&self.node(other)).cut();
    }

    /// Every copy and every message on a link is accounted for, as soon as nothing moves.
    pub async fn is_at_rest(&self) {
        let mut last = String::new();
        let at_rest = async {
            while let Some(unsettled) = self.unsettled() {
                last = unsettled;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(PATIENCE / 4, at_rest).await.is_err() {
            panic!("not accounted for: {last}");
        }
    }

    fn unsettled(&self) -> Option<String> {
        for node in &self.nodes {
            let balance = node.broker.balance();
            if balance.imbalance() > 0 {
                return Some(format!("copies of {}: {balance:?}", node.name));
            }
            for peer in self.nodes.iter().filter(|peer| peer.name != node.name) {
                let (Some(out), Some(back)) = (node.find_link(peer), peer.find_link(node)) else { continue };
                let (out, back) = (out.counts(), back.counts());
                if out.pushed != back.received + out.dropped + out.lost || out.waiting() > 0 {
                    return Some(format!("from {} to {}: {out:?}, {back:?}", node.name, peer.name));
                }
            }
        }
        None
    }
}

/// Waits for a condition that is bound to come.
pub async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let waiting = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "waited too long: {what}");
}
