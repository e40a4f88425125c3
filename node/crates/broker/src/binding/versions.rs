//! Which version of its handler a binding calls: by alias, shared by key, loaded when it is first wanted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics::{Counter, Histogram, counter, histogram};
use weir_model::UnixMillis;
use weir_runtime::{Digest, Pool, Program, Refused, Runtime, Settings, StartError};
use weir_store::ReadError;
use xxhash_rust::xxh3::xxh3_64;

use super::catalog::Name;
use super::definition::{Binding, DefinitionError, Handler, Version, Which, digest_of};
use super::logs::CallResult;
use super::work::fitting;
use crate::broker::Broker;

/// Why a version cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum NoProgram {
    #[error("this node runs no handlers")]
    NoRuntime,
    #[error("there is no handler `{0}`")]
    NoHandler(Arc<str>),
    #[error("handler `{handler}` has no `{which}`")]
    NoVersion { handler: Arc<str>, which: Box<str> },
    #[error("its secret `{0}` is not there")]
    NoSecret(Box<str>),
    #[error("the store has other bytes than were uploaded")]
    Damaged,
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    #[error("the store cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("what runs programs does not start: {0}")]
    Start(#[from] StartError),
}

/// One version as a binding calls it.
pub(super) struct Called {
    pub number: u32,
    pub digest: Box<str>,
    pub pool: Pool,
    counters: [Counter; CallResult::ALL.len()],
    took: Histogram,
    /// Calls and failures since the alias was set.
    calls: AtomicU32,
    failures: AtomicU32,
    /// It was found wanting; told once.
    pub is_condemned: AtomicBool,
}

impl Called {
    fn new(binding: &str, version: &Version, pool: Pool) -> Called {
        let labels = [("binding", binding.to_owned()), ("version", version.number.to_string())];
        let counter = |result: CallResult| {
            let [binding, version] = labels.clone();
            let result = ("result", result.as_str().to_owned());
            counter!("weir_broker_binding_calls_total", &[binding, version, result])
        };
        Called {
            number: version.number,
            digest: version.digest.clone(),
            pool,
            counters: CallResult::ALL.map(counter),
            took: histogram!("weir_broker_binding_call_seconds", &labels),
            calls: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            is_condemned: AtomicBool::new(false),
        }
    }

    pub fn count(&self, result: CallResult, took: Duration) {
        self.counters[result as usize].increment(1);
        self.took.record(took.as_secs_f64());
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.failures.fetch_add(u32::from(result.is_failure()), Ordering::Relaxed);
    }

    /// Calls and failed ones since the alias was set.
    pub fn record(&self) -> (u32, u32) {
        (self.calls.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }

    fn forget_record(&self) {
        self.calls.store(0, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        self.is_condemned.store(false, Ordering::Relaxed);
    }
}

/// The versions that count now.
#[derive(Default)]
struct Picked {
    /// Each up to a bound of 100; the last one's is 100.
    shares: Vec<(u32, Arc<Called>)>,
    shadow: Option<Arc<Called>>,
    guard: Option<Guard>,
}

/// When an alias is set back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guard {
    pub percent: u8,
    pub calls_min: u32,
    pub since: UnixMillis,
}

/// What a binding calls, on one node.
pub(super) struct Versions {
    name: Name,
    binding: Arc<Binding>,
    picked: ArcSwap<Picked>,
    /// Everything that was called, by digest.
    known: tokio::sync::Mutex<HashMap<Box<str>, Arc<Called>>>,
    /// The versions of its secrets that those were given.
    secrets: AtomicU64,
}

impl Versions {
    pub fn new(name: Name, binding: Arc<Binding>) -> Versions {
        let (picked, known) = (ArcSwap::default(), tokio::sync::Mutex::default());
        Versions { name, binding, picked, known, secrets: AtomicU64::new(0) }
    }

