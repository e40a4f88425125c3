//! The meta API of sessions and subscriptions: procedures of the router's own, and events that it publishes.
//!
//! Lists and counts are of this node; events reach subscribers on every node.

use std::sync::Arc;

use metrics::counter;
use serde_json::{Value as Json, json};
use weir_broker::addressed::SESSION_PREFIX;
use weir_broker::{Broker, Realm, Session};
use weir_model::{Message, Principal, Properties, Qos, Topic};
use weir_wire::wamp::message::{CallResult, Match, MessageType, ResultDetails};
use weir_wire::wamp::{Args, Format, Id, Limits, Payload, Raw, Text, uri};

use super::channel::Wamp;
use super::reason::{INVALID_ARGUMENT, INVALID_URI, NO_SUCH_SESSION, NO_SUCH_SUBSCRIPTION};
use super::subscribe::policy_name;
use super::testament::Testament;
use super::{handshake, properties, subscriptions};

/// What a procedure of the router's answers.
pub enum MetaAnswer {
    Result(Json),
    /// Several results, as fox-wamp's clients know it.
    Results(Vec<Json>),
    Failed {
        error: &'static str,
        why: String,
    },
}

/// What becomes of subscriptions.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    Created { number: u32 },
    Subscribed { number: u32 },
    Unsubscribed { number: u32 },
    Deleted { number: u32 },
}

/// What a session that is killed carries in its farewell, before the sentence.
const KILLED: &str = "wamp:";

/// The reason and the sentence of a farewell.
pub fn farewell(why: &str) -> (String, String) {
    match why.strip_prefix(KILLED).and_then(|rest| rest.split_once(' ')) {
        Some((uri, why)) => (uri.to_owned(), why.to_owned()),
        None => ("wamp.close.killed".to_owned(), why.to_owned()),
    }
}

impl Wamp {
    /// Answers a call of a procedure of the router's own; `None` = it is none, and others are asked.
    pub fn meta_call(&mut self, procedure: &str, payload: &Payload<'_>) -> Option<MetaAnswer> {
        let name = procedure.strip_prefix("wamp.")?;
        let asked = Asked::of(payload);
        if !self.may_call(procedure) {
            return Some(failed(super::reason::NOT_AUTHORIZED, "not authorized"));
        }
        Some(match name {
            "session.count" => MetaAnswer::Result(self.sessions(&asked).len().into()),
            "session.list" if self.is_fox() => {
                MetaAnswer::Results(self.sessions(&asked).iter().map(|(id, _)| json!(id)).collect())
            }
            "session.list" => {
                MetaAnswer::Result(self.sessions(&asked).iter().map(|(id, _)| json!(id)).collect())
            }
            "session.get" => self.get(&asked),
            "session.kill" => self.kill(&asked),
            "session.kill_by_authid" => self.kill_all(&asked, |asked, principal| {
                asked.text(0).as_deref() == Some(handshake::authid(principal))
            }),
            "session.kill_by_authrole" => self.kill_all(&asked, |asked, principal| {
                asked.text(0).as_deref() == Some(handshake::authrole(principal))
            }),
            "session.kill_all" => self.kill_all(&asked, |_, _| true),
            "session.add_testament" => self.add_testament(payload, &asked),
            "session.flush_testaments" => {
                let count = std::mem::take(&mut self.testaments).len();
                MetaAnswer::Result(count.into())
            }
            "subscription.list" => self.list_subscriptions(|_| true),
            "subscription.match" => match asked.text(0).map(|text| uri::to_topic_text(&text).into_owned()) {
                Some(topic) => {
                    let realm = &self.publisher.realm.name;
                    let found = subscriptions::list(realm, |entry| entry.pattern.matches(&topic));
                    let ids: Vec<Json> = found.iter().map(|(id, _)| json!(id)).collect();
                    MetaAnswer::Result(if ids.is_empty() { Json::Null } else { ids.into() })
                }
                None => failed(INVALID_ARGUMENT, "the topic is missing"),
            },
            "subscription.lookup" => self.lookup(&asked),
            "subscription.get" => self.of_subscription(&asked, |number, entry| {
                json!({
                    "id": number,
                    "created": created(entry),
                    "uri": &*entry.uri,
                    "match": policy_name(entry.policy),
                })
            }),
            "subscription.list_subscribers" => {
                self.of_subscription(&asked, |_, entry| entry.sessions.iter().copied().collect())
            }
            "subscription.count_subscribers" => {
                self.of_subscription(&asked, |_, entry| entry.sessions.len().into())
            }
            _ => return None,
        })
    }

