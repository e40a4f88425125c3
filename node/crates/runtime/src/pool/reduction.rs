//! Worlds `reducer` and `merging-reducer`: what a message contributes, what follows from contributions.

use super::Pool;
use super::events::{check_outputs, message, user_properties};
use super::turn::{within, wrong_world};
use crate::bindings::command::weir::handler::types;
use crate::bindings::merging::weir::handler::reduction;
use crate::call::{Call, Change, Moment};
use crate::instance::{Exports, Instance};
use crate::limits::Limits;
use crate::outcome::{Failure, Invocation, Keyed};

/// Longest key of a contribution in bytes.
const KEY_BYTES_MAX: usize = 1_024;

type State = Option<Vec<u8>>;

impl Pool {
    /// What a message contributes.
    pub async fn map(&self, call: &Call<'_>) -> Invocation<Vec<Keyed>> {
        let mut turn = match self.turn().await {
            Ok(turn) => turn,
            Err(failure) => return self.not_called(failure),
        };
        turn.begin(call.clock(), call.seed());
        let answer = within(self.limits().wall_time, mapped(&mut turn.instance, call)).await;
        turn.end(answer.map(|answer| contributions(answer, self.limits())))
    }

    /// The new state of a key; `None` = the key is no more.
    pub async fn reduce(
        &self,
        key: &str,
        state: Option<&[u8]>,
        changes: &[Change<'_>],
        at: Moment,
    ) -> Invocation<Option<Vec<u8>>> {
        let mut turn = match self.turn().await {
            Ok(turn) => turn,
            Err(failure) => return self.not_called(failure),
        };
        turn.begin(at.now, Some(at.id));
        let answer = within(self.limits().wall_time, reduced(&mut turn.instance, key, state, changes)).await;
        turn.end(answer.map(|answer| {
            let state = answer.map_err(Failure::from)?;
            check_outputs(state.iter().map(Vec::len), self.limits())?;
            Ok(state)
        }))
    }

    /// One state from several of the same key; not to be called with none.
    pub async fn merge(&self, key: &str, states: &[&[u8]], at: Moment) -> Invocation<Vec<u8>> {
        let mut turn = match self.turn().await {
            Ok(turn) => turn,
            Err(failure) => return self.not_called(failure),
        };
        turn.begin(at.now, Some(at.id));
        let answer = within(self.limits().wall_time, merged(&mut turn.instance, key, states)).await;
        turn.end(answer.map(|answer| {
            let state = answer.map_err(Failure::from)?;
            check_outputs([state.len()].into_iter(), self.limits())?;
            Ok(state)
        }))
    }
}

async fn mapped(
    instance: &mut Instance,
    call: &Call<'_>,
) -> wasmtime::Result<Result<Vec<reduction::Keyed>, types::Failure>> {
    let user = user_properties(call.properties);
    let message = message(call, &user);
    match &instance.exports {
        Exports::Reducer(exports) => exports.call_map(&mut instance.store, message).await,
        Exports::Merging(exports) => exports.call_map(&mut instance.store, message).await,
        _ => wrong_world(),
    }
}

async fn reduced(
    instance: &mut Instance,
    key: &str,
    state: Option<&[u8]>,
    changes: &[Change<'_>],
) -> wasmtime::Result<Result<State, types::Failure>> {
    let changes: Vec<reduction::Change<'_>> = changes
        .iter()
        .map(|change| reduction::Change { value: change.value, weight: change.weight })
        .collect();
    match &instance.exports {
        Exports::Reducer(exports) => exports.call_reduce(&mut instance.store, key, state, &changes).await,
        Exports::Merging(exports) => exports.call_reduce(&mut instance.store, key, state, &changes).await,
        _ => wrong_world(),
    }
}

async fn merged(
    instance: &mut Instance,
    key: &str,
    states: &[&[u8]],
) -> wasmtime::Result<Result<Vec<u8>, types::Failure>> {
    let Exports::Merging(exports) = &instance.exports else { return wrong_world() };
    exports.call_merge(&mut instance.store, key, states).await
}

fn contributions(
    answer: Result<Vec<reduction::Keyed>, types::Failure>,
    limits: &Limits,
) -> Result<Vec<Keyed>, Failure> {
    let keyed = answer.map_err(Failure::from)?;
    check_outputs(keyed.iter().map(|k| k.key.len() + k.value.len()), limits)?;
    if let Some(long) = keyed.iter().find(|k| k.key.len() > KEY_BYTES_MAX) {
        let bytes = long.key.len();
        return Err(Failure::BadOutput(format!("a key of {bytes} bytes: {KEY_BYTES_MAX} are the most")));
    }
    Ok(keyed.into_iter().map(|k| Keyed { key: k.key.into(), value: k.value.into() }).collect())
}