    /// Looks again which versions count; loads those that were not called before. What counted stays if one cannot be.
    pub async fn refresh(&self, broker: &Broker) -> Result<(), NoProgram> {
        let (realm, handler) = (&self.name.0, &self.binding.handler);
        let row = broker.bindings().handler(realm, handler);
        let row = row.ok_or_else(|| NoProgram::NoHandler(handler.clone()))?;
        let mut known = self.known.lock().await;
        let secrets = self.binding.secrets.values();
        let secrets = secrets.filter_map(|secret| broker.bindings().secret_version(realm, secret)).sum();
        if self.secrets.swap(secrets, Ordering::Relaxed) != secrets {
            known.clear();
        }
        let mut shares = Vec::new();
        let mut bound = 0;
        for share in row.is.shares(&self.binding.which) {
            bound += u32::from(share.percent);
            shares.push((bound, self.called(broker, &row.is, &share.digest, &mut known).await?));
        }
        if shares.is_empty() {
            let (Which::Alias(which) | Which::Digest(which)) = self.binding.which.clone();
            return Err(NoProgram::NoVersion { handler: handler.clone(), which });
        }
        let shadow = match &self.binding.shadow {
            Some(which) => match row.is.shares(which).first() {
                Some(share) => Some(self.called(broker, &row.is, &share.digest, &mut known).await?),
                None => None,
            },
            None => None,
        };
        let is_in_use = |called: &Arc<Called>| {
            let mut used = shares.iter().map(|(_, called)| called).chain(&shadow);
            used.any(|used| Arc::ptr_eq(used, called))
        };
        known.retain(|_, called| is_in_use(called));
        let is_new = {
            let before = self.picked.load();
            let digests = |shares: &[(u32, Arc<Called>)]| -> Vec<(u32, Box<str>)> {
                shares.iter().map(|(bound, called)| (*bound, called.digest.clone())).collect()
            };
            digests(&before.shares) != digests(&shares)
        };
        if is_new {
            shares.iter().for_each(|(_, called)| called.forget_record());
        }
        let alias = match &self.binding.which {
            Which::Alias(alias) => row.is.aliases.get(alias),
            Which::Digest(_) => None,
        };
        let guard =
            alias.filter(|alias| alias.guard_percent > 0 && !alias.before.is_empty()).map(|alias| Guard {
                percent: alias.guard_percent,
                calls_min: alias.guard_calls_min.max(1),
                since: alias.since,
            });
        self.picked.store(Arc::new(Picked { shares, shadow, guard }));
        Ok(())
    }

    async fn called(
        &self,
        broker: &Broker,
        handler: &Handler,
        digest: &str,
        known: &mut HashMap<Box<str>, Arc<Called>>,
    ) -> Result<Arc<Called>, NoProgram> {
        if let Some(called) = known.get(digest) {
            return Ok(called.clone());
        }
        let missing = || NoProgram::NoVersion { handler: self.binding.handler.clone(), which: digest.into() };
        let version = handler.version(digest).ok_or_else(missing)?;
        let program = broker.program(&self.name.0, version).await?;
        let settings = settings(broker, &self.name.0, &self.binding, &program)?;
        let pool = Pool::new(&broker.wasm()?, &program, settings);
        let called = Arc::new(Called::new(&self.name.1, version, pool));
        known.insert(digest.into(), called.clone());
        Ok(called)
    }

    /// The version for a key: the same one as long as the shares are. Without a key the message's id decides.
    pub fn pick(&self, key: &[u8], id: u64) -> Option<Arc<Called>> {
        let picked = self.picked.load();
        let (_, first) = picked.shares.first()?;
        if picked.shares.len() == 1 {
            return Some(first.clone());
        }
        let place = if key.is_empty() { id } else { xxh3_64(key) } % 100;
        let found = picked.shares.iter().find(|(bound, _)| place < u64::from(*bound));
        found.map(|(_, called)| called.clone())
    }

    pub fn guard(&self) -> Option<Guard> {
        self.picked.load().guard
    }

    pub fn shadow(&self) -> Option<Arc<Called>> {
        self.picked.load().shadow.clone()
    }
}

/// What the handler finds under its names; a binding that asks for a secret that is not there does not run.
fn settings(
    broker: &Broker,
    realm: &Arc<str>,
    binding: &Binding,
    program: &Program,
) -> Result<Settings, NoProgram> {
    let plain = binding.config.iter().map(|(name, value)| (name.clone(), value.clone()));
    let mut config: HashMap<Box<str>, Box<str>> = plain.collect();
    for (name, secret) in &binding.secrets {
        let value = broker.bindings().secret(realm, secret);
        let value = value.ok_or_else(|| NoProgram::NoSecret(secret.clone()))?;
        config.insert(name.clone(), (*value).clone());
    }
    let mut limits = fitting(&binding.limits, program);
    if binding.source.is_middleware() {
        // It does not wait for an instance: each thread finds one.
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        limits.instances_max = limits.instances_max.max(2 * threads);
    }
    Ok(Settings { limits, config: Arc::new(config) })
}

impl Broker {
    /// What runs programs.
    pub(super) fn wasm(&self) -> Result<Arc<Runtime>, NoProgram> {
        let engine = self.bindings().engine.get().ok_or(NoProgram::NoRuntime)?;
        Ok(engine.runtime()?)
    }

    /// The program of a version: known, or compiled before, or from the store.
    pub(super) async fn program(
        &self,
        realm: &Arc<str>,
        version: &Version,
    ) -> Result<Arc<Program>, NoProgram> {
        let digest = digest_of(&version.digest)?;
        if let Some(program) = self.bindings().programs.lock().get(&digest) {
            return Ok(program.clone());
        }
        let runtime = self.wasm()?;
        let program = match runtime.cached(&digest).await {
            Some(program) => program,
            None => {
                let bytes = self.read_program(realm, &version.digest, version.place, version.bytes).await?;
                if Digest::of(&bytes) != digest {
                    return Err(NoProgram::Damaged);
                }
                runtime.prepare(bytes).await?
            }
        };
        self.bindings().programs.lock().insert(digest, program.clone());
        Ok(program)
    }
}
