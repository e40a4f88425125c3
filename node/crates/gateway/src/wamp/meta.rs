//! The meta API: procedures of the router's own, and events that it publishes, for a realm in the whole cluster.
//!
//! Each node answers for its own sessions, subscriptions and registrations; the one that is asked puts that together and
//! waits two seconds at most. Nodes that did not answer are named in `incomplete` of the result's named arguments.

pub mod events;
mod history;
mod nodes;
mod registrations;
mod sessions;
mod subscriptions;

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use weir_broker::Broker;
use weir_broker::outbox::Bell;
use weir_model::Qos;
use weir_wire::wamp::message::{Call, CallResult, MessageType, ResultDetails};
use weir_wire::wamp::{Args, Format, Id, Limits, Payload, Raw, Text, uri};

use super::channel::Wamp;
use super::reason::{INVALID_ARGUMENT, NOT_AUTHORIZED};
pub use events::{Event, joined, left};
pub use nodes::answer;
pub use registrations::{is_registered, is_registered_here};
pub use sessions::farewell;

/// Calls of one session that wait for other nodes; one more is refused with `wamp.error.unavailable`.
const WAITING_MAX: usize = 32;

/// What a procedure of the router's answers.
#[derive(Debug)]
pub enum MetaAnswer {
    Result(Json),
    /// Several results, as fox-wamp's clients know it.
    Results(Vec<Json>),
    Failed {
        error: &'static str,
        why: String,
    },
}

/// An answer, and who had no part in it.
#[derive(Debug)]
pub struct Answered {
    pub answer: MetaAnswer,
    /// Nodes that did not answer.
    pub incomplete: Vec<Arc<str>>,
}

impl From<MetaAnswer> for Answered {
    fn from(answer: MetaAnswer) -> Answered {
        Answered { answer, incomplete: Vec::new() }
    }
}

/// What becomes of a call of such a procedure.
pub enum Asking {
    Now(MetaAnswer),
    /// Others are asked first.
    Later(BoxFuture<'static, Answered>),
}

impl Asking {
    fn later(answer: impl Future<Output = Answered> + Send + 'static) -> Asking {
        Asking::Later(Box::pin(answer))
    }
}

/// Answers that are not written yet; at most [`WAITING_MAX`], those still awaited counted.
#[derive(Default)]
pub struct Pending {
    under_way: usize,
    done: Arc<Mutex<Vec<(Id, Answered)>>>,
}

/// Where is asked.
#[derive(Clone)]
struct Scope {
    broker: Broker,
    realm: Arc<str>,
    /// The session that asks.
    id: u64,
}

impl Wamp {
    /// Answers a call of a procedure of the router's own, at once or when other nodes have answered; false: it is none.
    pub fn meta(&mut self, call: &Call<'_>, out: &mut Vec<u8>) -> bool {
        match self.meta_call(&call.procedure, &call.payload) {
            Some(Asking::Now(answer)) => self.answer_meta(call.request, answer.into(), out),
            Some(Asking::Later(answer)) => self.answer_later(call.request, answer, out),
            None => return false,
        }
        true
    }

    fn meta_call(&mut self, procedure: &str, payload: &Payload<'_>) -> Option<Asking> {
        let name = procedure.strip_prefix("wamp.")?;
        let (kind, name) = name.split_once('.')?;
        if !matches!(kind, "session" | "subscription" | "registration") {
            return None;
        }
        let asked = Asked::of(payload);
        if !self.may_call(procedure) {
            return Some(Asking::Now(failed(NOT_AUTHORIZED, "not authorized")));
        }
        match (kind, name) {
            ("session", "add_testament") => Some(self.add_testament(payload, &asked)),
            ("session", "flush_testaments") => Some(self.flush_testaments(&asked)),
            ("session", name) => self.session_meta(name, &asked),
            ("subscription", "get_events") => Some(self.get_events(&asked)),
            ("subscription", name) => self.subscription_meta(name, &asked),
            (_, name) => self.registration_meta(name, &asked),
        }
    }

    /// Whether the policy lets it. Registrations may be asked for by whoever may call the procedure; killing sessions, and
    /// looking at what others do, is publishing to the procedure's topic.
    fn may_call(&self, procedure: &str) -> bool {
        let (access, principal) = (self.publisher.broker.access(), &self.publisher.principal);
        let topic = uri::to_topic_text(procedure);
        if procedure.starts_with("wamp.registration.") {
            return access.may_call(principal, &topic);
        }
        let own = procedure.ends_with("_testament") || procedure.ends_with("_testaments");
        own || access.publish_rights(principal, &topic).allows(Qos::AtMostOnce, false)
    }

