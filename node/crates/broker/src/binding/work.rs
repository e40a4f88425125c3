//! One call: a message goes in, and what comes out is made into effects, or into a reason why not.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use weir_model::{Message, Properties, Topic, UnixMillis};
use weir_runtime::{Call, Event, Failure, Host, Invocation, Level, Limits, Program};
use weir_store::{KEPT_KEY_BYTES_MAX, KEPT_VALUE_BYTES_MAX};

use super::catalog::Name;
use super::definition::{Binding, Which};
use super::logs::{CallResult, Journal};
use super::versions::{Called, Versions};
use crate::broker::Broker;
use crate::clock;
use crate::stream::group::Effects;

/// The user property that counts through how many handlers a message has come.
pub const HOPS: &str = "weir-hops";
/// W3C trace context; handed on to what a message leads to.
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

/// Most handlers a message may come through.
const HOPS_MAX: u32 = 16;

/// Bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 1024;

/// A message for a handler.
pub(super) struct Task<'a> {
    pub message: &'a Arc<Message>,
    pub key: &'a [u8],
    /// As text; `None` = it is in no stream.
    pub position: Option<&'a str>,
    pub id: (u64, u64),
    pub published_at: UnixMillis,
    pub attempt: u32,
}

/// What is to become of a message.
#[derive(Debug)]
pub(super) enum Outcome {
    Finished(Effects),
    Again { after: Option<Duration>, reason: Arc<str> },
    Rejected(Arc<str>),
}

/// What a binding's calls share on a node.
pub(super) struct Work {
    pub broker: Broker,
    pub name: Name,
    pub binding: Arc<Binding>,
    pub versions: Versions,
    pub journal: Arc<Journal>,
}

impl Work {
    pub fn new(broker: &Broker, name: &Name, binding: &Arc<Binding>) -> Work {
        let journal = broker.bindings().journal(&name.0, &name.1);
        let versions = Versions::new(name.clone(), binding.clone());
        Work { broker: broker.clone(), name: name.clone(), binding: binding.clone(), versions, journal }
    }

    /// Calls the handler with one message.
    pub async fn call(&self, task: &Task<'_>, host: &Arc<dyn Host>) -> Outcome {
        let hops = hops_of(task.message);
        if hops >= HOPS_MAX {
            self.journal.called(CallResult::Looped);
            let reason = format!("the message has come through {hops} handlers: it goes round in a loop");
            return Outcome::Rejected(reason.into());
        }
        let Some(called) = self.versions.pick(task.key, task.id.1) else {
            self.journal.called(CallResult::Busy);
            return Outcome::Again { after: None, reason: "there is no program to call".into() };
        };
        let invocation = self.invoke(&called, task, host).await;
        if let Some(shadow) = self.versions.shadow() {
            self.compare(&shadow, &invocation, task, host).await;
        }
        let took = invocation.took;
        let (outcome, result) = self.judge(task, invocation, hops);
        self.journal.called(result);
        called.count(result, took);
        self.explain(&called, &outcome, result);
        self.guard(&called);
        outcome
    }

    async fn invoke(&self, called: &Called, task: &Task<'_>, host: &Arc<dyn Host>) -> Invocation<Vec<Event>> {
        let call = Call {
            topic: &task.message.topic,
            payload: &task.message.payload,
            key: task.key,
            properties: task.message.properties.as_deref(),
            position: task.position,
            id: task.id,
            published_at: task.published_at,
            attempt: task.attempt,
            now: clock::unix(),
            is_deterministic: false,
        };
        let mut invocation = called.pool.handle(&call, host).await;
        for line in std::mem::take(&mut invocation.log) {
            self.journal.write(line.level, called.number, line.text);
        }
        if invocation.log_dropped > 0 {
            let text = format!("{} lines more were dropped", invocation.log_dropped);
            self.journal.write(Level::Warn, called.number, text);
        }
        invocation
    }

