//! The runtime of a node: takes uploads, keeps what is compiled, counts what runs.

mod programs;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wasmtime::component::Component;

use crate::cache::{Cache, Found};
use crate::component::{Compiled, compile};
use crate::config::Config;
use crate::digest::Digest;
use crate::engine::Classes;
use crate::guest::Account;
use crate::instance::Source;
use crate::limits::{Limits, Settings};
use crate::metrics::Calls;
use crate::outcome::{Failure, Trap};
use crate::pool::{Idle, Pools, no_instances};
use crate::program::{Linked, Program};
use crate::refused::{Refused, StartError};
use crate::ticker::{Running, Ticker};
use programs::{Programs, contract_of, file_name, header_of};

/// What all handlers of a node share. There are two classes of them: small ones and large ones.
pub struct Runtime {
    config: Arc<Config>,
    classes: Arc<Classes>,
    cache: Option<Arc<Cache>>,
    account: Arc<Account>,
    ticker: Ticker,
    programs: Programs,
    pools: Pools,
    calls: Calls,
    /// One compilation at a time: others wait with their upload in memory, as many as the caller lets in.
    compiling: Arc<tokio::sync::Mutex<()>>,
}

impl Runtime {
    /// Starts both engines and their clock. `cache` is the directory of compiled handlers, made when it is not there;
    /// none = nothing is kept. Does blocking IO.
    pub fn start(config: &Config, cache: Option<&Path>) -> Result<Arc<Runtime>, StartError> {
        let classes = Arc::new(Classes::start(config)?);
        let cache = cache.map(|path| {
            let opened = Cache::open(path, config.cache_bytes_max);
            opened.map(Arc::new).map_err(|source| StartError::Cache { path: path.to_owned(), source })
        });
        let engines = vec![classes.small.engine.clone(), classes.large.engine.clone()];
        let memory = metrics::gauge!("weir_runtime_memory_bytes");
        Ok(Arc::new(Runtime {
            config: Arc::new(config.clone()),
            classes,
            cache: cache.transpose()?,
            account: Arc::new(Account::new(config.memory_bytes_max, memory)),
            ticker: Ticker::start(engines).map_err(StartError::Clock)?,
            programs: Programs::default(),
            pools: Pools::default(),
            calls: Calls::new(),
            compiling: Arc::default(),
        }))
    }

    /// Takes an upload, a component or a core module: checks it, compiles it on a thread of its own, tries to start it,
    /// keeps the compiled code. The same bytes twice are one program.
    pub async fn prepare(&self, bytes: Bytes) -> Result<Arc<Program>, Refused> {
        let taken = self.take(bytes).await;
        if let Err(refused) = &taken {
            metrics::counter!("weir_runtime_refused_total", "reason" => refused.as_str()).increment(1);
        }
        taken
    }

    /// A program from what was compiled before; `None` when it is not there, or is not as it was written.
    pub async fn cached(&self, digest: &Digest) -> Option<Arc<Program>> {
        if let Some(program) = self.programs.get(digest) {
            return Some(program);
        }
        let cache = Arc::clone(self.cache.as_ref()?);
        let (classes, digest) = (Arc::clone(&self.classes), *digest);
        let read = tokio::task::spawn_blocking(move || read_cached(&cache, &classes, digest)).await;
        let found = read.ok().flatten();
        found.map(|program| self.programs.keep(Arc::new(program)))
    }

    async fn take(&self, bytes: Bytes) -> Result<Arc<Program>, Refused> {
        let bytes_max = self.config.upload_bytes_max;
        if bytes.len() > bytes_max {
            return Err(Refused::TooLarge { bytes: bytes.len(), bytes_max });
        }
        let hashed = bytes.clone();
        let digest = blocking(move || Ok(Digest::of(&hashed))).await?;
        let turn = Arc::clone(&self.compiling).lock_owned().await;
        if let Some(program) = self.cached(&digest).await {
            return Ok(program);
        }
        let (config, classes) = (Arc::clone(&self.config), Arc::clone(&self.classes));
        let compiled = blocking(move || {
            // Held to the end of the work, also when nobody waits for it any more.
            let turn = turn;
            let began = Instant::now();
            let compiled = compile(&bytes, &config, &classes)?;
            metrics::histogram!("weir_runtime_compile_seconds").record(began.elapsed().as_secs_f64());
            Ok((compiled, turn))
        });
        let (compiled, _turn) = compiled.await?;
        let Compiled { component, contract, is_large } = compiled;
        let linked = self.classes.get(is_large).link(&contract, &component)?;
        let header = header_of(&contract);
        let program = Arc::new(Program::new(digest, contract, is_large, linked));
        self.try_start(&program).await?;
        self.write_cached(&program, header, component).await;
        Ok(self.programs.keep(program))
    }

