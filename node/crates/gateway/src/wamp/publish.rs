//! PUBLISH: into the one door, and the answer of it.

use std::borrow::Cow;

use weir_broker::form::{self, Publish};
use weir_broker::publication;
use weir_broker::publish::{Answering, Verdict};
use weir_broker::sync::{Condition, Conditions};
use weir_model::{Qos, Reason};
use weir_wire::wamp::message::{self, MessageType, PublishOptions, Published};
use weir_wire::wamp::{Args, Format, Id, Limits, Message, Raw, uri};

use super::channel::Wamp;
use super::properties::{self, Content, PUBLICATION, PUBLISHER, TRACE};
use super::reason::{self, INVALID_ARGUMENT, INVALID_URI};
use crate::connection::{Flow, Work};

/// A URI and the topic it is: most publishers have one.
#[derive(Debug, Default)]
pub struct Named {
    uri: String,
    topic: String,
}

impl Named {
    fn set(&mut self, uri: &str, topic: &str) {
        for (known, new) in [(&mut self.uri, uri), (&mut self.topic, topic)] {
            known.clear();
            known.push_str(new);
        }
    }
}

impl Wamp {
    /// One PUBLISH; [`Flow::Push`] = it was not taken.
    pub fn publish(&mut self, publish: &message::Publish<'_>, out: &mut Vec<u8>) -> Option<Flow> {
        let options = &publish.options;
        let mut named = self.named.take().unwrap_or_default();
        if named.uri != publish.topic {
            match self.topic(&publish.topic) {
                Ok(topic) => named.set(&publish.topic, &topic),
                Err(why) => return self.refuse_publish(publish, INVALID_URI, &why, out),
            }
        }
        let conditions = match conditions(options) {
            Ok(conditions) => conditions,
            Err(why) => return self.refuse_publish(publish, INVALID_ARGUMENT, &why, out),
        };
        let content = match options.retain && is_empty(publish, self.is_fox()) {
            true => Content::default(),
            false => properties::body(&publish.payload),
        };
        let flow = self.publish_content(&named.topic, (publish.request, options), content, conditions, out);
        self.named = Some(named);
        flow
    }