    fn judge(&self, task: &Task<'_>, invocation: Invocation<Vec<Event>>, hops: u32) -> (Outcome, CallResult) {
        let events = match invocation.result {
            Ok(events) => events,
            Err(failure) => {
                let result = CallResult::of(&failure);
                let reason = reason(&failure);
                let outcome = match failure {
                    Failure::Rejected(_) => Outcome::Rejected(reason),
                    Failure::Retry(after) => Outcome::Again { after, reason },
                    _ => Outcome::Again { after: None, reason },
                };
                return (outcome, result);
            }
        };
        let mut owed = Vec::with_capacity(events.len());
        for event in events {
            match self.message(task.message, event, hops + 1) {
                Ok(message) => owed.push(message),
                Err((reason, result)) => return (Outcome::Rejected(reason.into()), result),
            }
        }
        let mut kept = Vec::with_capacity(invocation.writes.len());
        for (name, value) in invocation.writes {
            let key = kept_key(task.key, &name);
            let bytes = value.as_ref().map_or(0, Bytes::len);
            if key.len() > KEPT_KEY_BYTES_MAX || bytes > KEPT_VALUE_BYTES_MAX {
                let text = format!(
                    "the value `{name}` cannot be kept: its name and the message's key have {} bytes of \
                     {KEPT_KEY_BYTES_MAX}, it has {bytes} of {KEPT_VALUE_BYTES_MAX}",
                    key.len()
                );
                return (Outcome::Rejected(text.into()), CallResult::BadOutput);
            }
            kept.push((key, value));
        }
        self.journal.counts.events.fetch_add(owed.len() as u64, std::sync::atomic::Ordering::Relaxed);
        (Outcome::Finished(Effects { kept, owed }), CallResult::Done)
    }

    /// The event as a message, if the binding may publish it.
    fn message(
        &self,
        cause: &Message,
        event: Event,
        hops: u32,
    ) -> Result<Arc<Message>, (String, CallResult)> {
        let topic = Topic::new(&event.topic);
        let topic = topic.map_err(|error| (format!("`{}`: {error}", event.topic), CallResult::BadOutput))?;
        let may = self.binding.outputs.iter().any(|filter| filter.matches(&topic));
        if !may || topic.starts_with("$SYS") {
            let text = format!("the binding may not publish to `{topic}`: it is not among its outputs");
            return Err((text, CallResult::Forbidden));
        }
        let expires = |seconds| clock::unix().after(Duration::from_secs(u64::from(seconds)));
        let mut properties = event.properties.unwrap_or_default();
        trace(cause, &mut properties);
        properties.user.retain(|(name, _)| **name != *HOPS);
        properties.user.push((HOPS.into(), hops.to_string().into()));
        Ok(Arc::new(Message {
            topic,
            payload: event.payload,
            qos: event.qos,
            retain: event.retain,
            expires_at: event.expiry_seconds.map(expires),
            properties: Some(properties),
        }))
    }

    /// Says in the binding's log what went wrong.
    fn explain(&self, called: &Called, outcome: &Outcome, result: CallResult) {
        let (level, text) = match outcome {
            Outcome::Finished(_) => return,
            Outcome::Rejected(reason) => (Level::Error, format!("{}: {reason}", result.as_str())),
            Outcome::Again { reason, .. } => (Level::Warn, format!("{}: {reason}", result.as_str())),
        };
        self.journal.write(level, called.number, text);
    }

    /// Calls the shadow version too, and compares; nothing of it is kept.
    async fn compare(
        &self,
        shadow: &Called,
        first: &Invocation<Vec<Event>>,
        task: &Task<'_>,
        host: &Arc<dyn Host>,
    ) {
        let second = self.invoke(shadow, task, host).await;
        let is_same = match (&first.result, &second.result) {
            (Ok(a), Ok(b)) => a == b && first.writes == second.writes,
            (Err(a), Err(b)) => CallResult::of(a) == CallResult::of(b),
            _ => false,
        };
        let counts = &self.journal.counts;
        let count = if is_same { &counts.shadow_same } else { &counts.shadow_differs };
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if !is_same {
            let told = match &second.result {
                Ok(events) => format!("{} events", events.len()),
                Err(failure) => reason(failure).to_string(),
            };
            let text = format!("shadow differs at {}: {told}", task.position.unwrap_or("a live message"));
            self.journal.write(Level::Info, shadow.number, text);
        }
    }

