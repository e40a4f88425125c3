//! Middleware: programs that are asked, in the path of connections and messages, whether these go on.
//!
//! A realm has a [`Chain`]. Who stands in the path asks it: a gateway before it accepts a client ([`Broker::on_connect`])
//! or a subscription, the door ([`crate::publish`]) about every topic and message, and whoever makes a packet for one
//! receiver. Where nobody wants to be asked that costs one load ([`Chain::wants`]). Calls are made here and now, on the
//! thread that asks, within the time of the binding.

mod asked;
mod chain;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use metrics::counter;
use weir_model::{Filter, Message, Properties, Qos, Reason, Topic};
use weir_runtime::{Action, Changed, Passing};
use weir_store::{Table, TableRow};

use super::definition::{Binding, Hook};
use super::manage::HandlerError;
use super::work::Work;
use crate::broker::Broker;
use crate::form::Publish;
use crate::realm::Realm;
use crate::session::Session;
use asked::Question;
pub use chain::Chain;

/// Who acts, as middleware is told.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    pub client_id: &'a str,
    /// Who it has proved to be; `None` = anonymous.
    pub user: Option<&'a str>,
    pub realm: &'a str,
    /// `mqtt`, .., or [`GRPC`].
    pub protocol: &'static str,
    /// Of its connection; `None` = it has none any more.
    pub address: Option<IpAddr>,
}

/// Bytes of a content type, or of a user property's name or value.
const TEXT_BYTES_MAX: usize = u16::MAX as usize;

/// The protocol of those who publish by the administration's gRPC.
pub const GRPC: &str = "grpc";

/// Middleware does not let something pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// [`Reason::NotAuthorized`] = it says no, or has failed; [`Reason::Busy`] = it could not be asked, and it may be
    /// worth to try again.
    pub reason: Reason,
    /// For the client: at most 256 bytes, without control characters.
    pub why: Arc<str>,
}

/// What a right came to.
#[derive(Debug, Default)]
pub struct Verdict {
    pub refusal: Option<Refusal>,
    /// Somebody could not be asked, or failed: it does not hold for the next time.
    pub is_unsure: bool,
}

/// A message as middleware has left it.
pub struct Altered {
    pub topic: Topic,
    pub payload: Bytes,
    pub qos: Qos,
    pub retain: bool,
    pub properties: Option<Box<Properties>>,
}

impl<'a> Who<'a> {
    /// The client of a session.
    pub fn of(broker: &Broker, session: &'a Session, user: Option<&'a str>) -> Who<'a> {
        Who {
            client_id: session.client_id(),
            user,
            realm: &session.key.realm,
            protocol: broker.form(session.form()).protocol(),
            address: session.origin().map(|origin| origin.address),
        }
    }
}

impl Chain {
    /// Whether a client's connection may be accepted.
    fn on_connect(&self, who: &Who<'_>) -> Result<(), Refusal> {
        let question = Question { hook: Hook::Connect, who, topic: "" };
        let links = self.links();
        let mut links = links.iter().filter(|link| link.is_asked(Hook::Connect));
        links.try_for_each(|link| {
            let asked =
                link.ask(&question, |pool, client, now| pool.on_connect(client, now).map(Into::into), never);
            asked.map(drop).map_err(|failed| failed.refusal)
        })
    }

    /// Whether a client may publish to a topic. Called where [`Chain::wants`] says so.
    pub fn on_publish_to(&self, who: &Who<'_>, topic: &str) -> Verdict {
        self.on_authorize(who, Action::Publish, topic, |link| link.covers(topic))
    }

    /// Whether a client may subscribe with a filter: all are asked who are asked about a topic that it matches.
    pub fn on_subscribe(&self, who: &Who<'_>, filter: &Filter) -> Verdict {
        if !self.wants(Hook::Authorize) {
            return Verdict::default();
        }
        self.on_authorize(who, Action::Subscribe, filter.as_str(), |link| link.meets(filter))
    }

    fn on_authorize(
        &self,
        who: &Who<'_>,
        action: Action,
        topic: &str,
        is_meant: impl Fn(&chain::Link) -> bool,
    ) -> Verdict {
        let question = Question { hook: Hook::Authorize, who, topic };
        let mut is_unsure = false;
        for link in self.links().iter().filter(|link| link.is_asked(Hook::Authorize) && is_meant(link)) {
            let asked = link.ask(
                &question,
                |pool, client, now| pool.on_authorize(client, action, topic, now).map(Into::into),
                never,
            );
            match asked {
                Ok(passed) => is_unsure |= passed.is_unsure,
                Err(failed) => {
                    return Verdict { is_unsure: failed.is_unsure, refusal: Some(failed.refusal) };
                }
            }
        }
        Verdict { refusal: None, is_unsure }
    }

