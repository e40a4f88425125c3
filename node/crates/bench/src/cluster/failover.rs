//! How soon a client has its queue again that was connected to a node which is killed.

use std::time::{Duration, Instant};

use url::Url;
use weir_model::Qos;

use super::nodes::Nodes;
use super::{Figure, Setup, Unit};
use crate::Error;
use crate::args::{Role, Target};
use crate::client::{self, Client, Message};
use crate::generator;
use crate::redis::Redis;

/// Messages in each queue.
const MESSAGES: usize = 5;

/// How long a client may take to have all of them.
const QUEUE_MAX: Duration = Duration::from_secs(60);

/// Persistent sessions on one node get messages they do not acknowledge; the node is killed; all come back at
/// once to the other one. Each is timed from its connection's start to its last message.
pub(super) fn run(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let redis = Redis::start()?;
    let mut nodes = Nodes::start(setup, &redis, 2)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Thread { source })?;
    let names: Vec<String> = (0..setup.clients).map(|at| generator::name("f", at)).collect();
    let (stays, dies) = (nodes.get(0)?.url()?, nodes.get(1)?.url()?);
    let connected = runtime.block_on(connect(&dies, &names))?;
    runtime.block_on(publish(&stays, &names, setup.size))?;
    nodes.take_last()?.kill();
    let times = runtime.block_on(come_back(&stays, &names))?;
    drop(connected);
    let at = |share: f64| quantile(&times, share).as_secs_f64();
    Ok(vec![
        Figure::new("p50", Unit::Seconds, at(0.5)),
        Figure::new("longest", Unit::Seconds, at(1.0)),
        Figure::new("p99", Unit::Seconds, at(0.99)).at_most(1.0),
    ])
}

fn persistent(url: &Url) -> Target {
    Target { clean: false, timeout: QUEUE_MAX, ..Target::of(vec![url.clone()], Vec::new()) }
}

/// Each subscribed to a topic of its own name. Nobody reads, so nothing is acknowledged.
async fn connect(url: &Url, names: &[String]) -> Result<Vec<Client>, Error> {
    let mut clients = generator::clients(&persistent(url), Role::Subscriber, names).await?;
    for (client, name) in clients.iter_mut().zip(names) {
        generator::subscribe(client, name, Qos::AtLeastOnce).await?;
    }
    Ok(clients)
}

async fn publish(url: &Url, names: &[String], size: usize) -> Result<(), Error> {
    let target = persistent(url);
    let mut publisher = Client::connect(url, &target.client(generator::name("p", 0))).await?;
    for topic in names {
        for _ in 0..MESSAGES {
            let message = Message::new(topic.clone(), vec![b'x'; size], Qos::AtLeastOnce);
            publisher.publish(&message).await?;
        }
    }
    Ok(publisher.disconnect().await?)
}

/// All at once; how long each took, the shortest first.
async fn come_back(url: &Url, names: &[String]) -> Result<Vec<Duration>, Error> {
    let target = persistent(url);
    let back: Vec<_> =
        names.iter().map(|name| tokio::spawn(have_queue(url.clone(), target.client(name.clone())))).collect();
    let mut times = Vec::with_capacity(back.len());
    for one in back {
        times.push(one.await.map_err(|_| Error::ThreadDied)??);
    }
    times.sort_unstable();
    Ok(times)
}

async fn have_queue(url: Url, options: client::Options) -> Result<Duration, Error> {
    let started = Instant::now();
    let mut client = Client::connect(&url, &options).await?;
    let queue = async {
        for _ in 0..MESSAGES {
            client.next().await?;
        }
        Ok::<_, client::Error>(())
    };
    let late = Error::NotSeen { what: "that a client has its queue", seconds: QUEUE_MAX.as_secs() };
    tokio::time::timeout(QUEUE_MAX, queue).await.map_err(|_| late)??;
    Ok(started.elapsed())
}

/// Of times in order: the one that `share` of all do not exceed.
fn quantile(times: &[Duration], share: f64) -> Duration {
    let rank = (times.len() as f64 * share).ceil() as usize;
    times.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_time_that_was_measured() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        let found = [0.5, 0.99, 1.0].map(|share| quantile(&times, share).as_millis());
        assert_eq!(found, [100, 198, 200]);
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}
