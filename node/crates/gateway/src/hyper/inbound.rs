//! What a client's messages mean: each is one of WAMP's.

use std::borrow::Cow;

use weir_model::Reason;
use weir_wire::hyper::{Body, Command, Data, Options, Outcome, Reply, Request, code};
use weir_wire::wamp::message::{
    Call, CallOptions, Error, ErrorDetails, MessageType, Publish, PublishOptions, Register, RegisterOptions,
    Subscribe, SubscribeOptions, Unregister, Unsubscribe, Yield, YieldOptions,
};
use weir_wire::wamp::{Args, Format, Id, Message, Payload, Raw, Text, Value};

use super::channel::Hyper;
use super::form::json_of;
use crate::connection::Flow;
use crate::wamp::properties::{self, ARGS, Content, EMPTY_LIST, KWARGS};
use crate::wamp::publish;
use crate::wamp::reason::{INVALID_ARGUMENT, INVALID_URI};
use crate::wamp::rpc::{CALLEE_FAILURE, PROGRESS_UNASKED, WHOLE};

/// A PUSH, taken apart.
struct Push<'p, 'a> {
    uri: &'p str,
    body: Body<'a>,
    headers: Option<Raw<'a>>,
    options: &'p Options<'a>,
    ack: bool,
}

/// A call, or an answer to one.
struct Said<'p, 'a> {
    body: Body<'a>,
    headers: Option<Raw<'a>>,
    uri: &'p str,
}

impl Hyper {
    /// One message. `None` = go on with the next; [`Flow::Push`] = it was not taken.
    pub fn request(&mut self, request: &Request<'_>, out: &mut Vec<u8>) -> Option<Flow> {
        // Where the answer has none, nothing is called by this.
        let id = request.id.or(Id::new(1))?;
        match &request.command {
            Command::Login { .. } => {
                self.refuse(request.id, code::INVALID_ARGUMENT, "logged in already", out)
            }
            Command::Echo { data } => {
                let data = Some(data.map_or(Data::Null, Data::Plain));
                Reply::Ok { id, qid: None, data }.append(out);
            }
            Command::Push { uri, body, headers, options, ack } => {
                let push = Push { uri, body: *body, headers: *headers, options, ack: *ack };
                return self.publish(id, &push, out);
            }
            Command::Trace { uri, options } => return self.subscribe(id, uri, options, out),
            Command::Untrace { number } => return self.unsubscribe(id, *number, out),
            Command::Register { uri, options } => return self.register(id, uri, options, out),
            Command::Unregister { number } => {
                let Some(registration) = Id::new(*number) else {
                    self.refuse(Some(id), code::NO_SUCH_REGISTRATION, "there is no such registration", out);
                    return None;
                };
                return self.say(&Message::Unregister(Unregister { request: id, registration }), out);
            }
            Command::Call { uri, body, headers, options } => {
                return self.call(id, &Said { body: *body, headers: *headers, uri }, options, out);
            }
            Command::Yield { number, outcome, data, headers } => {
                return self.answered(*number, *outcome, (*data, *headers), out);
            }
            Command::Confirm => {}
            Command::Goodbye => {
                self.wamp.ended = None;
                return Some(Flow::End);
            }
        }
        None
    }

    /// Has the session take a message of WAMP, and answers as it does.
    fn say(&mut self, message: &Message<'_>, out: &mut Vec<u8>) -> Option<Flow> {
        let mut answers = Vec::new();
        let flow = self.wamp.message(message, &mut answers);
        self.answer(&answers, out);
        flow
    }