    /// What becomes of a message that a client publishes to `topic`; `None` = it goes on as it is.
    pub fn on_publish(
        &self,
        broker: &Broker,
        who: &Who<'_>,
        topic: &str,
        publish: &Publish<'_>,
    ) -> Result<Option<Altered>, Refusal> {
        let passing = Passing {
            topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            properties: publish.properties.as_deref(),
        };
        self.passed(Hook::Publish, who, passing, |changed, properties| {
            let topic =
                Topic::new(&changed.topic).map_err(|error| format!("`{}`: {error}", changed.topic))?;
            match broker.config().allows_depth(&topic) {
                true => Ok(Altered::of(topic, changed, properties)),
                false => Err(format!("`{topic}`: too many levels")),
            }
        })
    }

    /// What becomes of a message on its way to one receiver; `None` = it goes as it is.
    fn on_deliver(&self, who: &Who<'_>, message: &Message) -> Result<Option<Altered>, Refusal> {
        let passing = Passing {
            topic: &message.topic,
            payload: &message.payload,
            qos: message.qos,
            retain: message.retain,
            properties: message.properties.as_deref(),
        };
        self.passed(Hook::Deliver, who, passing, |changed, properties| {
            let altered = Altered::of(message.topic.clone(), changed, properties);
            Ok(Altered { qos: message.qos, retain: message.retain, ..altered })
        })
    }

    /// Each is asked about what the one before has left.
    fn passed(
        &self,
        hook: Hook,
        who: &Who<'_>,
        first: Passing<'_>,
        read: impl Fn(Changed, Option<&Properties>) -> Result<Altered, String>,
    ) -> Result<Option<Altered>, Refusal> {
        let mut altered: Option<Altered> = None;
        for link in self.links().iter().filter(|link| link.is_asked(hook)) {
            let passing = altered.as_ref().map_or(first, Altered::passing);
            if !link.covers(passing.topic) {
                continue;
            }
            let question = Question { hook, who, topic: passing.topic };
            let asked = link.ask(
                &question,
                |pool, client, now| match hook {
                    Hook::Deliver => pool.on_deliver(client, &passing, now).map(Into::into),
                    _ => pool.on_publish(client, &passing, now).map(Into::into),
                },
                |changed| sound(&changed).and_then(|()| read(changed, passing.properties)),
            );
            if let Some(next) = asked.map_err(|failed| failed.refusal)?.altered {
                altered = Some(next);
            }
        }
        Ok(altered)
    }
}

/// Whether its texts can be sent at all (MQTT-1.5.4).
fn sound(changed: &Changed) -> Result<(), String> {
    let user = changed.user.iter().flat_map(|(name, value)| [name, value]);
    match user.chain(&changed.content_type).find(|text| text.len() > TEXT_BYTES_MAX || text.contains('\0')) {
        Some(_) => Err(format!("a property has more than {TEXT_BYTES_MAX} bytes, or a NUL")),
        None => Ok(()),
    }
}

/// There is nothing to change.
fn never(_: Changed) -> Result<Altered, String> {
    Err("there is no message that could be changed".to_owned())
}

impl Altered {
    /// `properties`: of the message as it was; what middleware does not see stays.
    fn of(topic: Topic, changed: Changed, properties: Option<&Properties>) -> Altered {
        let Changed { payload, qos, retain, content_type, user, .. } = changed;
        let before = properties.cloned().unwrap_or_default();
        let payload_is_utf8 = before.payload_is_utf8 && std::str::from_utf8(&payload).is_ok();
        let properties = Properties { payload_is_utf8, content_type, user, ..before };
        let properties =
            Some(Box::new(properties)).filter(|properties| **properties != Properties::default());
        Altered { topic, payload, qos, retain, properties }
    }

    fn passing(&self) -> Passing<'_> {
        Passing {
            topic: &self.topic,
            payload: &self.payload,
            qos: self.qos,
            retain: self.retain,
            properties: self.properties.as_deref(),
        }
    }

    /// Instead of `message`, with what is left of its time.
    pub fn instead_of(self, message: &Message) -> Arc<Message> {
        let Altered { topic, payload, qos, retain, properties } = self;
        Arc::new(Message { topic, payload, qos, retain, expires_at: message.expires_at, properties })
    }
}

