//! Binding handlers to topics and streams.

use std::sync::Arc;

use weir_runtime::World;
use weir_store::{Expect, Start, Table, TableOp};

use super::catalog::Row;
use super::definition::{Binding, Reduction, Source, Which};
use super::logs::Journal;
use super::manage::{CLIENTS, HandlerError, check_source};
use super::reduce::own_stream;
use super::stream::{group_definition, group_name};
use crate::broker::Broker;
use crate::clock;
use crate::stream::group::{GroupError, GroupInfo};

/// A binding as an operator sees it.
pub struct BindingInfo {
    pub name: Arc<str>,
    pub binding: Arc<Binding>,
    /// Goes up with every change.
    pub version: u64,
    /// What its calls have come to on this node.
    pub journal: Arc<Journal>,
    /// How far it is in the streams it reads: its source, and of a reducer the one that what is mapped goes through.
    pub groups: Vec<GroupInfo>,
}

impl Broker {
    /// Binds a handler. One that is bound as asked already is left as it is.
    pub async fn bind(&self, realm: &Arc<str>, name: &str, mut binding: Binding) -> Result<(), HandlerError> {
        binding.check(name)?;
        binding.reduction = self.reduction(realm, &binding)?;
        self.check_binding(realm, &binding)?;
        if let Some(row) = self.bindings().binding(realm, name) {
            binding.created_at = row.is.created_at;
            if let (Some(asked), Some(is)) = (&mut binding.reduction, &row.is.reduction) {
                asked.run = is.run;
            }
            return match *row.is == binding {
                true => Ok(()),
                false => Err(HandlerError::Exists { name: name.into() }),
            };
        }
        binding.created_at = clock::unix();
        self.fetch_middleware(realm, &binding).await?;
        if let Source::Stream { stream, start } = &binding.source {
            match binding.reduction {
                Some(_) => self.make_own(realm, name, &binding, *start).await?,
                None => {
                    let definition = group_definition(&binding, *start);
                    self.create_group(realm, stream, &group_name(name, &binding), definition).await?;
                }
            }
        }
        match self.put_handler_row(Table::Bindings, realm, name, &binding, None).await? {
            true => Ok(()),
            false => Err(HandlerError::Exists { name: name.into() }),
        }
    }

    /// Changes a binding; where its messages come from stays as it is, where middleware is asked may change. `version`: the one it was asked for; 0 = any.
    pub async fn alter_binding(
        &self,
        realm: &Arc<str>,
        name: &str,
        version: u64,
        change: impl Fn(&mut Binding),
    ) -> Result<(), HandlerError> {
        let row = self.binding_row(realm, name)?;
        if version != 0 && version != row.version {
            return Err(HandlerError::Changed { name: name.into() });
        }
        let mut binding = (*row.is).clone();
        change(&mut binding);
        if !(binding.source.is_middleware() && row.is.source.is_middleware()) {
            binding.source = row.is.source.clone();
        }
        binding.reduction = row.is.reduction.clone();
        binding.created_at = row.is.created_at;
        if self.reduction(realm, &binding)?.map(|now| now.is_merging)
            != row.is.reduction.as_ref().map(|before| before.is_merging)
        {
            let (handler, _) = self.handler(realm, &binding.handler)?;
            let source_kind = "what another kind of handler has kept";
            return Err(HandlerError::Source { world: handler.world.clone(), source_kind });
        }
        binding.check(name)?;
        self.check_binding(realm, &binding)?;
        if !binding.is_paused {
            self.fetch_middleware(realm, &binding).await?;
        }
        self.put_binding(realm, name, &binding, row.version).await?;
        if let Source::Stream { start, .. } = &binding.source {
            for stream in streams_of(name, &binding) {
                let definition = group_definition(&binding, *start);
                self.alter_group(realm, &stream, &group_name(name, &binding), definition).await?;
            }
        }
        Ok(())
    }

    /// Writes a binding's row, which must be as it was.
    pub(super) async fn put_binding(
        &self,
        realm: &Arc<str>,
        name: &str,
        binding: &Binding,
        version: u64,
    ) -> Result<(), HandlerError> {
        match self.put_handler_row(Table::Bindings, realm, name, binding, Some(version)).await? {
            true => Ok(()),
            false => Err(HandlerError::Changed { name: name.into() }),
        }
    }

    /// How a binding reduces: as it is asked for, and as its handler's world can.
    fn reduction(&self, realm: &Arc<str>, binding: &Binding) -> Result<Option<Reduction>, HandlerError> {
        let (handler, _) = self.handler(realm, &binding.handler)?;
        let is_merging = *handler.world == *World::MergingReducer.as_str();
        if !is_merging && *handler.world != *World::Reducer.as_str() {
            return match binding.reduction {
                Some(_) => Err(HandlerError::NoReducer { world: handler.world.clone() }),
                None => Ok(None),
            };
        }
        if !binding.outputs.is_empty() {
            return Err(HandlerError::ReducerOutputs);
        }
        let asked = binding.reduction.clone().unwrap_or_default();
        Ok(Some(Reduction { is_merging, run: 0, ..asked }))
    }

