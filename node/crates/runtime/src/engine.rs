//! A class of handlers: an engine with a pool of memory for its instances, and what they may import.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use metrics::Gauge;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::bindings::command::weir::handler::{clock, config, kv, log, random, types};
use crate::bindings::merging::weir::handler::reduction;
use crate::bindings::middleware::weir::handler::hooks;
use crate::check::{Contract, SMALL_CORE_INSTANCES_MAX, SMALL_TABLE_ELEMENTS_MAX};
use crate::config::{self as configured, Config};
use crate::guest::Guest;
use crate::program::Linked;
use crate::refused::{Refused, StartError};

/// Bytes of stack that a guest may use; then it has called itself too often.
const STACK_BYTES_MAX: usize = 512 << 10;

/// Bytes of the stack it runs on: those, and what the host's functions take.
const FIBER_BYTES: usize = 1 << 20;

/// A class of handlers.
pub(crate) struct Class {
    pub engine: Engine,
    pub memory_bytes_max: usize,
    alive: Alive,
    plain: Linker<Guest>,
    with_wasi: Linker<Guest>,
    /// What compiled code depends on beside its source.
    pub code_hash: u64,
}

/// How many instances of a class are alive.
struct Alive {
    count: AtomicU32,
    count_max: u32,
    gauge: Gauge,
}

/// Sizes by which the two classes differ.
struct Sizes {
    core_instances: u32,
    core_instance_bytes: usize,
    table_elements: usize,
    tables: u32,
    memories: u32,
}

const SMALL: Sizes = Sizes {
    core_instances: SMALL_CORE_INSTANCES_MAX as u32,
    core_instance_bytes: 1 << 20,
    table_elements: SMALL_TABLE_ELEMENTS_MAX as usize,
    tables: 3,
    memories: 2,
};

const LARGE: Sizes = Sizes {
    core_instances: 64,
    core_instance_bytes: 4 << 20,
    table_elements: 100_000,
    tables: 8,
    memories: 4,
};

impl Class {
    pub fn small(config: &Config) -> Result<Class, StartError> {
        Class::new("small", (&config.of_small(), &SMALL), true)
    }

    pub fn large(config: &Config) -> Result<Class, StartError> {
        Class::new("large", (&config.of_large(), &LARGE), config.compile_parallel)
    }

    fn new(
        name: &'static str,
        (class, sizes): (&configured::Shared, &Sizes),
        compile_parallel: bool,
    ) -> Result<Class, StartError> {
        let failed = |error: wasmtime::Error| StartError::Engine { class: name, text: format!("{error:#}") };
        let engine = Engine::new(&engine_config(class, sizes, compile_parallel)).map_err(failed)?;
        let plain = linker(&engine).map_err(failed)?;
        let mut with_wasi = linker(&engine).map_err(failed)?;
        wasmtime_wasi::p2::add_to_linker_async(&mut with_wasi).map_err(failed)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Class {
            memory_bytes_max: class.instance_memory_bytes_max,
            alive: Alive {
                count: AtomicU32::new(0),
                count_max: class.instances_max,
                gauge: metrics::gauge!("weir_runtime_instances", "class" => name),
            },
            plain,
            with_wasi,
            code_hash: hasher.finish(),
            engine,
        })
    }

    /// Counts one more instance; false when there are as many as may be.
    pub fn begin_instance(&self) -> bool {
        let Alive { count, count_max, gauge } = &self.alive;
        let begun =
            count.try_update(Relaxed, Relaxed, |alive| (alive < *count_max).then_some(alive + 1)).is_ok();
        if begun {
            gauge.increment(1.0);
        }
        begun
    }

    pub fn end_instance(&self) {
        self.alive.count.fetch_sub(1, Relaxed);
        self.alive.gauge.decrement(1.0);
    }

    /// Resolves a component's imports and looks up its exports.
    pub fn link(&self, contract: &Contract, component: &Component) -> Result<Linked, Refused> {
        let linker = if contract.has_wasi { &self.with_wasi } else { &self.plain };
        let linked = linker.instantiate_pre(component);
        Linked::new(contract, linked.map_err(|error| Refused::WrongType(format!("{error:#}")))?)
    }
}

fn engine_config(class: &configured::Shared, sizes: &Sizes, compile_parallel: bool) -> wasmtime::Config {
    let instances = class.instances_max.max(1);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(sizes.core_instances))
        .max_core_instances_per_component(sizes.core_instances)
        .max_core_instance_size(sizes.core_instance_bytes)
        .max_component_instance_size(sizes.core_instance_bytes.saturating_mul(2))
        .total_memories(instances.saturating_mul(sizes.memories))
        .max_memories_per_component(sizes.memories)
        .max_memory_size(class.instance_memory_bytes_max.next_multiple_of(64 << 10))
        .total_tables(instances.saturating_mul(sizes.tables))
        .max_tables_per_component(sizes.tables)
        .table_elements(sizes.table_elements)
        .total_stacks(instances);
    let mut engine = wasmtime::Config::new();
    engine
        .epoch_interruption(true)
        .memory_init_cow(true)
        .parallel_compilation(compile_parallel)
        .max_wasm_stack(STACK_BYTES_MAX)
        .async_stack_size(FIBER_BYTES)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    engine
}

/// Everything that any world may import: which of it one may, was checked by name before.
fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    types::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest: &mut Guest| guest)?;
    reduction::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest: &mut Guest| guest)?;
    hooks::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest: &mut Guest| guest)?;
    kv::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest: &mut Guest| guest)?;
    log::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest: &mut Guest| guest)?;
    config::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest: &mut Guest| guest)?;
    clock::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest: &mut Guest| guest)?;
    random::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest: &mut Guest| guest)?;
    Ok(linker)
}

/// Both classes; a program runs in one of them.
pub(crate) struct Classes {
    pub small: Arc<Class>,
    pub large: Arc<Class>,
}

impl Classes {
    pub fn start(config: &Config) -> Result<Classes, StartError> {
        Ok(Classes { small: Arc::new(Class::small(config)?), large: Arc::new(Class::large(config)?) })
    }

    pub fn get(&self, is_large: bool) -> &Arc<Class> {
        if is_large { &self.large } else { &self.small }
    }
}
