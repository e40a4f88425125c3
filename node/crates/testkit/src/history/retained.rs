//! Whether what is retained is the same everywhere: at every node, and with everybody who was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_model::Qos;
use weir_wire::mqtt::Packet;

use super::History;
use super::connection::{Connection, parse};
use super::traffic::{self, END, FILTER};
use crate::{Cluster, Fault};

/// How long a node may take to tell a new subscriber all of it.
const TELLING: Duration = Duration::from_secs(10);

/// Topic to payload.
pub type Values = BTreeMap<String, String>;

/// What the first running node says is retained; where another one says otherwise, that is a fault.
pub fn read(history: &Arc<History>, cluster: &Cluster) -> Values {
    let topics = history.retained_topics();
    let mut told = cluster.running().map(|node| node.address("mqtt")).map(|address| {
        let node = history.nodes.iter().position(|known| *known == address);
        let who = format!("node {}", node.map_or_else(|| address.to_string(), |node| node.to_string()));
        (tell(history, node.unwrap_or(0), address, &topics), who)
    });
    let (stored, _) = told.next().expect("a node runs");
    for (values, who) in told {
        history.differs(&who, &values, &stored);
    }
    stored
}

/// Whether all have seen these values last.
pub fn is_seen_by_all(history: &History, stored: &Values) -> bool {
    seen_otherwise(history, stored).is_empty()
}

/// Notes who has seen something else last, and what is older than was acknowledged.
pub fn check(history: &History, stored: &Values) {
    seen_otherwise(history, stored).into_iter().for_each(|fault| history.fault(fault));
    for (topic, value) in stored {
        let (line, number) = traffic::read(value);
        let (acknowledged, sent) = history.newest(line);
        if Some(number) < acknowledged || Some(number) > sent {
            let newest = format!("{acknowledged:?} was acknowledged last, {sent:?} sent last");
            let stored = value.clone();
            history.fault(Fault::Diverged {
                topic: topic.clone(),
                who: "the store".into(),
                has: stored,
                stored: newest,
            });
        }
    }
}

fn seen_otherwise(history: &History, stored: &Values) -> Vec<Fault> {
    let book = history.book();
    let otherwise = book.last.iter().filter_map(|((who, topic), has)| {
        let stored = stored.get(topic).filter(|stored| *stored != has)?;
        let (topic, who) = (topic.clone(), who.clone());
        Some(Fault::Diverged { topic, who, has: has.clone(), stored: stored.clone() })
    });
    otherwise.collect()
}

/// What a new subscriber of that node is told, up to the last of these topics.
fn tell(history: &History, node: usize, address: std::net::SocketAddr, topics: &BTreeSet<String>) -> Values {
    let deadline = Instant::now() + TELLING;
    let mut values = Values::new();
    let Ok(mut connection) = Connection::open(node, address, &format!("reader-{node}"), false) else {
        history.note(format!("node {node} takes no reader of retained values"));
        return values;
    };
    if connection.ask_for(FILTER).is_err() {
        return values;
    }
    while Instant::now() < deadline && !topics.iter().all(|topic| values.contains_key(topic)) {
        let Ok(frame) = connection.receive() else { break };
        let Some(frame) = frame else { continue };
        let Packet::Publish(publish) = parse(&frame) else { continue };
        if publish.retain && publish.topic != END {
            let value = String::from_utf8_lossy(publish.payload).into_owned();
            values.insert(publish.topic.to_owned(), value);
        }
    }
    values
}

impl History {
    /// Topics on which something retained was acknowledged.
    fn retained_topics(&self) -> BTreeSet<String> {
        let book = self.book();
        let lines = book
            .sent
            .iter()
            .filter(|((line, _), sent)| line.qos != Qos::AtMostOnce && sent.acknowledged.is_some());
        lines.map(|((line, _), _)| traffic::topic(*line)).collect()
    }

    fn differs(&self, who: &str, has: &Values, stored: &Values) {
        let topics: BTreeSet<&String> = has.keys().chain(stored.keys()).collect();
        let nothing = || "nothing".to_owned();
        for topic in topics {
            let (has, stored) = (has.get(topic), stored.get(topic));
            if has != stored {
                self.fault(Fault::Diverged {
                    topic: topic.clone(),
                    who: who.to_owned(),
                    has: has.cloned().unwrap_or_else(nothing),
                    stored: stored.cloned().unwrap_or_else(nothing),
                });
            }
        }
    }
}