    /// Publishes what is ready for it; [`Flow::Push`] = it was not taken.
    pub fn publish_content(
        &mut self,
        topic: &str,
        (request, options): (Id, &PublishOptions<'_>),
        Content { payload, is_json, mut properties }: Content<'_>,
        conditions: Option<Box<Conditions>>,
        out: &mut Vec<u8>,
    ) -> Option<Flow> {
        if let Some(to) = properties::addressed(options) {
            properties::add(&mut properties, weir_broker::addressed::PROPERTY, &to);
        }
        // fox-wamp's clients are always told who has published.
        if options.disclose_me || self.is_fox() {
            properties::add(&mut properties, PUBLISHER, &self.own_name());
        }
        let answering = match options.acknowledge {
            false => Answering::Nothing,
            // Its position is the fencing token.
            true if options.retain && conditions.is_some() => Answering::Puback(self.ask(request, None)),
            true => {
                let publication = Id::new(form::next_publication())?;
                properties::add(&mut properties, PUBLICATION, &publication.to_string());
                Answering::Puback(self.ask(request, Some(publication)))
            }
        };
        if self.publisher.realm.rules.history_records() > 0 {
            match (options.acknowledge, options.trace) {
                (false, true) => properties::add(&mut properties, TRACE, "yes"),
                (true, false) if self.is_fox() => properties::add(&mut properties, TRACE, "no"),
                _ => {}
            }
        }
        let inner = Publish {
            topic,
            payload: &payload,
            is_json,
            qos: if options.acknowledge { Qos::AtLeastOnce } else { Qos::AtMostOnce },
            retain: options.retain,
            expiry_seconds: None,
            properties,
            conditions,
        };
        let verdict = self.publisher.publish(inner, answering);
        if verdict == Verdict::Hold {
            self.forget(answering);
            return Some(Flow::Push);
        }
        self.completed(answering, verdict, out)
    }

    /// The canonical topic of a URI that may be published to.
    pub fn topic<'a>(&self, text: &'a str) -> Result<Cow<'a, str>, String> {
        if uri::is_reserved(text) {
            return Err("uris below wamp are the router's".to_owned());
        }
        if self.rules.fox && text.split('.').any(|component| matches!(component, "*" | "#")) {
            return Err("uri has a wildcard, which only subscriptions may have".to_owned());
        }
        uri::check(text, self.rules).map_err(|error| error.to_string())?;
        let topic = uri::to_topic_text(text);
        weir_model::topic::check(&topic).map_err(|error| format!("uri as a topic {error}"))?;
        Ok(topic)
    }

    /// Remembers what PUBLISHED will answer; the number it goes by.
    fn ask(&mut self, request: Id, publication: Option<Id>) -> u16 {
        loop {
            self.last_asked = self.last_asked.wrapping_add(1).max(1);
            if !self.asked.contains_key(&self.last_asked) {
                self.asked.insert(self.last_asked, (request, publication));
                return self.last_asked;
            }
        }
    }

    fn forget(&mut self, answering: Answering) -> Option<(Id, Option<Id>)> {
        let Answering::Puback(number) = answering else { return None };
        let asked = self.asked.remove(&number);
        if self.asked.is_empty() {
            self.asked = std::collections::HashMap::new();
        }
        asked
    }

    /// A publish is through: PUBLISHED, or why not.
    pub fn completed(&mut self, answering: Answering, verdict: Verdict, out: &mut Vec<u8>) -> Option<Flow> {
        match verdict {
            Verdict::Waiting | Verdict::Hold => return None,
            Verdict::Lost => {
                let uri = reason::uri(Reason::Unavailable, false);
                return Some(self.abort(
                    uri,
                    Reason::Unavailable,
                    "what became of a publish is not known",
                    out,
                ));
            }
            _ => {}
        }
        let (why, position) = (self.publisher.why(), self.publisher.position());
        let (request, publication) = self.forget(answering)?;
        match verdict {
            Verdict::Refused(reason) => {
                let why = why.map_or_else(|| reason.to_string(), |why| why.to_string());
                let uri = reason::uri(reason, self.is_fox());
                self.refuse(out, (MessageType::Publish, request), uri, &why);
            }
            _ => {
                let of_position = || position.map_or_else(publication::next, publication::of);
                let publication = publication.or_else(|| Id::new(of_position()))?;
                self.say(out, &Message::Published(Published { request, publication }));
            }
        }
        None
    }

    pub fn refuse_publish(
        &mut self,
        publish: &message::Publish<'_>,
        error: &str,
        why: &str,
        out: &mut Vec<u8>,
    ) -> Option<Flow> {
        let refused = Publish {
            topic: "",
            payload: b"",
            is_json: false,
            qos: Qos::AtMostOnce,
            retain: false,
            expiry_seconds: None,
            properties: None,
            conditions: None,
        };
        let reason = if error == INVALID_URI { Reason::TopicInvalid } else { Reason::ConditionInvalid };
        self.publisher.turn_away(&refused, reason);
        if publish.options.acknowledge {
            self.refuse(out, (MessageType::Publish, publish.request), error, why);
        }
        None
    }

    /// Who this is, for those it discloses itself to.
    fn own_name(&self) -> String {
        let principal = &self.publisher.principal;
        let publisher = properties::Publisher {
            id: self.id.get(),
            authid: super::handshake::authid(principal).into(),
            authrole: super::handshake::authrole(principal).into(),
        };
        serde_json::to_string(&publisher).unwrap_or_default()
    }

    /// The match the next PUBLISH waits for, if it takes long.
    pub fn long_match(&mut self) -> Option<Flow> {
        let making = self.publisher.long_match()?;
        Some(Flow::Work(Box::pin(async { Box::new(making.await) as Work })))
    }
}

/// JSON that is a list, as arguments.
pub fn json_args(json: &[u8]) -> Option<Args<'_>> {
    Raw::check(Format::Json, json, &Limits::default()).ok().map(Args::All)
}

/// Whether a retained publish takes the value away: one without arguments, and in fox-wamp's realms a false one.
pub fn is_empty(publish: &message::Publish<'_>, fox: bool) -> bool {
    use weir_wire::wamp::Value;
    use weir_wire::wamp::value::{Body, body};
    match body(&publish.payload) {
        Body::Null => fox || publish.payload.kwargs.is_none_or(|kwargs| kwargs.entries().next().is_none()),
        Body::One(value) => match value.value() {
            Value::Null => true,
            Value::Bool(value) => fox && !value,
            Value::Unsigned(value) => fox && value == 0,
            Value::Float(value) => fox && value == 0.0,
            Value::Text(text) => fox && text.is_empty(),
            _ => false,
        },
        _ => false,
    }
}

/// On what a publish depends (fox-wamp's `when`, `watch` and `will`).
pub fn conditions(options: &PublishOptions<'_>) -> Result<Option<Box<Conditions>>, String> {
    if options.when.is_none() && options.will.is_none() && !options.watch {
        return Ok(None);
    }
    let mut conditions = Conditions { watch: options.watch, ..Conditions::default() };
    if let Some(when) = options.when {
        let parsed = Condition::parse(&json_of(when));
        conditions.when = Some(parsed.map_err(|error| format!("when: {error}"))?);
    }
    if let Some(will) = options.will {
        let text = json_of(will);
        let text = if matches!(&*text, "false" | "0" | "\"\"") { "null" } else { &text };
        conditions.will = Some(Conditions::will_of(text).ok_or("will: it is no value")?);
    }
    Ok(Some(conditions).filter(|conditions| !conditions.is_empty()).map(Box::new))
}

/// A value as JSON text.
pub fn json_of(raw: Raw<'_>) -> String {
    let mut text = Vec::new();
    raw.append_as(&mut text, Format::Json);
    String::from_utf8_lossy(&text).into_owned()
}
