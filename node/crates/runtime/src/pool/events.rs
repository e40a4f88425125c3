//! World `command`: a message in, events out.

use std::sync::Arc;
use std::time::Duration;

use weir_model::{Properties, Qos};

use super::Pool;
use super::turn::{within, wrong_world};
use crate::bindings::command::weir::handler::types;
use crate::call::{Call, Host};
use crate::instance::{Exports, Instance};
use crate::limits::Limits;
use crate::outcome::{Event, Failure, Invocation};

impl Pool {
    /// Handles one message. Dropping the future gives the call up: its instance goes, nothing of it remains.
    pub async fn handle(&self, call: &Call<'_>, host: &Arc<dyn Host>) -> Invocation<Vec<Event>> {
        let mut turn = match self.turn().await {
            Ok(turn) => turn,
            Err(failure) => return self.not_called(failure),
        };
        turn.begin(call.clock(), call.seed());
        if self.program().has_kv() {
            turn.give(host, call.key);
        }
        let answer = within(self.limits().wall_time, handled(&mut turn.instance, call)).await;
        turn.end(answer.map(|answer| read(answer, self.limits())))
    }
}

async fn handled(
    instance: &mut Instance,
    call: &Call<'_>,
) -> wasmtime::Result<Result<Vec<types::Event>, types::Failure>> {
    let Exports::Command(exports) = &instance.exports else { return wrong_world() };
    let user = user_properties(call.properties);
    exports.call_handle(&mut instance.store, message(call, &user)).await
}

/// The message as the contract has it; borrowed throughout.
pub(super) fn message<'a>(call: &Call<'a>, user: &'a [(&'a str, &'a str)]) -> types::Message<'a> {
    types::Message {
        topic: call.topic,
        payload: call.payload,
        key: call.key,
        content_type: call.properties.and_then(|p| p.content_type.as_deref()),
        response_topic: call.properties.and_then(|p| p.response_topic.as_deref()),
        correlation_data: call.properties.and_then(|p| p.correlation_data.as_deref()),
        user_properties: user,
        position: call.position,
        id: call.id,
        published_at: call.published_at.0,
        attempt: call.attempt,
    }
}

pub(super) fn user_properties(properties: Option<&Properties>) -> Vec<(&str, &str)> {
    properties.map_or_else(Vec::new, |p| p.user.iter().map(|(name, value)| (&**name, &**value)).collect())
}

/// The events of an answer, if they are as many and as large as they may be.
fn read(answer: Result<Vec<types::Event>, types::Failure>, limits: &Limits) -> Result<Vec<Event>, Failure> {
    let events = answer.map_err(Failure::from)?;
    check_outputs(events.iter().map(size_bytes), limits)?;
    events.into_iter().map(event).collect()
}

/// Whether outputs of these sizes are within the limits.
pub(super) fn check_outputs(
    sizes: impl ExactSizeIterator<Item = usize>,
    limits: &Limits,
) -> Result<(), Failure> {
    let outputs = sizes.len();
    let bytes = sizes.fold(0, usize::saturating_add);
    match outputs <= limits.outputs_max && bytes <= limits.output_bytes_max {
        true => Ok(()),
        false => Err(Failure::TooMuchOutput { outputs, bytes }),
    }
}

fn size_bytes(event: &types::Event) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let user: usize = event.user_properties.iter().map(|(name, value)| name.len() + value.len()).sum();
    let correlation = event.correlation_data.as_ref().map_or(0, Vec::len);
    let properties = text(&event.content_type) + text(&event.response_topic) + correlation + user;
    event.topic.len() + event.payload.len() + properties
}

fn event(event: types::Event) -> Result<Event, Failure> {
    let qos = qos(event.qos)?;
    let has_properties = event.content_type.is_some()
        || event.response_topic.is_some()
        || event.correlation_data.is_some()
        || !event.user_properties.is_empty();
    let properties = has_properties.then(|| {
        Box::new(Properties {
            payload_is_utf8: false,
            content_type: event.content_type.map(Into::into),
            response_topic: event.response_topic.map(Into::into),
            correlation_data: event.correlation_data.map(Into::into),
            user: boxed(event.user_properties),
        })
    });
    Ok(Event {
        topic: event.topic.into(),
        payload: event.payload.into(),
        qos,
        retain: event.retain,
        properties,
        expiry_seconds: event.expiry_seconds,
    })
}

pub(super) fn qos(bits: u8) -> Result<Qos, Failure> {
    Qos::from_bits(bits)
        .ok_or_else(|| Failure::BadOutput(format!("qos {bits}: there are 0, 1 and 2 (MQTT-4.3)")))
}

pub(super) fn boxed(pairs: Vec<(String, String)>) -> Vec<(Box<str>, Box<str>)> {
    pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

impl Call<'_> {
    pub(super) fn clock(&self) -> weir_model::UnixMillis {
        if self.is_deterministic { self.published_at } else { self.now }
    }

    pub(super) fn seed(&self) -> Option<(u64, u64)> {
        self.is_deterministic.then_some(self.id)
    }
}

impl From<types::Failure> for Failure {
    fn from(failure: types::Failure) -> Failure {
        match failure {
            types::Failure::Reject(reason) => Failure::Rejected(reason),
            types::Failure::Retry(after) => Failure::Retry(after.map(Duration::from_millis)),
        }
    }
}