    /// Sets the alias back if too many calls of this version fail.
    fn guard(&self, called: &Called) {
        let (Some(guard), Which::Alias(alias)) = (self.versions.guard(), &self.binding.which) else { return };
        let (calls, failures) = called.record();
        let is_wanting = calls >= guard.calls_min
            && u64::from(failures) * 100 > u64::from(calls) * u64::from(guard.percent);
        if !is_wanting || called.is_condemned.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        let text = format!("{failures} of {calls} calls failed: `{alias}` goes back to what it was before");
        self.journal.write(Level::Error, called.number, text);
        let (broker, name, alias) = (self.broker.clone(), self.name.clone(), alias.clone());
        let (handler, since) = (self.binding.handler.clone(), guard.since);
        self.broker.runtime().spawn(async move {
            if let Err(error) = broker.roll_back_alias(&name.0, &handler, &alias, Some(since)).await {
                tracing::warn!(%handler, %error, "an alias whose version fails is not set back");
            }
        });
    }
}

/// The limits of a binding, as this program has them: one with a language of its own has more of what nobody set.
pub(super) fn fitting(limits: &Limits, program: &Program) -> Limits {
    let mut limits = limits.clone();
    if program.is_large() {
        let (small, large) = (Limits::default(), Limits::large());
        if limits.memory_bytes == small.memory_bytes {
            limits.memory_bytes = large.memory_bytes;
        }
        if limits.time == small.time {
            limits.time = large.time;
        }
        if limits.wall_time == small.wall_time {
            limits.wall_time = large.wall_time;
        }
        if limits.instances_max == small.instances_max {
            limits.instances_max = large.instances_max;
        }
    }
    limits
}

/// Under which key a handler's value is kept: that of the message, and the name, which has no NUL.
pub(super) fn kept_key(key: &[u8], name: &str) -> Bytes {
    let mut kept = BytesMut::with_capacity(key.len() + 1 + name.len());
    kept.put_slice(key);
    kept.put_u8(0);
    kept.put_slice(name.as_bytes());
    kept.freeze()
}

fn hops_of(message: &Message) -> u32 {
    let Some(properties) = &message.properties else { return 0 };
    let hops = properties.user.iter().find(|(name, _)| **name == *HOPS);
    hops.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

/// The trace goes on, unless the handler has begun its own.
fn trace(cause: &Message, properties: &mut Properties) {
    let Some(from) = &cause.properties else { return };
    if properties.user.iter().any(|(name, _)| TRACE.contains(&&**name)) {
        return;
    }
    properties.user.extend(from.user.iter().filter(|(name, _)| TRACE.contains(&&**name)).cloned());
}

/// Why a call failed, as dead letters and logs say it.
pub(super) fn reason(failure: &Failure) -> Arc<str> {
    let text = match failure {
        Failure::Rejected(reason) => reason.clone(),
        Failure::Retry(Some(after)) => format!("to be tried again after {} ms", after.as_millis()),
        Failure::Retry(None) => "to be tried again".to_owned(),
        Failure::Trapped { kind, text } => format!("trapped ({}): {text}", kind.as_str()),
        Failure::TooMuchOutput { outputs, bytes } => {
            format!("too much output: {outputs} events of {bytes} bytes together")
        }
        Failure::BadOutput(text) => format!("bad output: {text}"),
        Failure::Busy => "no instance was free in time".to_owned(),
    };
    let end = text.floor_char_boundary(REASON_BYTES_MAX.min(text.len()));
    text[..end].into()
}