    fn scope(&self) -> Scope {
        let publisher = &self.publisher;
        let realm = publisher.realm.name.clone();
        Scope { broker: publisher.broker.clone(), realm, id: self.id.get() }
    }

    /// On a node alone there is nothing to wait for.
    fn answer_later(&mut self, request: Id, mut answer: BoxFuture<'static, Answered>, out: &mut Vec<u8>) {
        if let Some(answered) = answer.as_mut().now_or_never() {
            return self.answer_meta(request, answered, out);
        }
        let pending = self.pending.get_or_insert_default();
        if pending.under_way >= WAITING_MAX {
            let busy = failed("wamp.error.unavailable", "too many calls of the router's procedures wait");
            return self.answer_meta(request, busy.into(), out);
        }
        pending.under_way += 1;
        let (done, session) = (pending.done.clone(), self.publisher.session.clone());
        tokio::spawn(async move {
            let answered = answer.await;
            done.lock().push((request, answered));
            session.outbox.ring(Bell::Progress);
        });
    }

    /// Answers that have come since.
    pub fn meta_wake(&mut self, out: &mut Vec<u8>) {
        let Some(pending) = &mut self.pending else { return };
        let done = std::mem::take(&mut *pending.done.lock());
        pending.under_way -= done.len();
        if pending.under_way == 0 {
            self.pending = None;
        }
        for (request, answered) in done {
            self.answer_meta(request, answered, out);
        }
    }

    /// Writes RESULT, or ERROR.
    fn answer_meta(&mut self, request: Id, answered: Answered, out: &mut Vec<u8>) {
        let Answered { answer, incomplete } = answered;
        let values = match answer {
            MetaAnswer::Failed { error, why } => {
                return self.refuse(out, (MessageType::Call, request), error, &why);
            }
            MetaAnswer::Result(value) => vec![value],
            MetaAnswer::Results(values) => values,
        };
        let text = serde_json::to_vec(&values).unwrap_or_default();
        let named = serde_json::to_vec(&json!({ "incomplete": incomplete })).unwrap_or_default();
        let limits = Limits { message_bytes_max: usize::MAX, items_max: usize::MAX, ..Limits::default() };
        let args = Raw::check(Format::Json, &text, &limits).ok().map(Args::All);
        let kwargs = Raw::check(Format::Json, &named, &limits).ok().filter(|_| !incomplete.is_empty());
        let payload = Payload { args, kwargs };
        let result = CallResult { request, details: ResultDetails::default(), payload };
        if !self.say(out, &weir_wire::wamp::Message::Result(result)) {
            let why = "the answer is too long for the client";
            self.refuse(out, (MessageType::Call, request), "wamp.error.payload_size_exceeded", why);
        }
    }
}

fn failed(error: &'static str, why: &str) -> MetaAnswer {
    MetaAnswer::Failed { error, why: why.to_owned() }
}

fn missing(what: &str) -> MetaAnswer {
    failed(INVALID_ARGUMENT, &format!("{what} is missing"))
}

/// The same, of something that a node that did not answer may know.
fn not_found(error: &'static str, why: &str, incomplete: &[Arc<str>]) -> MetaAnswer {
    match incomplete {
        [] => failed(error, why),
        nodes => failed(error, &format!("{why}; not asked: {}", nodes.join(", "))),
    }
}

/// The arguments of a call.
#[derive(Default)]
pub(super) struct Asked<'a> {
    pub args: Vec<Raw<'a>>,
    pub kwargs: Option<Raw<'a>>,
}

impl<'a> Asked<'a> {
    fn of(payload: &Payload<'a>) -> Asked<'a> {
        let args = match payload.args {
            Some(Args::All(list)) => list.elements().take(8).collect(),
            _ => Vec::new(),
        };
        Asked { args, kwargs: payload.kwargs }
    }

    pub fn number(&self, at: usize) -> Option<u64> {
        self.args.get(at)?.unsigned()
    }

    pub fn text(&self, at: usize) -> Option<Text<'a>> {
        self.args.get(at)?.text()
    }

    pub fn texts(&self, at: usize) -> Option<Vec<String>> {
        let list = self.args.get(at).filter(|list| list.is_array())?;
        Some(list.elements().filter_map(|text| Some(text.text()?.into_owned())).collect())
    }

    pub fn named(&self, name: &str) -> Option<Text<'a>> {
        self.kwargs?.get(name)?.text()
    }
}