    fn check_binding(&self, realm: &Arc<str>, binding: &Binding) -> Result<(), HandlerError> {
        let (handler, _) = self.handler(realm, &binding.handler)?;
        check_source(&handler.world, &binding.source)?;
        for which in std::iter::once(&binding.which).chain(&binding.shadow) {
            let is_there = match which {
                Which::Alias(alias) => handler.aliases.contains_key(alias),
                Which::Digest(digest) => handler.version(digest).is_some(),
            };
            let (Which::Alias(which) | Which::Digest(which)) = which.clone();
            if !is_there {
                return Err(HandlerError::NoVersion { handler: binding.handler.clone(), which });
            }
        }
        if let Source::Stream { stream, .. } = &binding.source
            && self.streams().get(realm, stream).is_none()
        {
            return Err(HandlerError::NoStream { name: stream.clone() });
        }
        let missing = binding.secrets.values().find(|secret| self.bindings().secret(realm, secret).is_none());
        match missing {
            Some(name) => Err(HandlerError::NoSecret { name: (&**name).into() }),
            None => Ok(()),
        }
    }

    /// Ends a binding, and what it keeps.
    pub async fn unbind(&self, realm: &Arc<str>, name: &str) -> Result<(), HandlerError> {
        let row = self.binding_row(realm, name)?;
        let op = TableOp::Delete { expect: Expect::Version(row.version) };
        self.handler_row_op(Table::Bindings, realm, name, op).await?;
        if row.is.reduction.is_some() {
            self.end_own(realm, name, &row.is).await?;
            return self.clear_view(realm, name).await;
        }
        if let Source::Stream { stream, .. } = &row.is.source {
            match self.delete_group(realm, stream, &group_name(name, &row.is)).await {
                Ok(()) | Err(GroupError::NoGroup { .. } | GroupError::NoStream { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Nothing is handled until it is taken back. A stream waits; what passes a live binding is not for it.
    pub async fn pause_binding(
        &self,
        realm: &Arc<str>,
        name: &str,
        is_paused: bool,
    ) -> Result<(), HandlerError> {
        self.alter_binding(realm, name, 0, |binding| binding.is_paused = is_paused).await
    }

    /// Has a stream's records handled again, or leaves some out. What a command keeps stays as it is; the states of a
    /// reducer are built anew from there, and its view with them.
    pub async fn replay_binding(
        &self,
        realm: &Arc<str>,
        name: &str,
        start: Start,
    ) -> Result<(), HandlerError> {
        let row = self.binding_row(realm, name)?;
        match &row.is.source {
            Source::Stream { .. } if row.is.reduction.is_some() => self.rebuild(realm, name, start).await,
            Source::Stream { stream, .. } => {
                Ok(self.seek_group(realm, stream, &group_name(name, &row.is), start).await?)
            }
            Source::Live { .. } => {
                Err(HandlerError::Source { world: "replay".into(), source_kind: "live topics" })
            }
            Source::Middleware { .. } => {
                Err(HandlerError::Source { world: "replay".into(), source_kind: CLIENTS })
            }
        }
    }

    /// The bindings of a realm, by name, with the versions of their rows.
    pub fn bindings_of(&self, realm: &str) -> Vec<(Arc<str>, Arc<Binding>, u64)> {
        self.bindings().bindings(realm)
    }

    /// A binding, and what has become of its messages.
    pub async fn binding_info(&self, realm: &Arc<str>, name: &str) -> Result<BindingInfo, HandlerError> {
        let Row { version, is: binding } = self.binding_row(realm, name)?;
        let mut groups = Vec::new();
        for stream in streams_of(name, &binding) {
            groups.extend(self.handler_group(realm, &stream, &group_name(name, &binding)).await);
        }
        let name: Arc<str> = name.into();
        let journal = self.bindings().journal(realm, &name);
        Ok(BindingInfo { name, binding, version, journal, groups })
    }

    async fn handler_group(&self, realm: &Arc<str>, stream: &str, group: &str) -> Option<GroupInfo> {
        let groups = self.groups(realm, stream).await.ok()?;
        groups.into_iter().find(|info| *info.name == *group)
    }

    pub(super) fn binding_row(&self, realm: &Arc<str>, name: &str) -> Result<Row<Binding>, HandlerError> {
        self.bindings().binding(realm, name).ok_or_else(|| HandlerError::NoBinding { name: name.into() })
    }
}

/// The streams that a binding reads.
fn streams_of(name: &str, binding: &Binding) -> Vec<Arc<str>> {
    let Source::Stream { stream, .. } = &binding.source else { return Vec::new() };
    let own = binding.reduction.as_ref().map(|reduction| own_stream(name, reduction.run).into());
    std::iter::once(stream.clone()).chain(own).collect()
}
