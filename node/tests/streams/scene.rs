//! Nodes of this process with streams on them, and what tests do with those.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use weir_access::Access;
use weir_broker::Broker;
use weir_broker::stream::{Spec, Stream};
use weir_gateway::{Gateway, Listen};
use weir_model::{DEFAULT_REALM, Filter, UnixMillis};
use weir_store::{NodeRef, SharedMemory, Store};
use weir_testkit::eventually;

/// A broker and its gateway.
pub struct Running {
    pub broker: Broker,
    /// Open as long as this is.
    _gateway: Gateway,
    pub address: SocketAddr,
}

impl Running {
    /// A node of its own with what it needs in memory.
    pub async fn start() -> Running {
        Running::with(weir_broker::Config::default(), Access::open()).await
    }

    pub async fn with(config: weir_broker::Config, access: Access) -> Running {
        let store = weir_store::Config { url: "memory".to_owned(), ..weir_store::Config::default() };
        let (store, _) = weir_store::open(&store, std::path::Path::new("")).expect("a store");
        Running::over(config, access, store).await
    }

    /// Two nodes on one store.
    pub async fn two() -> (Running, Running) {
        let clock = Arc::new(|| {
            let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        });
        let shared = SharedMemory::new(&weir_store::Config::default(), clock);
        let node = |name: &str, incarnation| {
            let store = shared.node(NodeRef { node_id: name.into(), incarnation });
            Running::over(weir_broker::Config::default(), Access::open(), store)
        };
        (node("a", 1).await, node("b", 2).await)
    }

    pub async fn over(config: weir_broker::Config, access: Access, store: Arc<dyn Store>) -> Running {
        let broker =
            Broker::start(config, store, Arc::new(access), weir_gateway::FORMS).await.expect("a broker");
        let listen = Listen { mqtt: "127.0.0.1:0".parse().ok(), ..Listen::default() };
        let (config, net) = (weir_gateway::Config::default(), weir_net::Config::default());
        let (render, health) = (Arc::new(String::new), Arc::new(|| weir_gateway::Health::READY));
        let started = Gateway::start(broker.clone(), config, net, listen, render, health).await;
        let gateway = started.expect("a gateway");
        let address = gateway.addresses()[0].1;
        Running { broker, _gateway: gateway, address }
    }

    /// A stream of this name that captures what comes below its name.
    pub async fn stream(&self, name: &str, spec: Spec) -> Arc<Stream> {
        let filters = vec![Filter::new(&format!("{name}/#")).expect("a filter")];
        let spec = Spec { filters, ..spec };
        self.broker.create_stream(&DEFAULT_REALM.into(), name, spec).await.expect("a stream")
    }

    /// Records in all generations of a stream.
    pub async fn records(&self, name: &str) -> u64 {
        let info = self.broker.stream_info(&DEFAULT_REALM.into(), name).await.expect("a stream");
        let partitions = info.generations.iter().flat_map(|(_, partitions)| partitions);
        partitions.map(|partition| partition.ends.records).sum()
    }

    /// Waits until nothing is on its way, and looks whether every message is accounted for.
    pub fn balanced(&self) {
        eventually("a ledger in balance", || (self.broker.balance().imbalance() == 0).then_some(()));
    }
}
