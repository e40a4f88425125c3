//! What many subscriptions on one node cost its peers: time until they know them, and memory.

use std::time::{Duration, Instant};

use url::Url;
use weir_model::Qos;

use super::nodes::{Node, Nodes};
use super::{Figure, Setup, Unit, metrics};
use crate::args::{Role, Target};
use crate::client::{self, Client, Subscription};
use crate::process::Processes;
use crate::redis::Redis;
use crate::{Error, generator, scenario};

/// Filters of one client, below what a session may have unless told otherwise.
const PER_CLIENT: usize = 5000;

/// Filters in one SUBSCRIBE.
const PER_PACKET: usize = 500;

/// How long a SUBSCRIBE, or a peer, may take.
const SYNC_MAX: Duration = Duration::from_secs(180);

/// Subscribes on the first node, then starts a third one.
pub(super) fn run(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let redis = Redis::start()?;
    let mut nodes = Nodes::start(setup, &redis, 2)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Thread { source })?;
    let peer = nodes.get(1)?;
    let memory = Processes::of(&[peer.pid()]);
    let rss_before = runtime.block_on(scenario::at_rest(&memory))?;

    let (url, begun) = (nodes.get(0)?.url()?, Instant::now());
    let clients = runtime.block_on(subscribe(&url, setup.subscriptions))?;
    let subscribed = Instant::now();
    let known = wait(peer, setup.subscriptions)?;
    let rss = runtime.block_on(scenario::at_rest(&memory))?.saturating_sub(rss_before);

    let joining = nodes.start_one()?;
    let synced = wait(&joining, setup.subscriptions)? - joining.started();
    drop(clients);

    let seconds = |name, time: Duration| Figure::new(name, Unit::Seconds, time.as_secs_f64());
    Ok(vec![
        seconds("subscribed within", subscribed - begun),
        seconds("a node that joins is ready after", joining.start_time()),
        seconds("peer in sync after the last SUBACK", known - subscribed).at_most(10.0),
        seconds("a node that joins in sync after", synced).at_most(10.0),
        Figure::new("memory each", Unit::Bytes, rss as f64 / setup.subscriptions as f64).at_most(200.0),
    ])
}

/// When the node has taken so many changes of interest.
fn wait(node: &Node, subscriptions: usize) -> Result<Instant, Error> {
    let what = "that a peer knows all subscriptions";
    let is_all = |changes| changes >= subscriptions as f64;
    metrics::wait(&[node], metrics::INTEREST_CHANGES, is_all, what, SYNC_MAX)
}

/// Clients with a clean session and their share of the filters each, all at once.
async fn subscribe(url: &Url, subscriptions: usize) -> Result<Vec<Client>, Error> {
    let target = Target { timeout: SYNC_MAX, ..Target::of(vec![url.clone()], Vec::new()) };
    let shares = shares(subscriptions);
    let names: Vec<String> = (0..shares.len()).map(|at| generator::name("i", at)).collect();
    let clients = generator::clients(&target, Role::Subscriber, &names).await?;
    let tasks: Vec<_> = clients
        .into_iter()
        .zip(shares)
        .enumerate()
        .map(|(at, (client, share))| tokio::spawn(subscribe_one(client, at, share)))
        .collect();
    let mut subscribed = Vec::with_capacity(tasks.len());
    for task in tasks {
        subscribed.push(task.await.map_err(|_| Error::ThreadDied)??);
    }
    Ok(subscribed)
}

async fn subscribe_one(mut client: Client, at: usize, share: usize) -> Result<Client, Error> {
    for first in (0..share).step_by(PER_PACKET) {
        let filters = first..share.min(first + PER_PACKET);
        let filters: Vec<Subscription> = filters
            .map(|filter| Subscription::new(format!("site/{at}/device/{filter}/state"), Qos::AtMostOnce))
            .collect();
        let codes = client.subscribe(&filters, None).await?;
        if let Some((filter, code)) = filters.iter().zip(codes).find(|(_, code)| code.as_u8() >= 0x80) {
            return Err(client::Error::SubscribeRefused { filter: filter.filter.clone(), code }.into());
        }
    }
    Ok(client)
}

/// How many filters each client has.
fn shares(subscriptions: usize) -> Vec<usize> {
    (0..subscriptions).step_by(PER_CLIENT).map(|first| PER_CLIENT.min(subscriptions - first)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_has_a_client_and_none_has_too_many() {
        assert_eq!(shares(1_000_000).len(), 200);
        assert_eq!(shares(12_345), [5000, 5000, 2345]);
        assert!(shares(0).is_empty());
    }
}
