//! Finding the primaries: asking Sentinels or cluster nodes, and believing the newest view.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Pipeline, RedisError, Value};

use super::dial::{Dialer, Purpose};
use super::target::{Address, Kind, Target};

/// Servers asked at once; more of a large cluster would say the same.
const ASKED_MAX: usize = 8;
/// The longest a look waits for one that does not answer, while others have.
const ANSWER_WITHIN: Duration = Duration::from_millis(700);

/// Where the primaries are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub primaries: Vec<FoundPrimary>,
    /// First and last slot and the primary that has them; empty = the only primary has everything.
    pub slots: Vec<(u16, u16, usize)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundPrimary {
    pub address: Address,
    /// Replicas that could be promoted in its place.
    pub replicas: u32,
}

/// Nobody says where the primaries are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    #[error("no Sentinel knows the primary `{service}`; the last said: {cause}")]
    Sentinels { service: String, cause: String },
    #[error("no node of the cluster says who has which slots; the last said: {cause}")]
    Cluster { cause: String },
}

/// Asks, over connections that are kept from one look to the next.
#[derive(Default)]
pub(super) struct Scout {
    links: HashMap<Address, MultiplexedConnection>,
}

/// A view of one server; the newest is believed.
struct View {
    epoch: u64,
    found: Found,
}

impl Scout {
    /// Asks who is primary now. `known` are servers met before, asked beside the seeds.
    pub async fn look(&mut self, dialer: &Dialer, target: &Target, known: &[Address]) -> Result<Found, Lost> {
        match &target.kind {
            Kind::Standalone => {
                let primaries =
                    target.seeds.iter().map(|seed| FoundPrimary { address: seed.clone(), replicas: 0 });
                Ok(Found { primaries: primaries.collect(), slots: Vec::new() })
            }
            Kind::Sentinel { service } => {
                let mut question = redis::pipe();
                question.cmd("SENTINEL").arg("MASTER").arg(service);
                let views =
                    self.ask(dialer, &target.seeds, Purpose::Sentinel, &question, sentinel_view).await;
                newest(views).map_err(|cause| Lost::Sentinels { service: service.clone(), cause })
            }
            Kind::Cluster => {
                let mut asked = target.seeds.clone();
                asked.extend(known.iter().filter(|address| !target.seeds.contains(address)).cloned());
                asked.truncate(ASKED_MAX.max(target.seeds.len()));
                let mut question = redis::pipe();
                question.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
                let views = self.ask(dialer, &asked, Purpose::Commands, &question, cluster_view).await;
                newest(views).map_err(|cause| Lost::Cluster { cause })
            }
        }
    }

    async fn ask(
        &mut self,
        dialer: &Dialer,
        servers: &[Address],
        purpose: Purpose,
        question: &Pipeline,
        read: fn(&Address, Vec<Value>) -> Result<View, RedisError>,
    ) -> Vec<Result<View, String>> {
        let links = &self.links;
        let answers = join_all(servers.iter().map(|server| async move {
            let asking = async {
                let mut link = match links.get(server) {
                    Some(link) => link.clone(),
                    None => dialer.dial(server, purpose).await?,
                };
                let values: Vec<Value> = question.query_async(&mut link).await?;
                read(server, values).map(|view| (view, link))
            };
            let answer = tokio::time::timeout(ANSWER_WITHIN, asking).await;
            let answer = answer.map_err(|_| "no answer in time".to_owned());
            answer.and_then(|answer| answer.map_err(|error| error.to_string()))
        }));
        let answers = answers.await;
        self.links.clear();
        let mut views = Vec::with_capacity(servers.len());
        for (server, answer) in servers.iter().zip(answers) {
            views.push(match answer {
                Ok((view, link)) => {
                    self.links.insert(server.clone(), link);
                    Ok(view)
                }
                Err(cause) => Err(format!("{server}: {cause}")),
            });
        }
        views
    }
}

fn newest(views: Vec<Result<View, String>>) -> Result<Found, String> {
    let mut best: Option<View> = None;
    let mut last = "there is nobody to ask".to_owned();
    for view in views {
        match view {
            Ok(view) if best.as_ref().is_none_or(|best| view.epoch > best.epoch) => best = Some(view),
            Ok(_) => {}
            Err(cause) => last = cause,
        }
    }
    best.map(|view| view.found).ok_or(last)
}

/// `SENTINEL MASTER`: names and values in turn.
fn sentinel_view(_asked: &Address, answers: Vec<Value>) -> Result<View, RedisError> {
    let answer = answers.into_iter().next().unwrap_or_default();
    let fields = HashMap::<String, String>::from_redis_value(answer)?;
    let number = |name: &str| fields.get(name).and_then(|text| text.parse::<u64>().ok());
    let host = fields.get("ip").filter(|host| !host.is_empty());
    let (Some(host), Some(port)) = (host, number("port").and_then(|port| u16::try_from(port).ok())) else {
        return Err(RedisError::from((redis::ErrorKind::Parse, "SENTINEL MASTER without ip and port")));
    };
    let replicas = u32::try_from(number("num-slaves").unwrap_or(0)).unwrap_or(u32::MAX);
    let primary = FoundPrimary { address: Address::new(host, port), replicas };
    let found = Found { primaries: vec![primary], slots: Vec::new() };
    Ok(View { epoch: number("config-epoch").unwrap_or(0), found })
}

type SlotRange = (u16, u16, Vec<Value>);

/// `CLUSTER INFO` for the epoch, `CLUSTER SLOTS` for who has what.
fn cluster_view(asked: &Address, answers: Vec<Value>) -> Result<View, RedisError> {
    let mut answers = answers.into_iter();
    let info = String::from_redis_value(answers.next().unwrap_or_default())?;
    let epoch =
        info.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:")?.trim().parse().ok());
    let ranges = Vec::<Vec<Value>>::from_redis_value(answers.next().unwrap_or_default())?;
    let mut found = Found { primaries: Vec::new(), slots: Vec::new() };
    for range in ranges {
        let (first, last, servers) = slot_range(range)?;
        let Some(primary) = servers.first() else { continue };
        let address = server_address(asked, primary)?;
        let replicas = u32::try_from(servers.len() - 1).unwrap_or(u32::MAX);
        let known = found.primaries.iter().position(|primary| primary.address == address);
        let at = known.unwrap_or_else(|| {
            found.primaries.push(FoundPrimary { address, replicas });
            found.primaries.len() - 1
        });
        found.slots.push((first, last, at));
    }
    if found.slots.is_empty() {
        return Err(RedisError::from((redis::ErrorKind::Client, "no slots are assigned")));
    }
    Ok(View { epoch: epoch.unwrap_or(0), found })
}

fn slot_range(range: Vec<Value>) -> Result<SlotRange, RedisError> {
    let mut parts = range.into_iter();
    let first = u16::from_redis_value(parts.next().unwrap_or_default())?;
    let last = u16::from_redis_value(parts.next().unwrap_or_default())?;
    Ok((first, last, parts.collect()))
}

/// A server in `CLUSTER SLOTS`: host, port, id. An empty host is that of the server that was asked.
fn server_address(asked: &Address, server: &Value) -> Result<Address, RedisError> {
    let parts = Vec::<Value>::from_redis_value(server.clone())?;
    let mut parts = parts.into_iter();
    let host = Option::<String>::from_redis_value(parts.next().unwrap_or_default())?;
    let port = u16::from_redis_value(parts.next().unwrap_or_default())?;
    let host = host.filter(|host| !host.is_empty() && host != "?");
    Ok(Address::new(host.as_deref().unwrap_or(&asked.host), port))
}
