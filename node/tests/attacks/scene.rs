//! A node under attack, and what must be true of it meanwhile and afterwards.

use weir_testkit::node::Builder;
use weir_testkit::{Node, eventually};

use super::pair::{Credentials, Pair};

/// What a node may take beyond what the attack is granted by the configuration: its threads' read buffers, the
/// allocator's pages not yet given back, the pair.
pub const SLACK: u64 = 32 << 20;

pub struct Scene {
    pub node: Node,
    pair: Pair,
    /// Resident bytes before the attack.
    before: u64,
}

/// A node with `mqtt` and `http` listeners that forgets at exit.
pub fn node() -> Builder {
    Node::of(env!("CARGO_BIN_EXE_weir")).store("memory").listen("http")
}

impl Scene {
    /// Starts the node and a well-behaved pair on it.
    pub fn of(builder: Builder) -> Scene {
        Scene::around(builder.start())
    }

    /// The same around a node that runs already.
    pub fn around(node: Node) -> Scene {
        let pair = Pair::on(&node, "pair/topic");
        Scene::with(node, pair)
    }

    /// The same with a pair that has to say who it is; its topic is `pair/topic`, its user id `pair`.
    pub fn of_users(builder: Builder, credentials: Credentials) -> Scene {
        let node = builder.start();
        let pair = Pair::of(&node, credentials, "pair/topic");
        Scene::with(node, pair)
    }

    fn with(node: Node, pair: Pair) -> Scene {
        pair.is_served();
        let clear = format!("/proc/{}/clear_refs", node.pid());
        std::fs::write(&clear, "5").expect("the peak of resident memory can be reset");
        let before = node.resident_bytes();
        Scene { node, pair, before }
    }

    /// Others are served at this moment.
    pub fn serves_others(&self) {
        self.pair.is_served();
    }

    /// Waits until a counter or gauge, over all its labels, is at least this.
    pub fn counts(&self, metric: &str, at_least: f64) {
        eventually(metric, || (self.node.metrics().sum(metric) >= at_least).then_some(()));
    }

    /// The attack is over and its connections are gone: the pair lost nothing, the node runs, no task of it
    /// has panicked, it never took more than `granted` bytes beyond its slack, and the ledger balances.
    pub fn survives(mut self, granted: u64) {
        self.pair.is_served();
        let rounds = self.pair.finish();
        assert!(self.node.is_running(), "the node is gone");
        let panics = self.node.metrics().sum("weir_broker_actor_restarts_total");
        assert_eq!(panics, 0.0, "tasks panicked:\n{}", self.node.stderr());
        let grown = peak_bytes(&self.node).saturating_sub(self.before);
        eprintln!("{rounds} rounds of the pair; {} KiB grown, {} KiB granted", grown >> 10, granted >> 10);
        assert!(grown < granted + SLACK, "{grown} bytes more at the peak; {granted} are granted");
        balances(&self.node);
    }
}

/// Waits until nobody is connected and the ledger, measured after that, balances.
pub fn balances(node: &Node) {
    let at_rest = |node: &Node| node.metrics().sum("weir_broker_sessions_connected") == 0.0;
    eventually("all connections to end", || at_rest(node).then_some(()));
    node.balanced();
}

/// The most that was resident since the scene began.
fn peak_bytes(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).expect("a live node");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let kib: u64 = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number");
    kib * 1024
}
