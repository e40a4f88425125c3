//! What only the whole node can tell or do; implemented where it is put together.

use std::net::SocketAddr;
use std::path::PathBuf;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::proto::NodeState;

/// A node as another one sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    pub node_id: String,
    /// 0 = not known.
    pub incarnation: u64,
    pub is_this: bool,
    pub state: NodeState,
    pub peer_address: Option<SocketAddr>,
    pub release: String,
    pub serves: bool,
    pub linked: bool,
    /// By name, with the addresses clients are told.
    pub listeners: Vec<(String, String)>,
}

/// A key that would be another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    /// As TOML; empty = not set.
    pub now: String,
    pub then: String,
}

/// Where accounts are, and how their passwords are hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSettings {
    /// `None` = there are none.
    pub file: Option<PathBuf>,
    pub scram_iterations: u32,
    /// `access.policy`.
    pub policy: String,
}

/// The node that the services belong to.
pub trait Machine: Send + Sync + 'static {
    /// The name of this node.
    fn name(&self) -> &str;

    /// All nodes, this one among them.
    fn nodes(&self) -> Vec<NodeView>;

    /// The name of the cluster; `None` = it is alone.
    fn cluster_id(&self) -> Option<String>;

    /// The kind of its store.
    fn store(&self) -> &'static str;

    /// Begins to drain; the node ends when that is done. A second time does nothing.
    fn drain(&self);

    /// Whether clients are wanted here now: not before all listeners are open, nor while it drains or is cut off.
    fn ready(&self) -> watch::Receiver<bool>;

    /// Whether nobody has to say who they are: neither are clients asked, nor does a policy bind them.
    fn is_open(&self) -> bool;

    /// All metrics in the Prometheus text format.
    fn metrics(&self) -> String;

    /// The configuration in force, secrets left out: as TOML with sentences, and as JSON.
    fn config(&self) -> (String, String);

    /// What is wrong with a text as a configuration file.
    ///
    /// # Errors
    /// The first thing that is.
    fn validate(&self, toml: &str) -> Result<(), String>;

    /// What would be different with a text as the configuration file.
    ///
    /// # Errors
    /// What is wrong with it.
    fn diff(&self, toml: &str) -> Result<Vec<Change>, String>;

    /// Reads what can be read again without a restart; what could not be used.
    fn reload(&self) -> BoxFuture<'_, Vec<String>>;

    /// Where accounts and policy are.
    fn accounts(&self) -> AccountSettings;
}
