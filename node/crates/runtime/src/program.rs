//! An upload that was taken: compiled, linked, ready to be called.

use crate::bindings::{command, merging, middleware, middleware_wasi, reducer};
use crate::check::Contract;
use crate::digest::Digest;
use crate::guest::Guest;
use crate::refused::Refused;

/// An upload that was taken. Never changes; named by the digest of its bytes.
pub struct Program {
    digest: Digest,
    contract: Contract,
    is_large: bool,
    pub(crate) linked: Linked,
}

/// What a handler is, by what it exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum World {
    /// `handle`: a message in, events out.
    Command,
    /// `map` and `reduce`.
    Reducer,
    /// `map`, `reduce` and `merge`.
    MergingReducer,
    /// `on-connect`, `on-authorize`, `on-publish` and `on-deliver`.
    Middleware,
}

/// Compiled code whose imports are resolved, one kind per way of calling it.
pub(crate) enum Linked {
    Command(command::CommandPre<Guest>),
    Reducer(reducer::ReducerPre<Guest>),
    Merging(merging::MergingReducerPre<Guest>),
    Middleware(middleware::MiddlewarePre<Guest>),
    MiddlewareWasi(middleware_wasi::MiddlewarePre<Guest>),
}

impl Program {
    pub(crate) fn new(digest: Digest, contract: Contract, is_large: bool, linked: Linked) -> Program {
        Program { digest, contract, is_large, linked }
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub fn world(&self) -> World {
        self.contract.world
    }

    /// Whether it runs in the class for what has a language runtime inside.
    pub fn is_large(&self) -> bool {
        self.is_large
    }

    /// The version of `weir:handler` that it was made for, such as `1.0.0`.
    pub fn wit_version(&self) -> &str {
        &self.contract.version
    }

    /// Whether it reads or writes kv at all.
    pub fn has_kv(&self) -> bool {
        self.contract.has_kv
    }

    pub(crate) fn has_wasi(&self) -> bool {
        self.contract.has_wasi
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("digest", &self.digest).field("contract", &self.contract).finish()
    }
}

impl World {
    pub const ALL: [World; 4] = [World::Command, World::Reducer, World::MergingReducer, World::Middleware];

    /// As `handlers-sdk/wit` names it.
    pub fn as_str(self) -> &'static str {
        match self {
            World::Command => "command",
            World::Reducer => "reducer",
            World::MergingReducer => "merging-reducer",
            World::Middleware => "middleware",
        }
    }

    /// What a component of this world must export.
    pub(crate) fn exports(self) -> &'static [&'static str] {
        match self {
            World::Command => &["handle"],
            World::Reducer => &["map", "reduce"],
            World::MergingReducer => &["map", "reduce", "merge"],
            World::Middleware => &["on-connect", "on-authorize", "on-publish", "on-deliver"],
        }
    }

    /// Whether a component of this world may import this interface of `weir:handler`.
    pub(crate) fn may_import(self, interface: &str) -> bool {
        match interface {
            // Names of types, and nothing to call: an SDK may bring those of all worlds.
            "types" | "reduction" | "hooks" => true,
            "log" | "config" | "clock" | "random" => true,
            "kv" => self == World::Command,
            _ => false,
        }
    }
}

impl Linked {
    /// Looks up what the world exports.
    pub fn new(
        contract: &Contract,
        linked: wasmtime::component::InstancePre<Guest>,
    ) -> Result<Linked, Refused> {
        let found = match contract.world {
            World::Command => command::CommandPre::new(linked).map(Linked::Command),
            World::Reducer => reducer::ReducerPre::new(linked).map(Linked::Reducer),
            World::MergingReducer => merging::MergingReducerPre::new(linked).map(Linked::Merging),
            World::Middleware if contract.has_wasi => {
                middleware_wasi::MiddlewarePre::new(linked).map(Linked::MiddlewareWasi)
            }
            World::Middleware => middleware::MiddlewarePre::new(linked).map(Linked::Middleware),
        };
        found.map_err(|error| Refused::WrongType(format!("{error:#}")))
    }
}
