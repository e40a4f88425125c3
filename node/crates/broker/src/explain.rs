//! Explain: who would get what by which rule, asked of a running node by MQTT 5 request and response.
//!
//! A PUBLISH to [`TOPIC`] with a response topic and a [`Request`] as JSON is answered with an [`Answer`]
//! on that topic, to the asker's connection alone, whether or not it has subscribed to it. Nothing else
//! happens. Who may ask is whom the policy lets publish to [`TOPIC`]; where everything is open, only
//! clients of listeners on loopback.

mod answer;
mod publish;
mod subscribe;

use std::sync::Arc;

use smallvec::SmallVec;
use weir_access::Action;
use weir_model::{Message, Principal, Properties, Qos, Reason, Topic};
use weir_store::Delivery;

use crate::broker::Broker;
use crate::fanout::Frames;
use crate::form::Publish;
use crate::publish::{Publisher, Verdict};
use crate::realm::Realm;
use crate::session::Session;
pub use answer::{Answer, Check, Group, Member, Outcome, Pub, Receiver, Request, Retained, Sub, Who};

/// Where requests are published.
pub const TOPIC: &str = "$SYS/explain";

/// Receivers, and members of a group, that an answer names; the others it counts.
const NAMED_MAX: usize = 100;

/// Filters that an answer names of one receiver.
const FILTERS_MAX: usize = 5;

/// Bytes of names after which an answer only counts.
const NAMES_BYTES_MAX: usize = 64 << 10;

/// Whose question is answered: a principal, and its session if there is one.
struct Subject {
    principal: Arc<Principal>,
    session: Option<Arc<Session>>,
}

/// Who answers: a node, for one of its realms.
struct Explainer<'a> {
    broker: &'a Broker,
    realm: &'a Arc<Realm>,
}

/// What may still be named.
struct Room {
    names: usize,
    bytes: usize,
}

impl Room {
    fn new() -> Room {
        Room { names: NAMED_MAX, bytes: NAMES_BYTES_MAX }
    }

    /// Whether one more may be named, with so many bytes.
    fn takes(&mut self, bytes: usize) -> bool {
        let takes = self.names > 0 && self.bytes >= bytes;
        if takes {
            self.names -= 1;
            self.bytes -= bytes;
        }
        takes
    }
}

impl Publisher {
    /// Takes a PUBLISH to [`TOPIC`].
    pub(crate) fn explain(&mut self, publish: &Publish<'_>) -> Verdict {
        match self.response_to(publish) {
            Ok(response) => {
                self.tally.accepted += 1;
                self.tally.unmatched += 1;
                self.respond(response);
                Verdict::Accepted { matched: true }
            }
            Err(reason) => {
                self.broker.ledger().refuse(reason.into());
                Verdict::Refused(reason)
            }
        }
    }

    fn response_to(&self, publish: &Publish<'_>) -> Result<Message, Reason> {
        let access = self.broker.access();
        let is_local = || self.session.origin().is_some_and(|origin| origin.local);
        let may = access.publish_rights(&self.principal, TOPIC).allows(publish.qos, publish.retain);
        if !may || publish.retain || (access.is_open() && !is_local()) {
            return Err(Reason::NotAuthorized);
        }
        let asked = publish.properties.as_deref().ok_or(Reason::NotAuthorized)?;
        let topic = asked.response_topic.as_deref().ok_or(Reason::NotAuthorized)?;
        let topic = Topic::new(topic).map_err(|_| Reason::TopicInvalid)?;
        let answer = match serde_json::from_slice::<Request>(publish.payload) {
            Ok(request) => self.answer(request),
            Err(error) => Answer::Error { error: format!("not a request: {error}") },
        };
        let payload = serde_json::to_vec(&answer).map_err(|_| Reason::Internal)?;
        let properties = Properties {
            payload_is_utf8: true,
            content_type: Some("application/json".into()),
            correlation_data: asked.correlation_data.clone(),
            ..Properties::default()
        };
        Ok(Message {
            topic,
            payload: payload.into(),
            qos: Qos::AtMostOnce,
            retain: false,
            expires_at: None,
            properties: Some(Box::new(properties)),
        })
    }

    /// The answer is a message of the broker's own with one receiver.
    fn respond(&mut self, response: Message) {
        let ledger = self.broker.ledger();
        ledger.received.add(1);
        ledger.accepted.add(1);
        ledger.matched.add(1);
        let message = Arc::new(response);
        let (qos, subscription_ids) = (message.qos, SmallVec::new());
        let delivery = Delivery { message, qos, retain: false, subscription_ids, group: None };
        Frames::default().push(&self.broker, &self.session, delivery);
    }

