//! Joining: the names given are resolved again and again, and whoever is there and no member is greeted.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 64;

/// Turns names into addresses.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `name`, which is host:port.
    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>>;
}

/// The system's resolver.
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host(name).await?.collect())
    }
}

/// The names to join by, and what was last said of them.
pub(crate) struct Seeds {
    names: Vec<String>,
    resolver: Arc<dyn Resolve>,
    /// Names that could not be resolved at the last look; each is told once.
    unknown: BTreeSet<String>,
}

impl Seeds {
    pub fn new(names: Vec<String>, resolver: Arc<dyn Resolve>) -> Self {
        Self { names, resolver, unknown: BTreeSet::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The addresses of all names as they are now.
    pub async fn resolve(&mut self) -> BTreeSet<SocketAddr> {
        let mut addresses = BTreeSet::new();
        for name in &self.names {
            match self.resolver.resolve(name).await {
                Ok(found) => {
                    self.unknown.remove(name);
                    addresses.extend(found.into_iter().take(ADDRESSES_MAX));
                }
                Err(error) => {
                    if self.unknown.insert(name.clone()) {
                        tracing::warn!(name, %error, "cannot resolve a peer to join, trying on");
                    }
                }
            }
        }
        addresses
    }
}

/// How long until the names are looked at again: sooner while nobody has been found.
pub(crate) fn next_look(alone: bool, interval: Duration) -> Duration {
    if alone { interval.min(Duration::from_millis(500)) } else { interval }
}
