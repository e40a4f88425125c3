//! The calls of a node: each realm's state behind its lock, and what comes out of it on its way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};

use super::links::Nodes;
use super::meters::Meters;
use super::state::{Change, Listed, State};
use super::{Config, Invoke, MatchKind, Procedure, RegistrationChange};
use crate::broker::Broker;
use crate::clock;

/// Most realms with calls; sessions of a further one take no part in any.
const REALMS_MAX: usize = 10_000;

/// Ticks of the timers after which realms without calls are forgotten.
const FORGET_TICKS: u64 = 100;

/// What a registration is to those who ask.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RegistrationInfo {
    pub id: u64,
    pub procedure: Procedure,
    pub invoke: Invoke,
    /// When it was made (Unix milliseconds); of one that has moved home, when the first that came along registered.
    pub created_ms: u64,
    /// Public numbers of the callees' sessions, in the order of registration.
    pub callees: Vec<u64>,
}

/// All of a node's calls.
pub struct Calls {
    pub(super) config: Config,
    realms: RwLock<HashMap<Arc<str>, Arc<Dealer>>>,
    pub(super) nodes: Mutex<Nodes>,
    pub(super) meters: Meters,
    /// States made so far: each numbers its calls and registrations from a place of its own.
    made: AtomicU64,
    ticks: AtomicU64,
    follower: OnceLock<Follower>,
}

/// Is told of changes, in the order in which they happen; must be quick.
type Follower = Box<dyn Fn(RegistrationChange) + Send + Sync>;

/// One realm's.
pub(super) struct Dealer {
    pub realm: Arc<str>,
    state: Mutex<State>,
}

impl Calls {
    pub(crate) fn new(config: Config, node: u64) -> Calls {
        Calls {
            config,
            realms: RwLock::default(),
            nodes: Mutex::new(Nodes::alone(node)),
            meters: Meters::new(),
            made: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            follower: OnceLock::new(),
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Follows what becomes of registrations whose home is this node. Only the first follower counts.
    pub fn on_change(&self, follow: impl Fn(RegistrationChange) + Send + Sync + 'static) {
        let _ = self.follower.set(Box::new(follow));
    }

    /// The calls of a realm; `None` = it is one too many.
    pub(super) fn dealer(&self, realm: &Arc<str>) -> Option<Arc<Dealer>> {
        if let Some(dealer) = self.realms.read().get(realm) {
            return Some(dealer.clone());
        }
        // Whoever changes the view of the cluster holds these too: no realm misses a change.
        let nodes = self.nodes.lock();
        let mut realms = self.realms.write();
        if realms.len() >= REALMS_MAX && !realms.contains_key(realm) {
            self.meters.realms_refused.increment(1);
            return None;
        }
        let fresh = || {
            let made = self.made.fetch_add(1, Ordering::Relaxed) + 1;
            let mut state = State::new(realm.clone(), self.config.clone(), nodes.view().clone(), made);
            state.set_settled(nodes.is_settled());
            Arc::new(Dealer { realm: realm.clone(), state: Mutex::new(state) })
        };
        Some(realms.entry(realm.clone()).or_insert_with(fresh).clone())
    }

    pub(super) fn dealers(&self) -> Vec<Arc<Dealer>> {
        self.realms.read().values().cloned().collect()
    }

    /// Ten times a second: calls whose time is over, and nodes that have not told what is registered with them.
    pub(crate) fn tick(&self, broker: &Broker) {
        let now_ms = clock::now_ms();
        self.settle_late(broker, now_ms);
        for dealer in self.dealers() {
            dealer.with(broker, |state| state.expire(now_ms));
        }
        if self.ticks.fetch_add(1, Ordering::Relaxed) % FORGET_TICKS == FORGET_TICKS - 1 {
            let in_use =
                |dealer: &Arc<Dealer>| Arc::strong_count(dealer) > 1 || !dealer.state.lock().is_idle();
            self.realms.write().retain(|_, dealer| in_use(dealer));
        }
    }

    /// The registrations of a realm whose home is this node, in no order.
    pub fn registrations_here(&self, realm: &Arc<str>) -> Vec<RegistrationInfo> {
        let Some(dealer) = self.realms.read().get(realm).cloned() else { return Vec::new() };
        let listed = dealer.state.lock().list();
        listed.into_iter().map(|listed| RegistrationInfo::of(realm, listed)).collect()
    }

    /// The names of the other nodes that may have the registration of a procedure: its home, and that of patterns.
    pub fn homes_elsewhere(&self, broker: &Broker, realm: &str, topic: &str) -> Vec<Arc<str>> {
        let nodes = self.nodes.lock();
        let view = nodes.view();
        let mut homes = vec![view.home_of_topic(realm, topic), view.home_of_patterns(realm)];
        homes.dedup();
        homes.retain(|home| *home != view.me());
        homes.into_iter().map(|home| broker.node_name(home)).collect()
    }

    /// What of that would be called.
    pub fn registration_here(
        &self,
        realm: &Arc<str>,
        topic: &str,
        kinds: &[MatchKind],
    ) -> Option<RegistrationInfo> {
        let dealer = self.realms.read().get(realm).cloned()?;
        let listed = dealer.state.lock().find(topic, kinds)?;
        Some(RegistrationInfo::of(realm, listed))
    }
}

impl RegistrationInfo {
    fn of(realm: &str, listed: Listed) -> RegistrationInfo {
        let Listed { procedure, invoke, created_ms, callees } = listed;
        RegistrationInfo { id: procedure.id(realm), procedure, invoke, created_ms, callees }
    }
}

impl Dealer {
    /// Does one thing to the state, and sends what comes of it. All that leaves keeps its order.
    pub fn with<R>(&self, broker: &Broker, act: impl FnOnce(&mut State) -> R) -> R {
        let calls = broker.calls();
        let mut state = self.state.lock();
        let done = act(&mut state);
        loop {
            let others = state.run();
            if others.is_empty() {
                break;
            }
            for (node, said) in others {
                if let Err(said) = calls.send(broker, &self.realm, node, said) {
                    calls.meters.unsent.increment(1);
                    state.unsent(node, said);
                }
            }
        }
        calls.meters.note(&state.take_noted());
        for Change { kind, procedure, invoke, created_ms, session } in state.take_changes() {
            if let Some(follow) = calls.follower.get() {
                let (realm, registration) = (self.realm.clone(), procedure.id(&self.realm));
                follow(RegistrationChange {
                    kind,
                    realm,
                    session,
                    registration,
                    procedure,
                    invoke,
                    created_ms,
                });
            }
        }
        done
    }
}