    fn publish(&mut self, id: Id, push: &Push<'_, '_>, out: &mut Vec<u8>) -> Option<Flow> {
        let options = PublishOptions {
            acknowledge: push.ack,
            exclude_me: Some(push.options.exclude_me.unwrap_or_default()),
            retain: push.options.retain,
            when: push.options.when,
            watch: push.options.watch,
            will: push.options.will,
            trace: push.options.trace,
            ..PublishOptions::default()
        };
        let payload = match push.body {
            Body::Null | Body::Payload(_) => Payload::default(),
            Body::Value(value) => Payload::args(Args::One(value)),
            Body::Args(list) => Payload::args(Args::All(list)),
        };
        let publish = Publish { request: id, options, topic: push.uri.into(), payload };
        let mut answers = Vec::new();
        let flow = match (self.wamp.topic(push.uri), publish::conditions(&publish.options)) {
            (Err(why), _) => self.wamp.refuse_publish(&publish, INVALID_URI, &why, &mut answers),
            (_, Err(why)) => self.wamp.refuse_publish(&publish, INVALID_ARGUMENT, &why, &mut answers),
            (Ok(topic), Ok(conditions)) => {
                let is_raw = matches!(push.body, Body::Payload(_));
                let content = match publish.options.retain && !is_raw && publish::is_empty(&publish, true) {
                    true => Content::default(),
                    false => content_of(push),
                };
                self.wamp.publish_content(&topic, (id, &publish.options), content, conditions, &mut answers)
            }
        };
        self.answer(&answers, out);
        flow
    }

    fn subscribe(&mut self, id: Id, uri: &str, options: &Options<'_>, out: &mut Vec<u8>) -> Option<Flow> {
        let subscriptions_max = self.wamp.publisher.broker.config().subscriptions_max;
        if self.traces.count() >= subscriptions_max {
            let reason = Reason::Quota.as_str();
            metrics::counter!("weir_gateway_subscriptions_refused_total", "reason" => reason).increment(1);
            self.refuse(Some(id), code::INVALID_ARGUMENT, "too many subscriptions", out);
            return None;
        }
        let wants_retained = options.retained || options.retained_state || options.snapshot;
        self.traces.asked(id, wants_retained);
        let options = SubscribeOptions {
            retained: options.retained,
            retained_state: options.retained_state,
            filter: options.filter,
            after: options.after,
            snapshot: options.snapshot,
            ..SubscribeOptions::default()
        };
        self.say(&Message::Subscribe(Subscribe { request: id, options, topic: uri.into() }), out)
    }

    fn unsubscribe(&mut self, id: Id, qid: u64, out: &mut Vec<u8>) -> Option<Flow> {
        let Some(given_up) = self.traces.give_up(qid) else {
            self.refuse(Some(id), code::NO_SUCH_REGISTRATION, "there is no such subscription", out);
            return None;
        };
        Reply::Ok { id: given_up.id, qid: Some(qid), data: None }.append(out);
        let Some(subscription) = Id::new(u64::from(given_up.number)).filter(|_| given_up.is_last) else {
            Reply::Ok { id, qid: None, data: None }.append(out);
            return None;
        };
        self.say(&Message::Unsubscribe(Unsubscribe { request: id, subscription }), out)
    }

    /// Without a limit of its own a callee is given one task at a time, as fox-wamp has it.
    fn register(&mut self, id: Id, uri: &str, options: &Options<'_>, out: &mut Vec<u8>) -> Option<Flow> {
        let tasks_max = options.tasks_max.map_or(1, |max| u64::try_from(max).unwrap_or(0));
        self.registering.insert(id.get(), uri.to_owned());
        let options = RegisterOptions {
            concurrency: Some(tasks_max),
            reducer: options.reducer,
            ..RegisterOptions::default()
        };
        self.say(&Message::Register(Register { request: id, options, procedure: uri.into() }), out)
    }