    /// Whether the policy lets it: killing and looking at others is publishing to the procedure's topic.
    fn may_call(&self, procedure: &str) -> bool {
        let topic = uri::to_topic_text(procedure);
        let own = procedure.ends_with("_testament") || procedure.ends_with("_testaments");
        let rights = self.publisher.broker.access().publish_rights(&self.publisher.principal, &topic);
        own || rights.allows(Qos::AtMostOnce, false)
    }

    /// Writes RESULT, or ERROR.
    pub fn answer_meta(&mut self, request: Id, answer: MetaAnswer, out: &mut Vec<u8>) {
        let values = match answer {
            MetaAnswer::Failed { error, why } => {
                return self.refuse(out, (MessageType::Call, request), error, &why);
            }
            MetaAnswer::Result(value) => vec![value],
            MetaAnswer::Results(values) => values,
        };
        let text = serde_json::to_vec(&values).unwrap_or_default();
        let args = Raw::check(Format::Json, &text, &Limits::default()).ok().map(Args::All);
        let payload = Payload { args, kwargs: None };
        let result = CallResult { request, details: ResultDetails::default(), payload };
        self.say(out, &weir_wire::wamp::Message::Result(result));
    }

    /// The sessions of the realm, of these roles if some are given.
    fn sessions(&self, asked: &Asked<'_>) -> Vec<(u64, Arc<Session>)> {
        let roles = asked.texts(0);
        let all = self.publisher.broker.sessions().all(&self.publisher.realm.name);
        let of_wamp = all.into_iter().filter(|session| session.is_online());
        let numbered = of_wamp.filter_map(|session| Some((number_of(&session)?, session)));
        let wanted = numbered.filter(|(_, session)| {
            let role = session.identity().map(|identity| handshake::authrole(&identity.principal).to_owned());
            roles.as_ref().is_none_or(|roles| role.is_some_and(|role| roles.contains(&role)))
        });
        let mut sessions: Vec<_> = wanted.collect();
        sessions.sort_by_key(|(id, _)| *id);
        sessions
    }

    fn find(&self, id: u64) -> Option<Arc<Session>> {
        let name = Arc::from(format!("{SESSION_PREFIX}{id}"));
        let found = self.publisher.broker.sessions().find(&self.publisher.realm.name, &name);
        found.filter(|session| session.is_online())
    }

    fn get(&self, asked: &Asked<'_>) -> MetaAnswer {
        let Some(id) = asked.number(0) else { return failed(INVALID_ARGUMENT, "the session is missing") };
        match self.find(id) {
            Some(session) => MetaAnswer::Result(told(id, &session)),
            None => failed(NO_SUCH_SESSION, "there is no such session on this node"),
        }
    }

    fn kill(&self, asked: &Asked<'_>) -> MetaAnswer {
        let Some(id) = asked.number(0) else { return failed(INVALID_ARGUMENT, "the session is missing") };
        let Some(session) = self.find(id).filter(|_| id != self.id.get()) else {
            return failed(NO_SUCH_SESSION, "there is no such session on this node but one's own");
        };
        match self.end(&session, asked) {
            Ok(()) => MetaAnswer::Result(Json::Null),
            Err(failed) => failed,
        }
    }

