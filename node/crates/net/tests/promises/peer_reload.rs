//! Certificates of peers that change while the endpoints are open.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use weir_net::peer::{
    Alpn, CA_FILE, NODE_FILE, NODE_KEY_FILE, NodeId, PeerAuthority, PeerConnection, PeerEndpoint, PeerFiles,
    RenewError, Renewal,
};

/// An authority, and its certificate as text.
struct Authority {
    authority: PeerAuthority,
    pem: String,
}

impl Authority {
    fn new() -> Authority {
        weir_net::tls::install_ring();
        let authority = PeerAuthority::generate().expect("an authority");
        let dir = tempfile::tempdir().expect("a directory");
        authority.write(dir.path()).expect("written");
        let pem = std::fs::read_to_string(dir.path().join(CA_FILE)).expect("read");
        Authority { authority, pem }
    }
}

/// An endpoint with its files.
struct Node {
    endpoint: PeerEndpoint,
    renewal: Arc<Renewal>,
    dir: TempDir,
}

impl Node {
    fn new(name: &str, authority: &Authority) -> Node {
        let dir = tempfile::tempdir().expect("a directory");
        authority.authority.issue_node(&id(name), dir.path()).expect("files");
        let file = |name: &str| dir.path().join(name);
        let files = PeerFiles { ca: file(CA_FILE), certificate: file(NODE_FILE), key: file(NODE_KEY_FILE) };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = PeerEndpoint::bind(any, files.read().expect("settings")).expect("an endpoint");
        let renewal = Renewal::new(endpoint.clone(), files);
        Node { endpoint, renewal, dir }
    }

    /// Its file has the certificates of these authorities.
    fn believe(&self, authorities: &[&Authority]) {
        let bundle: String = authorities.iter().map(|authority| authority.pem.as_str()).collect();
        std::fs::write(self.dir.path().join(CA_FILE), bundle).expect("written");
    }

    /// Its files have a certificate of this authority for this name.
    fn certify(&self, name: &str, authority: &Authority) {
        let made = tempfile::tempdir().expect("a directory");
        authority.authority.issue_node(&id(name), made.path()).expect("files");
        for file in [NODE_FILE, NODE_KEY_FILE] {
            copy(made.path(), self.dir.path(), file);
        }
    }
}

fn copy(from: &Path, to: &Path, file: &str) {
    std::fs::copy(from.join(file), to.join(file)).expect("copied");
}

fn id(name: &str) -> NodeId {
    name.parse().expect("a name")
}

/// A new connection, if each believes the other.
async fn meet(from: &Node, to: &Node) -> Option<[PeerConnection; 2]> {
    let address = to.endpoint.local_addr().expect("an address");
    let dialled = from.endpoint.connect(address, Alpn::Link).await.ok()?;
    // Who dials is through first: a refusal by the other side ends the connection soon after.
    tokio::select! {
        accepted = to.endpoint.accept(Alpn::Link) => Some([dialled, accepted?]),
        _ = dialled.closed() => None,
    }
}

#[tokio::test]
async fn one_authority_takes_over_from_another_and_connections_that_stand_stay() {
    let (first, second) = (Authority::new(), Authority::new());
    let (a, b) = (Node::new("a", &first), Node::new("b", &first));
    let before = meet(&a, &b).await.expect("a connection");
    for node in [&a, &b] {
        node.believe(&[&first, &second]);
        assert!(node.renewal.reload().expect("good files"));
        assert!(!node.renewal.reload().expect("good files"), "they have not changed again");
    }
    a.certify("a", &second);
    assert!(a.renewal.reload().expect("good files"));
    assert!(meet(&a, &b).await.is_some() && meet(&b, &a).await.is_some(), "one of each authority");
    b.certify("b", &second);
    assert!(b.renewal.reload().expect("good files"));
    for node in [&a, &b] {
        node.believe(&[&second]);
        assert!(node.renewal.reload().expect("good files"));
    }
    assert!(meet(&a, &b).await.is_some() && meet(&b, &a).await.is_some(), "both of the second");
    assert!(before.iter().all(|connection| connection.close_reason().is_none()), "it stands");
    let late = Node::new("late", &first);
    late.believe(&[&first, &second]);
    assert!(late.renewal.reload().expect("good files"));
    assert!(meet(&late, &a).await.is_none() && meet(&a, &late).await.is_none(), "the first has gone");
}

#[tokio::test]
async fn files_that_cannot_be_used_leave_the_old_ones() {
    let authority = Authority::new();
    let (a, b) = (Node::new("a", &authority), Node::new("b", &authority));
    a.certify("c", &authority);
    assert!(matches!(a.renewal.reload(), Err(RenewError::OtherNode(_))), "another node's");
    a.certify("a", &authority);
    let other = Node::new("a", &authority);
    copy(other.dir.path(), a.dir.path(), NODE_KEY_FILE);
    assert!(matches!(a.renewal.reload(), Err(RenewError::Tls(_))), "another certificate's key");
    std::fs::remove_file(a.dir.path().join(CA_FILE)).expect("removed");
    assert!(matches!(a.renewal.reload(), Err(RenewError::Tls(_))), "no authority");
    assert!(meet(&a, &b).await.is_some() && meet(&b, &a).await.is_some());
}

#[tokio::test]
async fn a_change_is_found_without_being_told() {
    let (first, second) = (Authority::new(), Authority::new());
    let (a, b) = (Node::new("a", &first), Node::new("b", &second));
    assert!(meet(&a, &b).await.is_none());
    let watch = tokio::spawn(b.renewal.clone().watch(Duration::from_millis(10)));
    b.certify("b", &first);
    b.believe(&[&first]);
    let meeting = async { while meet(&a, &b).await.is_none() {} };
    tokio::time::timeout(Duration::from_secs(30), meeting).await.expect("found");
    watch.abort();
}
