//! One end of a simulated link: what it was sent, and what it has taken.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use weir_model::{Filter, Qos};

use crate::interest::Digest;
use crate::link::{Control, Inbox, InterestChanges, Link};
use crate::record::{self, Outgoing, Records};

pub const TOPICS: usize = 12;

/// What one node has heard of one peer.
#[derive(Default)]
pub struct Heard {
    pub sure: BTreeMap<String, Vec<u64>>,
    pub frames: BTreeMap<String, Vec<u64>>,
    pub wanted: HashMap<Filter, u32>,
    named: Option<HashSet<Filter>>,
    pub digest: Digest,
    pub missed: u64,
}

#[derive(Default)]
pub struct Ears(pub Mutex<Heard>);

impl Heard {
    fn set(&mut self, realm: &str, filter: &Filter, members: u32) {
        if let Some(named) = &mut self.named {
            named.insert(filter.clone());
        }
        let was = match members {
            0 => self.wanted.remove(filter),
            _ => self.wanted.insert(filter.clone(), members),
        };
        self.digest.change(realm, filter, was.unwrap_or(0), members);
    }
}

impl Inbox for Ears {
    fn interest(&self, _: &Arc<Link>, changes: InterestChanges<'_>) {
        let mut heard = self.0.lock();
        match changes {
            InterestChanges::Full => heard.named = Some(HashSet::new()),
            InterestChanges::FullEnd => {
                let named = heard.named.take().expect("a full set has begun");
                let stale: Vec<_> = heard.wanted.keys().filter(|key| !named.contains(key)).cloned().collect();
                stale.iter().for_each(|filter| heard.set(REALM, filter, 0));
            }
            InterestChanges::Changed(changes) => {
                changes.iter().for_each(|change| heard.set(&change.realm, &change.filter, change.members));
            }
            InterestChanges::Gone => {
                (heard.wanted, heard.named, heard.digest) = Default::default();
            }
        }
    }

    fn interest_digest(&self, _: &Arc<Link>) -> Option<Digest> {
        Some(self.0.lock().digest)
    }

    fn records(&self, _: &Arc<Link>, run: Bytes) -> Option<BoxFuture<'static, ()>> {
        let mut heard = self.0.lock();
        for record in Records::decode(&run) {
            let record = record.expect("a record");
            let number = u64::from_le_bytes(*record.payload.first_chunk().expect("a number"));
            let lane = if record.qos == Qos::AtMostOnce { &mut heard.frames } else { &mut heard.sure };
            lane.entry(record.topic.to_owned()).or_default().push(number);
        }
        None
    }

    fn control(&self, _: &Arc<Link>, control: Control) {
        if let Control::Missed { messages } = control {
            self.0.lock().missed += messages;
        }
    }

    fn caught_up(&self) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}

pub const REALM: &str = "r";

pub fn topic(n: usize) -> String {
    format!("t/{n}")
}

/// A hash that sends topics to all streams.
pub fn hash(topic: usize) -> u64 {
    topic as u64 + 1
}

pub fn run(topic_at: usize, number: u64, bytes: usize, qos: Qos) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(bytes.max(8), 0);
    let mut out = Vec::new();
    record::encode_publish(
        &mut out,
        &Outgoing {
            realm: REALM,
            topic: &topic(topic_at),
            payload: &payload,
            qos,
            retain: false,
            expiry_ms_left: None,
            properties: None,
            position: None,
            numbered: &[],
            share: None,
            only_named: false,
        },
    );
    out
}
