//! What a reducer's binding has of its own, made, ended and built anew: a stream, a group on it and one on its source,
//! and the view.

use std::sync::Arc;

use bytes::Bytes;
use weir_model::Message;
use weir_store::Start;

use super::{own_filter, own_group, own_stream, view_filter};
use crate::binding::definition::{Binding, Reduction, Source};
use crate::binding::manage::HandlerError;
use crate::binding::stream::group_definition;
use crate::broker::Broker;
use crate::clock;
use crate::retained::PageMax;
use crate::stream::definition::Spec;
use crate::stream::group::GroupError;
use crate::stream::manage::StreamError;

/// Rows of a view that are taken away together.
const CLEARED_AT_ONCE: PageMax = PageMax { messages: 500, bytes: 8 << 20, examined: 10_000 };

/// Runs before that are looked for: who was to end them may have died over it.
const LEFT_MAX: u32 = 4;

impl Broker {
    /// Makes the stream and the groups of a run; those that are there stay. `start`: where in the source it begins.
    pub(in super::super) async fn make_own(
        &self,
        realm: &Arc<str>,
        name: &str,
        binding: &Binding,
        start: Start,
    ) -> Result<(), HandlerError> {
        let (Source::Stream { stream, .. }, Some(Reduction { run, .. })) =
            (&binding.source, &binding.reduction)
        else {
            return Ok(());
        };
        let (own, group) = (own_stream(name, *run), own_group(name, *run));
        let partitions = self.streams().get(realm, stream).map_or(1, |source| source.definition.partitions);
        let spec =
            Spec { filters: own_filter(name, *run).into_iter().collect(), partitions, ..Spec::default() };
        self.make_stream(realm, &own, spec).await?;
        self.create_group(realm, &own, &group, group_definition(binding, Start::Earliest)).await?;
        Ok(self.create_group(realm, stream, &group, group_definition(binding, start)).await?)
    }

    /// Ends what a run had, and what those before had that were not ended whole: nothing is mapped or reduced any more.
    pub(in super::super) async fn end_own(
        &self,
        realm: &Arc<str>,
        name: &str,
        binding: &Binding,
    ) -> Result<(), HandlerError> {
        let (Source::Stream { stream, .. }, Some(Reduction { run, .. })) =
            (&binding.source, &binding.reduction)
        else {
            return Ok(());
        };
        for run in run.saturating_sub(LEFT_MAX)..=*run {
            match self.delete_group(realm, stream, &own_group(name, run)).await {
                Ok(()) | Err(GroupError::NoGroup { .. } | GroupError::NoStream { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            match self.end_stream(realm, &own_stream(name, run)).await {
                Ok(()) | Err(StreamError::Unknown { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes every row of the view away.
    pub(in super::super) async fn clear_view(
        &self,
        realm: &Arc<str>,
        name: &str,
    ) -> Result<(), HandlerError> {
        let Some(filter) = view_filter(name) else { return Ok(()) };
        let realm = self.realm_or_new(realm);
        self.store().caught_up().await?;
        let mut after = None;
        loop {
            let page = realm.retained.page(&filter, after.as_ref(), clock::unix(), CLEARED_AT_ONCE);
            for kept in &page.messages {
                let row = Message { payload: Bytes::new(), properties: None, ..Message::clone(kept) };
                self.publish(&realm, &Arc::new(row), None).await;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Builds the states of a reducer's binding anew from `start` on. Nothing is handled while its view is cleared.
    pub(in super::super) async fn rebuild(
        &self,
        realm: &Arc<str>,
        name: &str,
        start: Start,
    ) -> Result<(), HandlerError> {
        let row = self.binding_row(realm, name)?;
        let (before, is_paused) = (row.is.clone(), row.is.is_paused);
        let mut next = (*before).clone();
        if let Some(reduction) = &mut next.reduction {
            reduction.run += 1;
        }
        next.is_paused = true;
        // Groups that wait while the binding does: they are told what it is told.
        self.make_own(realm, name, &next, start).await?;
        self.put_binding(realm, name, &next, row.version).await?;
        self.end_own(realm, name, &before).await?;
        self.clear_view(realm, name).await?;
        self.pause_binding(realm, name, is_paused).await
    }
}
