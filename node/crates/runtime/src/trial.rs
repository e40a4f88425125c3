//! A trial: a program is called with messages one after the other, and what it keeps lives as long as the trial.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use weir_model::{Properties, Qos};

use crate::call::{Away, Call, Change, Client, Host, Moment, Passing};
use crate::limits::Settings;
use crate::outcome::{Event, Failure, Invocation, Keyed, Passage};
use crate::pool::Pool;
use crate::program::{Program, World};
use crate::runtime::Runtime;

/// The name under which a trial of a reducer shows its states: `$view/trial/<key>`.
const VIEW: &str = "$view/trial/";

/// Who acts, for middleware that is tried.
const NOBODY: Client<'static> =
    Client { client_id: "trial", user: None, realm: "default", protocol: "mqtt", address: "127.0.0.1" };

/// A program of any world that is tried. What comes of a message is told as events: those of a command; of a reducer the
/// rows of its view that change; of middleware the message as `on-publish` lets it pass.
pub struct Trial {
    pool: Pool,
    world: World,
    kept: Arc<Kept>,
    is_changelog: bool,
    /// What the newest message of each key has given a reducer.
    mapped: HashMap<Vec<u8>, Vec<Keyed>>,
    states: BTreeMap<Box<str>, Bytes>,
}

/// By key and name.
type Values = HashMap<(Vec<u8>, Box<str>), Bytes>;

/// What handlers have set.
#[derive(Default)]
struct Kept(Mutex<Values>);

impl Host for Kept {
    fn read<'a>(&'a self, key: &'a [u8], name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Away>> {
        let value = self.0.lock().get(&(key.to_vec(), name.into())).cloned();
        Box::pin(std::future::ready(Ok(value)))
    }
}

impl Trial {
    /// `is_changelog`: of a reducer, whether a message takes the place of the one before with the same key.
    pub fn new(
        runtime: &Arc<Runtime>,
        program: &Arc<Program>,
        settings: Settings,
        is_changelog: bool,
    ) -> Trial {
        let (pool, world) = (Pool::new(runtime, program, settings), program.world());
        let (kept, mapped, states) = (Arc::default(), HashMap::new(), BTreeMap::new());
        Trial { pool, world, kept, is_changelog, mapped, states }
    }

    /// Calls it with the next message. Values it keeps come with what it answers, and the next call finds them.
    pub async fn message(&mut self, call: &Call<'_>) -> Invocation<Vec<Event>> {
        match self.world {
            World::Command => self.command(call).await,
            World::Reducer | World::MergingReducer => self.reducer(call).await,
            World::Middleware => self.middleware(call),
        }
    }

    async fn command(&self, call: &Call<'_>) -> Invocation<Vec<Event>> {
        let host: Arc<dyn Host> = self.kept.clone();
        let invocation = self.pool.handle(call, &host).await;
        let mut kept = self.kept.0.lock();
        for (name, value) in &invocation.writes {
            let place = (call.key.to_vec(), name.clone());
            match value {
                Some(value) => drop(kept.insert(place, value.clone())),
                None => drop(kept.remove(&place)),
            }
        }
        drop(kept);
        invocation
    }

    async fn reducer(&mut self, call: &Call<'_>) -> Invocation<Vec<Event>> {
        let replaces = self.is_changelog && !call.key.is_empty();
        let mapped = match replaces && call.payload.is_empty() {
            true => Invocation::of(Vec::new()),
            false => self.pool.map(call).await,
        };
        let now = match &mapped.result {
            Ok(now) => now.clone(),
            Err(_) => return mapped.map(|_| Vec::new()),
        };
        let before = match replaces {
            true => self.mapped.insert(call.key.to_vec(), now.clone()).unwrap_or_default(),
            false => Vec::new(),
        };
        let mut answer = mapped.map(|_| Vec::new());
        let mut changes: BTreeMap<&str, Vec<Change<'_>>> = BTreeMap::new();
        for (keyed, weight) in before.iter().map(|keyed| (keyed, -1)).chain(now.iter().map(|now| (now, 1))) {
            changes.entry(&keyed.key).or_default().push(Change { value: &keyed.value, weight });
        }
        let at = Moment { now: call.published_at, id: call.id };
        for (key, changes) in changes {
            let state = self.states.get(key);
            let reduced = self.pool.reduce(key, state.map(|state| &**state), &changes, at).await;
            answer.log.extend(reduced.log);
            answer.took += reduced.took;
            match (reduced.result, &mut answer.result) {
                (Ok(state), Ok(rows)) => rows.extend(set(&mut self.states, key, state)),
                (Err(failure), result) => *result = Err(failure),
                (Ok(_), Err(_)) => {}
            }
        }
        answer
    }

    fn middleware(&self, call: &Call<'_>) -> Invocation<Vec<Event>> {
        let passing = Passing {
            topic: call.topic,
            payload: call.payload,
            qos: Qos::AtMostOnce,
            retain: false,
            properties: call.properties,
        };
        let Invocation { result, writes, log, log_dropped, took } =
            self.pool.on_publish(&NOBODY, &passing, call.now);
        let result = match result {
            Ok(Passage::Pass) => Ok(vec![as_it_came(call)]),
            Ok(Passage::Change(changed)) => Ok(vec![Event {
                topic: changed.topic,
                payload: changed.payload,
                qos: changed.qos,
                retain: changed.retain,
                properties: Some(Box::new(Properties {
                    content_type: changed.content_type,
                    user: changed.user,
                    ..Properties::default()
                })),
                expiry_seconds: None,
            }]),
            Ok(Passage::Refuse(reason)) => Err(Failure::Rejected(reason)),
            Err(failure) => Err(failure),
        };
        Invocation { result, writes, log, log_dropped, took }
    }
}

/// The row that changes, if one does.
fn set(states: &mut BTreeMap<Box<str>, Bytes>, key: &str, state: Option<Vec<u8>>) -> Option<Event> {
    let state = state.map(Bytes::from);
    let before = match &state {
        Some(state) => states.insert(key.into(), state.clone()),
        None => states.remove(key),
    };
    (before != state).then(|| Event {
        topic: format!("{VIEW}{key}").into(),
        payload: state.unwrap_or_default(),
        qos: Qos::AtLeastOnce,
        retain: true,
        properties: None,
        expiry_seconds: None,
    })
}

fn as_it_came(call: &Call<'_>) -> Event {
    Event {
        topic: call.topic.into(),
        payload: Bytes::copy_from_slice(call.payload),
        qos: Qos::AtMostOnce,
        retain: false,
        properties: call.properties.map(|properties| Box::new(properties.clone())),
        expiry_seconds: None,
    }
}
