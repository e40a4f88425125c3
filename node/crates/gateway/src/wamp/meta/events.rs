//! Meta events: what becomes of sessions, subscriptions and registrations, published once for the whole cluster.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use metrics::counter;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use weir_broker::addressed::SESSION_PREFIX;
use weir_broker::calls::{ChangeKind, RegistrationChange};
use weir_broker::session::testament;
use weir_broker::store::{Owner, SessionKey};
use weir_broker::{Broker, Compat, Realm};
use weir_model::{Message, Principal, Properties, Qos, Topic};

use super::super::channel::Wamp;
use super::super::rpc::convert;
use super::super::subscribe::policy_name;
use super::super::{handshake, properties, subscriptions};
use super::Scope;
use super::nodes::{self, Name, Question, Which};
use super::sessions;

/// Changes of registrations that wait to be published; further ones are not told, and counted
/// (`weir_gateway_wamp_meta_events_dropped_total`).
const CHANGES_MAX: usize = 4096;

/// What becomes of subscriptions.
#[derive(Debug, Clone)]
pub enum Event {
    Created { number: u32 },
    Subscribed { number: u32 },
    Unsubscribed { number: u32 },
    Deleted { number: u32, entry: subscriptions::Entry },
}

/// What is told of a subscription, which may be gone by then.
struct Told {
    name: &'static str,
    args: Json,
    /// It is told only when no other node has this one.
    unless: Option<Which>,
}

/// Answers other nodes and publishes what happens here, from now on and until it is aborted.
pub fn begin(broker: &Broker) -> AbortHandle {
    broker.admin().on_inquiry(nodes::answer);
    broker.admin().on_orphan(orphaned);
    let (sender, mut receiver) = mpsc::channel::<RegistrationChange>(CHANGES_MAX);
    broker.calls().on_change(move |change| {
        if sender.try_send(change).is_err() {
            counter!("weir_gateway_wamp_meta_events_dropped_total").increment(1);
        }
    });
    let tells = broker.clone();
    let telling = tokio::spawn(async move {
        while let Some(change) = receiver.recv().await {
            tell_registration(&tells, change).await;
        }
    });
    telling.abort_handle()
}

impl Wamp {
    /// Publishes what became of subscriptions of this session, in order.
    pub fn tell(&self, events: &[Event]) {
        let (scope, realm) = (self.scope(), self.publisher.realm.clone());
        let told: Vec<Told> = events.iter().filter_map(|event| self.told(&realm, event)).collect();
        if told.is_empty() {
            return;
        }
        tokio::spawn(async move {
            for told in told {
                if let Some(which) = told.unless
                    && scope.is_elsewhere(which).await
                {
                    continue;
                }
                let topic = format!("wamp/subscription/{}", told.name);
                publish(&scope.broker, &realm, &topic, &told.args, None).await;
            }
        });
    }

    /// `None`: nobody hears of it.
    fn told(&self, realm: &Arc<Realm>, event: &Event) -> Option<Told> {
        let session = self.id.get();
        // One that is its session's alone nobody else has.
        let others =
            |entry: &subscriptions::Entry| (entry.manner.own == 0).then(|| Which::Named(Name::of(entry)));
        let (name, args, unless) = match event {
            Event::Created { number } => {
                let entry = subscriptions::get(&realm.name, u64::from(*number))?;
                let created = json!({
                    "id": number,
                    "created": time_of(entry.created.0),
                    "uri": &*entry.uri,
                    "match": policy_name(entry.policy),
                });
                ("on_create", json!([session, created]), others(&entry))
            }
            Event::Subscribed { number } => ("on_subscribe", json!([session, number]), None),
            Event::Unsubscribed { number } => ("on_unsubscribe", json!([session, number]), None),
            Event::Deleted { number, entry } => ("on_delete", json!([session, number]), others(entry)),
        };
        let is_heard = is_heard(&self.publisher.broker, realm, &format!("wamp/subscription/{name}"));
        is_heard.then_some(Told { name, args, unless })
    }
}

impl Scope {
    /// Whether another node has a subscription.
    async fn is_elsewhere(&self, which: Which) -> bool {
        let question = Question::Subscriptions { realm: self.realm.clone(), which, after: 0 };
        let (said, _) = nodes::ask(&self.broker, question, None, &nodes::known).await;
        said.iter().any(|(_, page)| !page.items.is_empty())
    }
}

/// The listener of Hyper, whose sessions speak WAMP in here only.
const HYPER: &str = "hyper";