    fn call(
        &mut self,
        id: Id,
        said: &Said<'_, '_>,
        options: &Options<'_>,
        out: &mut Vec<u8>,
    ) -> Option<Flow> {
        let wrapped = wrapped(said.body);
        let is_meta = said.uri.starts_with("wamp.");
        let args = match (said.body, wrapped.as_deref()) {
            (Body::Value(list), _) if is_meta && list.is_array() => Some(Args::All(list)),
            (_, Some(list)) => Some(Args::All(Raw::checked(Format::MsgPack, list))),
            (Body::Args(list), None) => Some(Args::All(list)),
            _ => None,
        };
        let unasked = if options.receive_progress { 0 } else { PROGRESS_UNASKED };
        self.wamp.payload_marks = unasked | if wrapped.is_some() { WHOLE } else { 0 };
        let options =
            CallOptions { receive_progress: true, timeout: options.timeout, ..CallOptions::default() };
        let payload = Payload { args, kwargs: said.headers };
        self.say(&Message::Call(Call { request: id, options, procedure: said.uri.into(), payload }), out)
    }

    fn answered(
        &mut self,
        number: u64,
        outcome: Outcome,
        (data, headers): (Option<Raw<'_>>, Option<Raw<'_>>),
        out: &mut Vec<u8>,
    ) -> Option<Flow> {
        let request = Id::new(number)?;
        let value = match (outcome, data) {
            (Outcome::Failed, Some(data)) => Body::Value(data.get("kv").unwrap_or(data)),
            (_, Some(data)) => match data.get("kv") {
                Some(value) if value.is_null() => Body::Null,
                Some(value) => Body::Value(value),
                None => data.get("args").filter(|args| args.is_array()).map_or(Body::Null, Body::Args),
            },
            (_, None) => Body::Null,
        };
        let wrapped = wrapped(value);
        let args = match (value, wrapped.as_deref()) {
            (_, Some(list)) => Some(Args::All(Raw::checked(Format::MsgPack, list))),
            (Body::Args(list), None) => Some(Args::All(list)),
            _ => None,
        };
        self.wamp.payload_marks = if wrapped.is_some() { WHOLE } else { 0 };
        let payload = Payload { args, kwargs: headers };
        let message = match outcome {
            Outcome::Failed => Message::Error(Error {
                request_type: MessageType::Invocation,
                request,
                details: ErrorDetails::default(),
                error: Text::from(CALLEE_FAILURE),
                payload,
            }),
            outcome => {
                let progress = outcome == Outcome::Progress;
                Message::Yield(Yield {
                    request,
                    options: YieldOptions { progress, ..Default::default() },
                    payload,
                })
            }
        };
        self.say(&message, out)
    }
}

/// A value as the list of one that calls carry.
fn wrapped(body: Body<'_>) -> Option<Vec<u8>> {
    /// A list of one, in MessagePack.
    const LIST_OF_ONE: u8 = 0x91;
    let mut list = vec![LIST_OF_ONE];
    match body {
        Body::Value(value) => list.extend_from_slice(value.bytes()),
        Body::Payload(payload) => list.extend_from_slice(payload.bytes()),
        Body::Null | Body::Args(_) => return None,
    }
    Some(list)
}

/// A body as the content of a message.
fn content_of<'a>(push: &Push<'_, 'a>) -> Content<'a> {
    let other = |payload| Content { payload, ..Content::default() };
    let json = |value| Content { payload: Cow::Owned(json_of(value)), is_json: true, properties: None };
    let mut content = match push.body {
        Body::Null => Content::default(),
        Body::Args(list) => properties::body(&Payload::args(Args::All(list))),
        Body::Payload(payload) => match payload.value() {
            Value::Binary(bytes) => other(bytes),
            _ => other(payload.text().map_or(Cow::Borrowed(&b""[..]), into_bytes)),
        },
        Body::Value(value) => match value.value() {
            Value::Binary(_) => properties::body(&Payload::args(Args::One(value))),
            _ => json(value),
        },
    };
    if let Body::Value(value) = push.body
        && value.is_array()
        && value.elements().next().is_none()
    {
        properties::add(&mut content.properties, ARGS, EMPTY_LIST);
    }
    if let Some(headers) = push.headers {
        let text = json_of(headers);
        properties::add(&mut content.properties, KWARGS, &String::from_utf8_lossy(&text));
    }
    content
}

fn into_bytes(text: Text<'_>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}