/// Counts what did not pass.
fn count(hook: Hook) {
    counter!("weir_broker_middleware_refused_total", "hook" => hook.as_str()).increment(1);
}

impl Broker {
    /// Whether a client that has proved who it is may be let in; `will`: where its will is to go. One that comes while
    /// programs are loaded waits for them.
    pub async fn on_connect(
        &self,
        realm: &Realm,
        who: &Who<'_>,
        will: Option<&Topic>,
    ) -> Result<(), Refusal> {
        realm.middleware.ready().await;
        if realm.middleware.wants(Hook::Connect) {
            realm.middleware.on_connect(who)?;
        }
        match will.filter(|_| realm.middleware.wants(Hook::Authorize)) {
            Some(topic) => realm.middleware.on_publish_to(who, topic).refusal.map_or(Ok(()), Err),
            None => Ok(()),
        }
    }

    /// Whether somewhere somebody is asked before a message goes to a receiver.
    #[inline]
    pub(crate) fn asks_on_delivery(&self) -> bool {
        self.bindings().asks_on_delivery()
    }

    /// What becomes of a message that is to be sent to the client of a session; `None` = it goes as it is.
    pub fn on_deliver(&self, session: &Session, message: &Message) -> Result<Option<Arc<Message>>, Refusal> {
        let Some(realm) = self.realm(&session.key.realm) else { return Ok(None) };
        if !realm.middleware.wants_of(Hook::Deliver, &message.topic) {
            return Ok(None);
        }
        let identity = session.identity();
        let user = identity.as_ref().and_then(|identity| identity.principal.user_id.as_deref());
        let altered = realm.middleware.on_deliver(&Who::of(self, session, user), message)?;
        Ok(altered.map(|altered| altered.instead_of(message)))
    }

    /// A row of handlers, bindings or secrets has changed.
    pub(crate) fn handlers_changed(&self, row: &TableRow) {
        let bindings = self.bindings();
        match (row.table, row.key.rsplit_once('/')) {
            (Table::Bindings, Some((realm, _))) => {
                let _one_at_a_time = bindings.chaining.lock();
                bindings.heard(row);
                self.chain(&realm.into());
            }
            _ => bindings.heard(row),
        }
    }

    /// What a binding asks is loaded, or may be another version than before.
    pub(super) fn provide_middleware(&self, work: &Arc<Work>) {
        let (realm, name) = &work.name;
        let bindings = self.bindings();
        let _one_at_a_time = bindings.chaining.lock();
        // One that has another row by now is provided for by its next worker.
        let is_it = bindings.binding(realm, name).is_some_and(|row| Arc::ptr_eq(&row.is, &work.binding));
        if let Some(realm) = self.realm(realm).filter(|_| is_it) {
            realm.middleware.provide(work);
        }
    }

    /// Makes the chain of a realm what the rows say, before anybody is served again.
    fn chain(&self, realm: &Arc<str>) {
        let bindings = self.bindings();
        let rows = bindings.bindings(realm);
        let rows: Vec<_> = rows.into_iter().map(|(name, binding, _)| (name, binding)).collect();
        let realm = match rows.iter().any(|(_, binding)| binding.source.is_middleware()) {
            true => Some(self.realm_or_new(realm)),
            false => self.realm(realm),
        };
        let Some(realm) = realm else { return };
        realm.middleware.set(&rows, |name| bindings.journal(&realm.name, name));
        let asks = self.realms().iter().any(|realm| realm.middleware.wants(Hook::Deliver));
        bindings.ask_on_delivery(asks);
    }

    /// Has the programs of middleware at hand before a binding stands in everybody's way.
    pub(super) async fn fetch_middleware(
        &self,
        realm: &Arc<str>,
        binding: &Binding,
    ) -> Result<(), HandlerError> {
        if binding.source.is_middleware() {
            let (handler, _) = self.handler(realm, &binding.handler)?;
            for share in handler.shares(&binding.which) {
                if let Some(version) = handler.version(&share.digest) {
                    self.program(realm, version).await?;
                }
            }
        }
        Ok(())
    }

    /// Nobody is asked any more: the node stops.
    pub(crate) fn forget_middleware(&self) {
        for realm in self.realms() {
            realm.middleware.set(&[], |_| Arc::default());
        }
    }
}