/// A session has been welcomed.
pub fn joined(channel: &Wamp, listener: &'static str) -> impl Future<Output = ()> + Send + use<> {
    let publisher = &channel.publisher;
    let mut what = sessions::told(channel.id.get(), &publisher.session);
    what["authmethod"] = channel.method.into();
    what["transport"] = match listener {
        HYPER => json!({ "type": HYPER, "protocol": HYPER }),
        _ => json!({
            "type": if listener.starts_with("http") { "websocket" } else { "rawsocket" },
            "protocol": channel.serialization.subprotocol(),
        }),
    };
    let (broker, realm) = (publisher.broker.clone(), publisher.realm.clone());
    let (args, kwargs) = if channel.is_fox() { (json!([]), Some(what)) } else { (json!([what]), None) };
    async move { publish(&broker, &realm, "wamp/session/on_join", &args, kwargs.as_ref()).await }
}

/// A session is over.
pub fn left(channel: &Wamp) -> impl Future<Output = ()> + Send + use<> {
    let publisher = &channel.publisher;
    let (broker, realm, id) = (publisher.broker.clone(), publisher.realm.clone(), channel.id.get());
    let principal = publisher.principal.clone();
    async move { has_left(&broker, &realm, id, Some(&principal)).await }
}

async fn has_left(broker: &Broker, realm: &Arc<Realm>, id: u64, principal: Option<&Principal>) {
    let args = match realm.rules.compat {
        Compat::Fox => json!([id]),
        _ => json!([id, principal.map(handshake::authid), principal.map(handshake::authrole)]),
    };
    publish(broker, realm, "wamp/session/on_leave", &args, None).await;
}

/// A session was lost with its node.
fn orphaned(broker: &Broker, key: &SessionKey, owner: Option<&Arc<Owner>>) {
    let id = key.name.strip_prefix(SESSION_PREFIX).and_then(|id| id.parse().ok());
    let Some(id) = id.filter(|_| !testament::is_testament(key)) else { return };
    let (broker, realm) = (broker.clone(), broker.realm_or_new(&key.realm));
    let principal = owner.map(|owner| owner.principal.clone());
    tokio::spawn(async move {
        has_left(&broker, &realm, id, principal.as_deref()).await;
    });
}

async fn tell_registration(broker: &Broker, change: RegistrationChange) {
    let RegistrationChange { kind, realm, session, registration, procedure, invoke, created_ms } = change;
    let (name, args) = match kind {
        ChangeKind::Created => {
            let created = json!({
                "id": registration,
                "created": time_of(created_ms),
                "uri": convert::uri_of(&procedure),
                "match": convert::match_name(procedure.kind()),
                "invoke": convert::invoke_name(invoke),
            });
            ("on_create", json!([session, created]))
        }
        ChangeKind::Registered => ("on_register", json!([session, registration])),
        ChangeKind::Unregistered => ("on_unregister", json!([session, registration])),
        ChangeKind::Deleted => ("on_delete", json!([session, registration])),
    };
    let realm = broker.realm_or_new(&realm);
    publish(broker, &realm, &format!("wamp/registration/{name}"), &args, None).await;
}

/// Whether anybody hears of it, on whatever node: what other nodes want stands in the routes.
fn is_heard(broker: &Broker, realm: &Realm, topic: &str) -> bool {
    !realm.routes.find(topic, broker.access()).is_empty()
}

/// Publishes an event of the router's own, if anybody wants it.
pub async fn publish(broker: &Broker, realm: &Arc<Realm>, topic: &str, args: &Json, kwargs: Option<&Json>) {
    let Ok(name) = Topic::new(topic) else { return };
    if !is_heard(broker, realm, topic) {
        return;
    }
    let body = match args.as_array().map(Vec::as_slice) {
        Some([one]) if !one.is_array() => one.to_string(),
        _ => args.to_string(),
    };
    let user = kwargs.map(|kwargs| (properties::KWARGS.into(), kwargs.to_string().into()));
    let properties = user.map(|user| Box::new(Properties { user: vec![user], ..Properties::default() }));
    let message = Message {
        topic: name,
        payload: body.into_bytes().into(),
        qos: Qos::AtMostOnce,
        retain: false,
        expires_at: None,
        properties,
    };
    counter!("weir_gateway_wamp_meta_events_total").increment(1);
    broker.publish(realm, &Arc::new(message), None).await;
}

/// As ISO 8601 says it.
pub(super) fn time_of(millis: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(millis)).to_string()
}