    /// Starts the program once, so that a start function that loops or traps is met now.
    async fn try_start(&self, program: &Arc<Program>) -> Result<(), Refused> {
        let mut limits = if program.is_large() { Limits::large() } else { Limits::default() };
        limits.memory_bytes = self.classes.get(program.is_large()).memory_bytes_max;
        limits.time = Duration::ZERO;
        let source = Arc::new(self.source(program, Settings { limits, ..Settings::default() }));
        let _running = self.run();
        loop {
            let failure = match try_source(Arc::clone(&source)).await? {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            match failure {
                Failure::Busy if self.make_room(program.is_large()) => {}
                Failure::Busy => return Err(Refused::NoInstance),
                Failure::Trapped { kind: Trap::Other, text } if text.contains(NOT_OF_TYPE) => {
                    return Err(Refused::WrongType(text));
                }
                Failure::Trapped { kind, text } => return Err(Refused::StartFailed { kind, text }),
                other => return Err(Refused::StartFailed { kind: Trap::Other, text: other.to_string() }),
            }
        }
    }

    async fn write_cached(&self, program: &Arc<Program>, header: String, component: Component) {
        let Some(cache) = self.cache.clone() else { return };
        let class = self.classes.get(program.is_large());
        let name = file_name(&program.digest(), program.is_large(), class.code_hash);
        let written = tokio::task::spawn_blocking(move || {
            let code = component.serialize().map_err(std::io::Error::other)?;
            cache.write(&name, &header, &code)
        });
        let failed = match written.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        metrics::counter!("weir_runtime_cache_write_failures_total").increment(1);
        tracing::warn!(digest = %program.digest(), error = failed, "compiled handler is not kept");
    }

    pub(crate) fn source(&self, program: &Arc<Program>, settings: Settings) -> Source {
        Source {
            class: Arc::clone(self.classes.get(program.is_large())),
            account: Arc::clone(&self.account),
            program: Arc::clone(program),
            settings: Arc::new(settings),
            start_timeout: Duration::from_millis(self.config.start_timeout_ms),
            alive: no_instances(),
        }
    }

    pub(crate) fn know(&self, idle: &Arc<Idle>) {
        self.pools.know(idle);
    }

    pub(crate) fn make_room(&self, is_large: bool) -> bool {
        self.pools.make_room(is_large)
    }

    pub(crate) fn run(&self) -> Running<'_> {
        self.ticker.run()
    }

    pub(crate) fn count<T>(&self, result: &Result<T, Failure>) {
        self.calls.count(result);
    }
}

/// What wasmtime says when an export is not of the type that the world says; it has no type of its own.
const NOT_OF_TYPE: &str = "failed to convert function to given type";

/// Starts an instance and drops it: what needs no fiber on a thread where it may take its time.
async fn try_source(source: Arc<Source>) -> Result<Result<(), Failure>, Refused> {
    match source.program.linked {
        Linked::Middleware(_) => blocking(move || Ok(source.start_here().map(drop))).await,
        _ => Ok(source.start().await.map(drop)),
    }
}

/// Work that takes its time. A panic of the compiler is the upload's fault and costs nobody else anything.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Refused::Compile("the compiler gave up on it".to_owned())))
}

fn read_cached(cache: &Cache, classes: &Classes, digest: Digest) -> Option<Program> {
    let looked =
        |result: &'static str| metrics::counter!("weir_runtime_cache_total", "result" => result).increment(1);
    for is_large in [false, true] {
        let class = classes.get(is_large);
        let name = file_name(&digest, is_large, class.code_hash);
        match cache.read(&name) {
            Found::Nothing => {}
            Found::Damaged => looked("damaged"),
            Found::Code(code) => {
                let program = load(&code, class, digest, is_large);
                looked(if program.is_some() { "hit" } else { "damaged" });
                if program.is_none() {
                    cache.drop_damaged(&name);
                }
                return program;
            }
        }
    }
    looked("miss");
    None
}

fn load(
    code: &crate::cache::Code,
    class: &crate::engine::Class,
    digest: Digest,
    is_large: bool,
) -> Option<Program> {
    let contract = contract_of(code.header())?;
    #[expect(unsafe_code, reason = "the MAC over these bytes says that this node has written them")]
    // SAFETY: `Cache::read` gives only what `Cache::write` was given, which is what `Component::serialize` made.
    let component = unsafe { Component::deserialize(&class.engine, code.compiled()) }.ok()?;
    let linked = class.link(&contract, &component).ok()?;
    Some(Program::new(digest, contract, is_large, linked))
}
