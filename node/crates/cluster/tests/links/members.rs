//! Links follow membership.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_cluster::{Cluster, Config, LinkLocal, Links, Local, StoreKind};

use crate::testbed::{Authority, Recorder, node_id, until};

async fn start(authority: &Authority, name: &str, join: Vec<String>) -> (Cluster, Arc<Links>, Arc<Recorder>) {
    let local = Local {
        node_id: node_id(name),
        incarnation: 7,
        listen: "127.0.0.1:0".parse().unwrap(),
        release: "test".to_owned(),
        store: StoreKind::Memory,
        store_id: String::new(),
        listeners: BTreeMap::new(),
    };
    let config = Config { join, ..Config::default() };
    let cluster = Cluster::start(&config, local, authority.tls(name)).await.unwrap();
    let local = LinkLocal {
        node_id: node_id(name),
        incarnation: 7,
        cluster_id: config.id.as_str().into(),
        store_id: "".into(),
        version: "test".into(),
    };
    let inbox = Arc::new(Recorder::default());
    let links = Links::start(cluster.endpoint().clone(), local, inbox.clone(), config.link);
    links.follow(cluster.members());
    (cluster, links, inbox)
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_linked_as_they_come_and_let_go_when_they_leave() {
    let authority = Authority::new();
    let (first, links, inbox) = start(&authority, "a", Vec::new()).await;
    let seed = vec![first.advertised().to_string()];
    let (second, others, _) = start(&authority, "b", seed).await;
    let up = |links: &Links| links.all().first().is_some_and(|link| link.is_up() && link.is_in_sync());
    until("both are linked", || up(&links) && up(&others)).await;
    others.stop().await;
    second.leave().await;
    until("the link is over", || *inbox.gone.lock() == [("b".to_owned(), 7)]).await;
    assert!(links.all().is_empty());
}