    fn kill_all(&self, asked: &Asked<'_>, is_meant: impl Fn(&Asked<'_>, &Principal) -> bool) -> MetaAnswer {
        let mut killed = Vec::new();
        for (id, session) in self.sessions(&Asked::default()) {
            let identity = session.identity();
            let meant = identity.is_some_and(|identity| is_meant(asked, &identity.principal));
            if id == self.id.get() || !meant {
                continue;
            }
            if let Err(failed) = self.end(&session, asked) {
                return failed;
            }
            killed.push(json!(id));
        }
        MetaAnswer::Result(killed.into())
    }

    fn end(&self, session: &Session, asked: &Asked<'_>) -> Result<(), MetaAnswer> {
        let uri = asked.named("reason").unwrap_or_else(|| "wamp.close.killed".into());
        if uri::check(&uri, uri::Rules::default()).is_err() {
            return Err(failed(INVALID_URI, "the reason is no uri"));
        }
        let why = asked.named("message").unwrap_or_default();
        self.publisher.broker.end_connection(session, &format!("{KILLED}{uri} {why}"));
        Ok(())
    }

    fn add_testament(&mut self, payload: &Payload<'_>, asked: &Asked<'_>) -> MetaAnswer {
        if self.testaments.len() >= self.shared.config.wamp.testaments_max {
            return failed("wamp.error.quota_exceeded", "too many testaments");
        }
        let Some(text) = asked.text(0) else { return failed(INVALID_ARGUMENT, "the topic is missing") };
        let topic = match self.topic(&text) {
            Ok(topic) => topic.into_owned(),
            Err(why) => return failed(INVALID_URI, &why),
        };
        let given = Payload {
            args: asked.args.get(1).copied().filter(|args| args.is_array()).map(Args::All),
            kwargs: asked.args.get(2).copied().filter(|kwargs| kwargs.is_map()),
        };
        let options = payload.kwargs.and_then(|kwargs| kwargs.get("publish_options"));
        let is_retained = options.and_then(|options| options.get("retain"));
        let retain = is_retained.is_some_and(|retain| retain.value() == weir_wire::wamp::Value::Bool(true));
        let (body, properties) = properties::body(&given);
        let payload = body.into_owned().into();
        self.testaments.push(Testament { topic: topic.into(), payload, properties, retain });
        MetaAnswer::Result(Json::Null)
    }

    fn list_subscriptions(&self, wanted: impl Fn(&subscriptions::Entry) -> bool) -> MetaAnswer {
        let found = subscriptions::list(&self.publisher.realm.name, wanted);
        let of = |policy: Match| -> Json {
            found.iter().filter(|(_, p)| *p == policy).map(|(id, _)| json!(id)).collect()
        };
        MetaAnswer::Result(json!({
            "exact": of(Match::Exact),
            "prefix": of(Match::Prefix),
            "wildcard": of(Match::Wildcard),
        }))
    }

    fn lookup(&self, asked: &Asked<'_>) -> MetaAnswer {
        let Some(uri) = asked.text(0) else { return failed(INVALID_ARGUMENT, "the topic is missing") };
        let policy = asked.args.get(1).and_then(|options| options.get("match")?.text());
        let policy = match policy.as_deref() {
            Some("prefix") => Match::Prefix,
            Some("wildcard") => Match::Wildcard,
            _ => Match::Exact,
        };
        let number = subscriptions::lookup(&self.publisher.realm.name, &uri, policy);
        MetaAnswer::Result(number.map_or(Json::Null, Json::from))
    }

    fn of_subscription(
        &self,
        asked: &Asked<'_>,
        tell: impl Fn(u64, &subscriptions::Entry) -> Json,
    ) -> MetaAnswer {
        let Some(number) = asked.number(0) else {
            return failed(INVALID_ARGUMENT, "the subscription is missing");
        };
        match subscriptions::get(&self.publisher.realm.name, number) {
            Some(entry) => MetaAnswer::Result(tell(number, &entry)),
            None => failed(NO_SUCH_SUBSCRIPTION, "there is no such subscription on this node"),
        }
    }

    /// Publishes what became of a subscription of this session.
    pub fn tell(&self, event: Event) {
        let session = self.id.get();
        let (name, number) = match event {
            Event::Created { number } => ("on_create", number),
            Event::Subscribed { number } => ("on_subscribe", number),
            Event::Unsubscribed { number } => ("on_unsubscribe", number),
            Event::Deleted { number } => ("on_delete", number),
        };
        let args = match event {
            Event::Created { .. } => {
                let realm = &self.publisher.realm.name;
                let Some(entry) = subscriptions::get(realm, u64::from(number)) else { return };
                let policy = policy_name(entry.policy);
                json!([session, {
                    "id": number, "created": created(&entry), "uri": &*entry.uri, "match": policy,
                }])
            }
            _ => json!([session, number]),
        };
        let (broker, realm) = (self.publisher.broker.clone(), self.publisher.realm.clone());
        let topic = format!("wamp/subscription/{name}");
        tokio::spawn(async move { publish(&broker, &realm, &topic, &args, None).await });
    }
}

