//! Uploading handlers, and saying which version counts.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use weir_runtime::{Digest, Refused, World};
use weir_store::{Expect, Outcome, ReadError, Refusal, Step, Table, TableOp};

use super::catalog::{Engine, row_key};
use super::definition::{
    Alias, DefinitionError, Handler, LIVE, Share, Source, VERSIONS_MAX, Version, Which, check_handler_name,
};
use super::life::KeeperMsg;
use super::versions::NoProgram;
use crate::broker::Broker;
use crate::clock;
use crate::stream::StreamError;
use crate::stream::group::GroupError;

/// Where middleware stands, in words.
pub(super) const CLIENTS: &str = "the path of clients";

/// How often a change is tried again that somebody else's came in the way of.
const TRIES: usize = 8;

/// Why nothing was done with a handler or a binding. Nothing has changed then, except after [`HandlerError::Store`] with
/// an unknown outcome.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    #[error("there is no handler `{name}`")]
    NoHandler { name: Arc<str> },
    #[error("handler `{handler}` has no version or alias `{which}`")]
    NoVersion { handler: Arc<str>, which: Box<str> },
    #[error("there is no binding `{name}`")]
    NoBinding { name: Arc<str> },
    #[error("there is no stream `{name}`")]
    NoStream { name: Arc<str> },
    #[error("there is no secret `{name}`")]
    NoSecret { name: Arc<str> },
    #[error("there is a binding `{name}` already, and it is another")]
    Exists { name: Arc<str> },
    #[error("the digest of what came is {found}, not {said}: it was changed or cut off on its way")]
    Digest { said: Box<str>, found: Box<str> },
    #[error("handler `{name}` is a {is}; this is a {given}: upload it under another name")]
    World { name: Arc<str>, is: Box<str>, given: &'static str },
    #[error("a {world} cannot be bound to {source_kind}")]
    Source { world: Box<str>, source_kind: &'static str },
    #[error("a {world} has no changelog: only a reducer can take back what it was given")]
    NoReducer { world: Box<str> },
    #[error("a reducer has no `outputs`: its states go to `$view/<binding>/<key>`")]
    ReducerOutputs,
    #[error("binding `{binding}` still uses it")]
    InUse { binding: Arc<str> },
    #[error("alias `{alias}` still names it")]
    Named { alias: Box<str> },
    #[error("alias `{alias}` was nothing else before")]
    NothingBefore { alias: Box<str> },
    #[error("`{what}`: there are {max}, as many as may be")]
    TooMany { what: &'static str, max: usize },
    #[error("somebody else has changed `{name}` meanwhile: look again")]
    Changed { name: Arc<str> },
    #[error(transparent)]
    Program(#[from] Refused),
    #[error(transparent)]
    NoProgram(#[from] NoProgram),
    #[error(transparent)]
    Group(#[from] GroupError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the store did not take it: {0}")]
    Store(#[from] Refusal),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Broker {
    /// Says how this node runs programs, which begins with the first one that is wanted; before it none is. Compiled
    /// programs are kept below `cache`.
    pub fn run_handlers(&self, config: weir_runtime::Config, cache: Option<PathBuf>) {
        if self.bindings().engine.set(Engine::new(config, cache)).is_ok() {
            self.bindings().keeper.cast(KeeperMsg::Look);
        }
    }

    /// Most bytes of a program.
    pub fn upload_bytes_max(&self) -> Result<usize, HandlerError> {
        let engine = self.bindings().engine.get().ok_or(NoProgram::NoRuntime)?;
        Ok(engine.config.upload_bytes_max)
    }

    /// Keeps a program as a version of a handler, which is made if it is new; its first version is `live`. The same
    /// bytes twice are one version. `digest`: what the uploader says it is; empty = it says nothing.
    pub async fn upload_handler(
        &self,
        realm: &Arc<str>,
        name: &str,
        bytes: Bytes,
        digest: &str,
        by: &str,
    ) -> Result<Version, HandlerError> {
        check_handler_name(name)?;
        let found = Digest::of(&bytes).to_string();
        if !digest.is_empty() && !digest.eq_ignore_ascii_case(&found) {
            return Err(HandlerError::Digest { said: digest.into(), found: found.into() });
        }
        let size = bytes.len() as u64;
        let program = self.wasm()?.prepare(bytes.clone()).await?;
        self.bindings().programs.lock().insert(program.digest(), program.clone());
        if let Some(known) = self.known_version(realm, name, &found, program.world())? {
            return Ok(known);
        }
        let place = clock::unix().0 << 16 | rand_bits();
        self.keep_program(realm, &found, place, &bytes).await?;
        let version = Version {
            number: 0,
            digest: found.as_str().into(),
            bytes: size,
            place,
            uploaded_at: clock::unix(),
            uploaded_by: by.into(),
            is_large: program.is_large(),
        };
        let kept = self.add_version(realm, name, version, program.world()).await;
        // Another upload of the same bytes came first, or it was refused: its bytes are nobody's.
        if !kept.as_ref().is_ok_and(|kept| kept.place == place) {
            let _ = self.drop_program(realm, &found, place).await;
        }
        kept
    }

    fn known_version(
        &self,
        realm: &Arc<str>,
        name: &str,
        digest: &str,
        world: World,
    ) -> Result<Option<Version>, HandlerError> {
        let Some(row) = self.bindings().handler(realm, name) else { return Ok(None) };
        if *row.is.world != *world.as_str() {
            let is = row.is.world.clone();
            return Err(HandlerError::World { name: name.into(), is, given: world.as_str() });
        }
        Ok(row.is.version(digest).cloned())
    }

    async fn add_version(
        &self,
        realm: &Arc<str>,
        name: &str,
        version: Version,
        world: World,
    ) -> Result<Version, HandlerError> {
        for _ in 0..TRIES {
            if let Some(known) = self.known_version(realm, name, &version.digest, world)? {
                return Ok(known);
            }
            let before = self.bindings().handler(realm, name);
            let mut handler = before.as_ref().map_or_else(|| Handler::new(world), |row| (*row.is).clone());
            let version = Version { number: handler.next_number(), ..version.clone() };
            let gone = self.make_room(realm, name, &mut handler)?;
            if handler.aliases.is_empty() {
                handler.aliases.insert(LIVE.into(), Alias::whole(&version.digest, clock::unix()));
            }
            handler.versions.push(version.clone());
            if self
                .put_handler_row(
                    Table::Handlers,
                    realm,
                    name,
                    &handler,
                    before.as_ref().map(|row| row.version),
                )
                .await?
            {
                for gone in gone {
                    let _ = self.drop_program(realm, &gone.digest, gone.place).await;
                }
                return Ok(version);
            }
        }
        Err(HandlerError::Changed { name: name.into() })
    }

    /// Lets the oldest versions go that nobody names.
    fn make_room(
        &self,
        realm: &Arc<str>,
        name: &str,
        handler: &mut Handler,
    ) -> Result<Vec<Version>, HandlerError> {
        let mut gone = Vec::new();
        while handler.versions.len() >= VERSIONS_MAX {
            let is_free = |version: &Version| {
                !handler.is_named(&version.digest)
                    && self.binding_of(realm, name, Some(&version.digest)).is_none()
            };
            let oldest = handler.versions.iter().position(is_free);
            let oldest = oldest.ok_or(HandlerError::TooMany { what: "versions", max: VERSIONS_MAX })?;
            gone.push(handler.versions.remove(oldest));
        }
        Ok(gone)
    }

    /// A binding that uses the handler; or this version of it by its digest.
    fn binding_of(&self, realm: &Arc<str>, handler: &str, digest: Option<&str>) -> Option<Arc<str>> {
        let names = |which: &Which| match (which, digest) {
            (_, None) => true,
            (Which::Digest(named), Some(digest)) => **named == *digest,
            (Which::Alias(_), Some(_)) => false,
        };
        let bindings = self.bindings().bindings(realm);
        let mut of_handler = bindings.into_iter().filter(|(_, binding, _)| *binding.handler == *handler);
        of_handler
            .find(|(_, binding, _)| names(&binding.which) || binding.shadow.as_ref().is_some_and(names))
            .map(|(name, ..)| name)
    }

    /// The handlers of a realm, by name.
    pub fn handlers(&self, realm: &str) -> Vec<(Arc<str>, Arc<Handler>)> {
        self.bindings().handlers(realm)
    }

    /// A handler, and the version of its row.
    pub fn handler(&self, realm: &Arc<str>, name: &str) -> Result<(Arc<Handler>, u64), HandlerError> {
        let row = self.bindings().handler(realm, name);
        row.map(|row| (row.is, row.version)).ok_or_else(|| HandlerError::NoHandler { name: name.into() })
    }

    /// Ends a handler with all its versions; one that a binding uses stays.
    pub async fn delete_handler(&self, realm: &Arc<str>, name: &str) -> Result<(), HandlerError> {
        let (handler, version) = self.handler(realm, name)?;
        if let Some(binding) = self.binding_of(realm, name, None) {
            return Err(HandlerError::InUse { binding });
        }
        let op = TableOp::Delete { expect: Expect::Version(version) };
        self.handler_row_op(Table::Handlers, realm, name, op).await?;
        for version in &handler.versions {
            self.drop_program(realm, &version.digest, version.place).await?;
        }
        Ok(())
    }

    /// Ends one version; one that an alias or a binding names stays.
    pub async fn delete_version(
        &self,
        realm: &Arc<str>,
        name: &str,
        digest: &str,
    ) -> Result<(), HandlerError> {
        if let Some(binding) = self.binding_of(realm, name, Some(digest)) {
            return Err(HandlerError::InUse { binding });
        }
        let gone = self
            .change_handler(realm, name, |handler| {
                let missing = || HandlerError::NoVersion { handler: name.into(), which: digest.into() };
                let names = |shares: &[Share]| shares.iter().any(|share| *share.digest == *digest);
                if let Some((alias, _)) = handler.aliases.iter().find(|(_, alias)| names(&alias.shares)) {
                    return Err(HandlerError::Named { alias: alias.clone() });
                }
                handler
                    .aliases
                    .values_mut()
                    .for_each(|alias| alias.before.retain(|share| *share.digest != *digest));
                let at = handler.versions.iter().position(|version| *version.digest == *digest);
                Ok(handler.versions.remove(at.ok_or_else(missing)?))
            })
            .await?;
        Ok(self.drop_program(realm, &gone.digest, gone.place).await?)
    }

    /// Changes a handler's row by what it is now, again as often as somebody else's change comes in the way.
    pub(super) async fn change_handler<T>(
        &self,
        realm: &Arc<str>,
        name: &str,
        change: impl Fn(&mut Handler) -> Result<T, HandlerError>,
    ) -> Result<T, HandlerError> {
        for _ in 0..TRIES {
            let (before, version) = self.handler(realm, name)?;
            let mut handler = (*before).clone();
            let done = change(&mut handler)?;
            if self.put_handler_row(Table::Handlers, realm, name, &handler, Some(version)).await? {
                return Ok(done);
            }
        }
        Err(HandlerError::Changed { name: name.into() })
    }

    /// False when the row is not what it was.
    pub(super) async fn put_handler_row<T: Serialize>(
        &self,
        table: Table,
        realm: &str,
        name: &str,
        row: &T,
        version: Option<u64>,
    ) -> Result<bool, HandlerError> {
        let value = serde_json::to_vec(row).map_err(|_| HandlerError::Store(Refusal::TooLarge))?;
        let expect = version.map_or(Expect::Absent, Expect::Version);
        match self.handler_row_op(table, realm, name, TableOp::Put { value: value.into(), expect }).await {
            Ok(()) => Ok(true),
            Err(HandlerError::Changed { .. }) => {
                // Another node's change, perhaps, that this one has not heard of.
                self.store().caught_up().await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn handler_row_op(
        &self,
        table: Table,
        realm: &str,
        name: &str,
        op: TableOp,
    ) -> Result<(), HandlerError> {
        let step = Step::Table { table, key: row_key(realm, name), op };
        let outcome = self.submit(vec![step]).await.pop().unwrap_or(Err(Refusal::Unknown))?;
        match outcome.first() {
            Some(Outcome::Put { .. }) => Ok(()),
            Some(Outcome::Differs { .. }) => Err(HandlerError::Changed { name: name.into() }),
            _ => Err(Refusal::Unknown.into()),
        }
    }
}

/// Whether a program of this world can have messages from there.
pub(super) fn check_source(world: &str, source: &Source) -> Result<(), HandlerError> {
    let is = |worlds: &[World]| worlds.iter().any(|known| world == known.as_str());
    let fits = match source {
        Source::Live { .. } => is(&[World::Command]),
        Source::Stream { .. } => is(&[World::Command, World::Reducer, World::MergingReducer]),
        Source::Middleware { .. } => is(&[World::Middleware]),
    };
    let source_kind = match source {
        Source::Live { .. } => "live topics",
        Source::Stream { .. } => "a stream",
        Source::Middleware { .. } => CLIENTS,
    };
    if fits { Ok(()) } else { Err(HandlerError::Source { world: world.into(), source_kind }) }
}

/// Tells apart what two nodes begin in one millisecond.
fn rand_bits() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() & 0xffff
}