    fn answer(&self, request: Request) -> Answer {
        let me = || Subject { principal: self.principal.clone(), session: Some(self.session.clone()) };
        Explainer { broker: &self.broker, realm: &self.realm }.answer(request, me)
    }
}

impl Broker {
    /// Answers for the client that the question names; looks at all who want the topic.
    #[must_use]
    pub fn explain(&self, realm: &Arc<Realm>, request: Request) -> Answer {
        if request.client().is_none() {
            return Answer::Error { error: "the question names no client".to_owned() };
        }
        let nobody = || Subject { principal: Arc::default(), session: None };
        Explainer { broker: self, realm }.answer(request, nobody)
    }
}

impl Explainer<'_> {
    /// For the client that is named, else for `asker`.
    fn answer(&self, request: Request, asker: impl FnOnce() -> Subject) -> Answer {
        let subject = match request.client() {
            None => asker(),
            Some(client) => match self.subject(client) {
                Ok(subject) => subject,
                Err(error) => return Answer::Error { error },
            },
        };
        match request {
            Request::Pub { topic, qos, retain, .. } => match Qos::from_bits(qos) {
                Some(qos) => Answer::Pub(Box::new(self.explain_pub(&subject, &topic, qos, retain))),
                None => Answer::Error { error: format!("there is no QoS {qos}") },
            },
            Request::Sub { filter, qos, .. } => match Qos::from_bits(qos) {
                Some(qos) => Answer::Sub(Box::new(self.explain_sub(&subject, &filter, qos))),
                None => Answer::Error { error: format!("there is no QoS {qos}") },
            },
        }
    }

    /// A client by its id, as who it was let in.
    fn subject(&self, client: &str) -> Result<Subject, String> {
        let session = self.broker.sessions().find(&self.realm.name, &Arc::from(client));
        let session = session.ok_or_else(|| format!("there is no session of client {client:?}"))?;
        let identity = session.identity();
        let identity = identity.ok_or_else(|| {
            format!("client {client:?} has not connected since this node started: nobody knows who it is")
        })?;
        Ok(Subject { principal: identity.principal.clone(), session: Some(session) })
    }

    /// A verdict of the policy on `who`.
    fn verdict(&self, who: &Principal, action: Action<'_>) -> (bool, String) {
        let explanation = self.broker.access().explain(who, action);
        (explanation.allowed, explanation.rule)
    }

    /// Why a session may not have a message; `None` = it may.
    fn denied(&self, session: &Session, topic: &str) -> Option<String> {
        if session.may_receive(self.broker.access(), topic) {
            return None;
        }
        let identity = session.identity()?;
        Some(self.verdict(&identity.principal, Action::Receive { topic }).1)
    }

    /// A share group as it stands; `topic`: of a message for it.
    fn group(&self, group: &crate::share::Group, topic: &str, room: &mut Room) -> Group {
        let members = group.members();
        let told = |session: &Arc<Session>| Member {
            client: session.client_id().clone(),
            online: session.is_online(),
            stored: session.stored.is_some(),
            denied: self.denied(session, topic),
        };
        let named = members.iter().filter(|session| room.takes(session.client_id().len()));
        Group {
            filter: group.filter.as_str().to_owned(),
            keeps: group.keeps(),
            members: named.map(told).collect(),
            members_total: members.len(),
        }
    }
}

impl Subject {
    fn who(&self) -> Who {
        Who { client: self.principal.client_id.clone(), user: self.principal.user_id.clone() }
    }
}

/// One check of a name; `problem` = why it is not passed.
fn check(what: &str, found: impl Into<String>, problem: Option<String>) -> Check {
    let passed = problem.is_none();
    Check { what: what.to_owned(), passed, found: problem.unwrap_or_else(|| found.into()) }
}

/// How deep a name is, against what is configured.
fn check_depth(config: &crate::Config, name: &str) -> Check {
    let levels = name.split('/').count();
    let max = config.topic_levels_max;
    let problem = (!config.allows_depth(name)).then(|| format!("{levels} levels, at most {max} are taken"));
    check("levels", format!("{levels} of at most {max}"), problem)
}

/// Filters of a session that match a topic, the first few.
fn filters(session: &Session, topic: &str) -> Vec<String> {
    let own = session.subscriptions().into_iter().map(|(filter, _)| filter);
    let matching = own.filter(|filter| filter.share().is_none() && filter.matches(topic));
    matching.take(FILTERS_MAX).map(|filter| filter.as_str().to_owned()).collect()
}
