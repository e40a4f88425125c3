//! One call: a message goes in, and what comes out is made into effects, or into a reason why not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use weir_model::{Message, Properties, UnixMillis};
use weir_runtime::{Call, Failure, Host, Invocation, Level, Limits, Pool, Program};

use super::catalog::Name;
use super::command::Command;
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

/// Why what a program has answered cannot be: told in dead letters and logs.
pub(super) type Wrong = (String, CallResult);

/// One of the questions that programs answer.
pub(super) trait Question: Sync {
    type Answer: PartialEq + Send;

    /// What decides which version is asked.
    fn key(&self) -> &[u8];

    fn ask(&self, pool: &Pool) -> impl Future<Output = Invocation<Self::Answer>> + Send;

    /// What the answer brings about.
    fn judge(&self, work: &Work, answered: Answered<Self::Answer>) -> Result<Effects, Wrong>;
}

/// What a program has said, and what it has set in kv by name.
pub(super) struct Answered<T> {
    pub answer: T,
    pub writes: Vec<(Box<str>, Option<Bytes>)>,
    /// Through how many handlers what follows from it has come.
    pub hops: u32,
}

/// What a binding's calls share on a node.
pub(super) struct Work {
    pub broker: Broker,
    pub name: Name,
    pub binding: Arc<Binding>,
    pub versions: Versions,
    pub journal: Arc<Journal>,
}

impl<'a> Task<'a> {
    /// As the program is given it. `is_deterministic`: clock and random follow from the message.
    pub fn as_call(&self, is_deterministic: bool) -> Call<'a> {
        Call {
            topic: &self.message.topic,
            payload: &self.message.payload,
            key: self.key,
            properties: self.message.properties.as_deref(),
            position: self.position,
            id: self.id,
            published_at: self.published_at,
            attempt: self.attempt,
            now: clock::unix(),
            is_deterministic,
        }
    }
}

impl Work {
    pub fn new(broker: &Broker, name: &Name, binding: &Arc<Binding>) -> Work {
        let journal = broker.bindings().journal(&name.0, &name.1);
        let versions = Versions::new(name.clone(), binding.clone());
        Work { broker: broker.clone(), name: name.clone(), binding: binding.clone(), versions, journal }
    }

    /// Has a command handle one message.
    pub async fn call(&self, task: &Task<'_>, host: &Arc<dyn Host>) -> Outcome {
        self.ask(task, &Command { task, host }).await
    }

    /// Asks the version that is picked about a message.
    pub async fn ask<Q: Question>(&self, task: &Task<'_>, question: &Q) -> Outcome {
        let hops = hops_of(task.message);
        if hops >= HOPS_MAX {
            self.journal.called(CallResult::Looped);
            let reason = format!("the message has come through {hops} handlers: it goes round in a loop");
            return Outcome::Rejected(reason.into());
        }
        let Some(called) = self.versions.pick(question.key(), task.id.1) else {
            self.journal.called(CallResult::Busy);
            return Outcome::Again { after: None, reason: "there is no program to call".into() };
        };
        let invocation = self.invoke(&called, question).await;
        if let Some(shadow) = self.versions.shadow() {
            self.compare(&shadow, &invocation, task, question).await;
        }
        let took = invocation.took;
        let (outcome, result) = match invocation.result {
            Ok(answer) => {
                self.judge(question, Answered { answer, writes: invocation.writes, hops: hops + 1 })
            }
            Err(failure) => failed(failure),
        };
        self.journal.called(result);
        called.count(result, took);
        self.explain(&called, &outcome, result);
        self.guard(&called);
        outcome
    }

    async fn invoke<Q: Question>(&self, called: &Called, question: &Q) -> Invocation<Q::Answer> {
        let mut invocation = question.ask(&called.pool).await;
        self.take_log(called, &mut invocation);
        invocation
    }

    /// Puts the lines that a call has written in the binding's log.
    pub(super) fn take_log<T>(&self, called: &Called, invocation: &mut Invocation<T>) {
        for line in std::mem::take(&mut invocation.log) {
            self.journal.write(line.level, called.number, line.text);
        }
        if invocation.log_dropped > 0 {
            let text = format!("{} lines more were dropped", invocation.log_dropped);
            self.journal.write(Level::Warn, called.number, text);
        }
    }

    fn judge<Q: Question>(&self, question: &Q, answered: Answered<Q::Answer>) -> (Outcome, CallResult) {
        match question.judge(self, answered) {
            Ok(effects) => {
                self.journal.counts.events.fetch_add(effects.owed.len() as u64, Ordering::Relaxed);
                (Outcome::Finished(effects), CallResult::Done)
            }
            Err((reason, result)) => (Outcome::Rejected(reason.into()), result),
        }
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
    async fn compare<Q: Question>(
        &self,
        shadow: &Called,
        first: &Invocation<Q::Answer>,
        task: &Task<'_>,
        question: &Q,
    ) {
        let second = self.invoke(shadow, question).await;
        let is_same = match (&first.result, &second.result) {
            (Ok(a), Ok(b)) => a == b && first.writes == second.writes,
            (Err(a), Err(b)) => CallResult::of(a) == CallResult::of(b),
            _ => false,
        };
        let counts = &self.journal.counts;
        let count = if is_same { &counts.shadow_same } else { &counts.shadow_differs };
        count.fetch_add(1, Ordering::Relaxed);
        if !is_same {
            let told = match &second.result {
                Ok(_) => "another answer".to_owned(),
                Err(failure) => reason(failure).to_string(),
            };
            let text = format!("shadow differs at {}: {told}", task.position.unwrap_or("a live message"));
            self.journal.write(Level::Info, shadow.number, text);
        }
    }

    /// Sets the alias back if too many calls of this version fail.
    pub(super) fn guard(&self, called: &Called) {
        let (Some(guard), Which::Alias(alias)) = (self.versions.guard(), &self.binding.which) else { return };
        let (calls, failures) = called.record();
        let is_wanting = calls >= guard.calls_min
            && u64::from(failures) * 100 > u64::from(calls) * u64::from(guard.percent);
        if !is_wanting || called.is_condemned.swap(true, Ordering::Relaxed) {
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

/// Marks what a message leads to: the trace goes on, unless the handler has begun its own, and the hops are counted.
pub(super) fn mark(cause: &Message, properties: &mut Properties, hops: u32) {
    if let Some(from) = &cause.properties
        && !properties.user.iter().any(|(name, _)| TRACE.contains(&&**name))
    {
        properties.user.extend(from.user.iter().filter(|(name, _)| TRACE.contains(&&**name)).cloned());
    }
    properties.user.retain(|(name, _)| **name != *HOPS);
    properties.user.push((HOPS.into(), hops.to_string().into()));
}

/// What becomes of a message whose call has failed.
fn failed(failure: Failure) -> (Outcome, CallResult) {
    let (result, reason) = (CallResult::of(&failure), reason(&failure));
    let outcome = match failure {
        Failure::Rejected(_) => Outcome::Rejected(reason),
        Failure::Retry(after) => Outcome::Again { after, reason },
        _ => Outcome::Again { after: None, reason },
    };
    (outcome, result)
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