/// A session has been welcomed.
pub async fn joined(channel: &Wamp, listener: &'static str) {
    let publisher = &channel.publisher;
    let mut what = told(channel.id.get(), &publisher.session);
    what["authmethod"] = channel.method.into();
    what["transport"] = json!({
        "type": if listener.starts_with("http") { "websocket" } else { "rawsocket" },
        "protocol": channel.serialization.subprotocol(),
    });
    let (broker, realm) = (&publisher.broker, &publisher.realm);
    let (args, kwargs) = if channel.is_fox() { (json!([]), Some(what)) } else { (json!([what]), None) };
    publish(broker, realm, "wamp/session/on_join", &args, kwargs.as_ref()).await;
}

/// A session is over.
pub async fn left(channel: &Wamp) {
    let publisher = &channel.publisher;
    let principal = &publisher.principal;
    let args = match channel.is_fox() {
        true => json!([channel.id.get()]),
        false => json!([channel.id.get(), handshake::authid(principal), handshake::authrole(principal)]),
    };
    publish(&publisher.broker, &publisher.realm, "wamp/session/on_leave", &args, None).await;
}

/// Publishes an event of the router's own, if anybody wants it.
pub async fn publish(broker: &Broker, realm: &Arc<Realm>, topic: &str, args: &Json, kwargs: Option<&Json>) {
    let is_wanted = broker.peers().any() || !realm.routes.find(topic, broker.access()).is_empty();
    let Ok(topic) = Topic::new(topic) else { return };
    if !is_wanted {
        return;
    }
    let body = match args.as_array().map(Vec::as_slice) {
        Some([one]) if !one.is_array() => one.to_string(),
        _ => args.to_string(),
    };
    let user = kwargs.map(|kwargs| (properties::KWARGS.into(), kwargs.to_string().into()));
    let properties = user.map(|user| Box::new(Properties { user: vec![user], ..Properties::default() }));
    let message = Message {
        topic,
        payload: body.into_bytes().into(),
        qos: Qos::AtMostOnce,
        retain: false,
        expires_at: None,
        properties,
    };
    counter!("weir_gateway_wamp_meta_events_total").increment(1);
    broker.publish(realm, &Arc::new(message), None).await;
}

/// A session's own number, if it is one of WAMP.
fn number_of(session: &Session) -> Option<u64> {
    session.client_id().strip_prefix(SESSION_PREFIX)?.parse().ok()
}

/// What is told of a session.
fn told(id: u64, session: &Session) -> Json {
    let identity = session.identity();
    let principal = identity.as_ref().map(|identity| &identity.principal);
    let address = session.origin().map(|origin| format!("{}:{}", origin.address, origin.port));
    json!({
        "session": id,
        "authid": principal.map(|principal| handshake::authid(principal)),
        "authrole": principal.map(|principal| handshake::authrole(principal)),
        "authprovider": "static",
        "transport": { "peer": address },
    })
}

/// As ISO 8601 says it.
fn created(entry: &subscriptions::Entry) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(entry.created.0);
    humantime::format_rfc3339_millis(at).to_string()
}

fn failed(error: &'static str, why: &str) -> MetaAnswer {
    MetaAnswer::Failed { error, why: why.to_owned() }
}

/// The arguments of a call.
#[derive(Default)]
struct Asked<'a> {
    args: Vec<Raw<'a>>,
    kwargs: Option<Raw<'a>>,
}

impl<'a> Asked<'a> {
    fn of(payload: &Payload<'a>) -> Asked<'a> {
        let args = match payload.args {
            Some(Args::All(list)) => list.elements().take(8).collect(),
            _ => Vec::new(),
        };
        Asked { args, kwargs: payload.kwargs }
    }

    fn number(&self, at: usize) -> Option<u64> {
        self.args.get(at)?.unsigned()
    }

    fn text(&self, at: usize) -> Option<Text<'a>> {
        self.args.get(at)?.text()
    }

    fn texts(&self, at: usize) -> Option<Vec<String>> {
        let list = self.args.get(at).filter(|list| list.is_array())?;
        Some(list.elements().filter_map(|text| Some(text.text()?.into_owned())).collect())
    }

    fn named(&self, name: &str) -> Option<Text<'a>> {
        self.kwargs?.get(name)?.text()
    }
}
