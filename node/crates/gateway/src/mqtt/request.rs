//! Requests that are calls: a PUBLISH of MQTT 5 with a response topic, to a topic at which a procedure is registered.
//!
//! Its payload is the arguments, its message expiry the time it has. What comes of it is published at the response topic
//! with the correlation data of the request; an error has the user property `wamp-error`. It needs the right to call at its
//! topic and the right to publish at its response topic. QoS 2, RETAIN and conditions are for messages: with one of them
//! it is an ordinary PUBLISH.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::counter;
use weir_broker::calls::{CallOptions, CallSession, Delivery, Payload as Carried};
use weir_broker::publish::{Answering, Verdict};
use weir_model::{Message, Properties, Qos, Reason, Topic};
use weir_wire::mqtt::{self, Version};
use weir_wire::wamp::message::{Call, CallOptions as WireOptions};
use weir_wire::wamp::{Args, Batching, Format, Id, Limits, Message as WampMessage, Payload, Serialization};

use super::channel::Mqtt;
use super::form;
use crate::connection::{Flow, Work};
use crate::hyper::form::json_of;
use crate::wamp::rpc::{WHOLE, convert};
use crate::wamp::{meta, properties};

/// The user property that names the error.
pub const ERROR: &str = "wamp-error";

/// User properties that begin so are conditions and the like, which calls do not have.
const OURS: &str = "weir-";

/// How arguments are carried.
const CARRIED: Serialization = Serialization { format: Format::MsgPack, batching: Batching::One };

/// A connection's calls, once it has some. At most `broker.calls.calls_per_session_max` without an answer.
#[derive(Default)]
pub struct Requests {
    part: Option<CallSession>,
    last: u64,
    under_way: HashMap<u64, UnderWay>,
    /// What other nodes say of the topic of the PUBLISH that comes next.
    asked: Option<Asked>,
}

/// A call whose answer is owed.
struct UnderWay {
    response: Topic,
    correlation: Option<bytes::Bytes>,
    qos: Qos,
}

/// Whether anybody has registered a topic.
struct Asked {
    topic: Box<str>,
    /// `None` = it is being asked.
    registered: Option<bool>,
}

/// What a PUBLISH is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Is {
    Message,
    Call,
    /// It is not taken before other nodes have said what they know.
    Unknown,
}

impl Requests {
    pub fn is_nothing(&self) -> bool {
        self.under_way.is_empty() && self.asked.is_none()
    }
}

impl Mqtt {
    /// Whether a PUBLISH is a call.
    #[inline]
    pub fn kind(&mut self, topic: &str, publish: &mqtt::Publish<'_>) -> Is {
        if publish.properties.response_topic.is_none() || !self.config().mqtt.requests_call {
            return Is::Message;
        }
        self.kind_of_request(topic, publish)
    }

    fn kind_of_request(&mut self, topic: &str, publish: &mqtt::Publish<'_>) -> Is {
        let may_be = self.version == Version::V5
            && !publish.retain
            && publish.qos < Qos::ExactlyOnce
            && !publish.properties.user.iter().any(|(name, _)| name.starts_with(OURS));
        if !may_be {
            return Is::Message;
        }
        let of = |registered: bool| if registered { Is::Call } else { Is::Message };
        let requests = self.owed.get_or_insert_default().requests.get_or_insert_default();
        if let Some(asked) =
            requests.asked.take_if(|asked| *asked.topic == *topic && asked.registered.is_some())
        {
            return of(asked.registered.unwrap_or_default());
        }
        let (broker, realm) = (&self.publisher.broker, &self.publisher.realm.name);
        if let Some(registered) = meta::is_registered_here(broker, realm, topic) {
            return of(registered);
        }
        requests.asked = Some(Asked { topic: topic.into(), registered: None });
        Is::Unknown
    }

    /// The question to other nodes that the next PUBLISH waits for.
    pub fn ask_registered(&mut self) -> Option<Flow> {
        let requests = self.owed.as_ref()?.requests.as_ref()?;
        let asked = requests.asked.as_ref().filter(|asked| asked.registered.is_none())?;
        let (broker, realm) = (self.publisher.broker.clone(), self.publisher.realm.name.clone());
        let topic = asked.topic.to_string();
        Some(Flow::Work(Box::pin(async move {
            let registered = meta::is_registered(broker, realm, topic).await;
            Box::new(Registered(registered)) as Work
        })))
    }

    /// Hears what other nodes say; gives back work that is none.
    pub fn heard_registered(&mut self, work: Work) -> Result<Flow, Work> {
        let Registered(registered) = *work.downcast::<Registered>()?;
        let requests = self.owed.as_mut().and_then(|owed| owed.requests.as_mut());
        if let Some(asked) = requests.and_then(|requests| requests.asked.as_mut()) {
            asked.registered = Some(registered);
        }
        Ok(Flow::Continue)
    }

    /// A PUBLISH that is a call is answered as soon as it is under way.
    pub fn call(
        &mut self,
        topic: &str,
        publish: &mqtt::Publish<'_>,
        answering: Answering,
        out: &mut Vec<u8>,
    ) -> Option<Flow> {
        let answered = match self.request(topic, publish) {
            Ok(()) => (Verdict::Accepted { matched: true }, None),
            Err((reason, why)) => (Verdict::Refused(reason), Some(why)),
        };
        self.publish_answered(topic, answering, answered, out)
    }

    /// Calls what is registered at the topic.
    ///
    /// # Errors
    /// It may not, or there are too many calls.
    pub fn request(
        &mut self,
        topic: &str,
        publish: &mqtt::Publish<'_>,
    ) -> Result<(), (Reason, &'static str)> {
        let publisher = &self.publisher;
        let (broker, principal) = (publisher.broker.clone(), &publisher.principal);
        let response = publish.properties.response_topic.unwrap_or_default();
        let response = Topic::new(response).map_err(|_| (Reason::TopicInvalid, "response topic"))?;
        if !broker.access().may_call(principal, topic) {
            return Err((Reason::NotAuthorized, "not authorized to call"));
        }
        let answer_qos = publish.qos;
        if !broker.access().publish_rights(principal, &response).allows(answer_qos, false) {
            return Err((Reason::NotAuthorized, "not authorized to publish at the response topic"));
        }
        let session = publisher.session.clone();
        let requests = self.owed.get_or_insert_default().requests.get_or_insert_default();
        if requests.part.is_none() {
            requests.part = CallSession::open(&broker, &session, 0, false, None);
        }
        let Some(part) = &requests.part else { return Err((Reason::Quota, "no calls in this realm")) };
        let owned = form::owned(&publish.properties);
        let said = properties::said((publish.payload, false), owned.as_deref(), &Limits::default());
        requests.last += 1;
        let correlation = owned.as_ref().and_then(|owned| owned.correlation_data.clone());
        requests.under_way.insert(requests.last, UnderWay { response, correlation, qos: answer_qos });
        let timeout_ms = publish.properties.expiry_seconds.map_or(0, |seconds| u64::from(seconds) * 1000);
        let options = CallOptions { timeout_ms, ..CallOptions::default() };
        let called = part.call(requests.last, topic.into(), carried(&said.payload), options);
        counter!("weir_gateway_mqtt_requests_total").increment(1);
        called.map_err(|_| (Reason::Internal, "the number of a call is in use"))
    }

    /// Publishes what has come of calls.
    pub fn answer_requests(&mut self) {
        let Some(requests) = self.owed.as_mut().and_then(|owed| owed.requests.as_mut()) else { return };
        while let Some(delivery) = requests.part.as_ref().and_then(CallSession::take) {
            let (request, error, payload) = match &delivery {
                Delivery::Result { request, progress: false, payload } => (request, None, payload),
                Delivery::Failed { request, why, payload } => {
                    (request, Some(convert::error_uri(why)), payload)
                }
                _ => continue,
            };
            let Some(under_way) = requests.under_way.remove(request) else { continue };
            let message = Arc::new(answer(under_way, error, payload));
            let (broker, realm) = (self.publisher.broker.clone(), self.publisher.realm.clone());
            // Bounded by the calls of the session.
            tokio::spawn(async move { broker.publish(&realm, &message, None).await });
        }
        if requests.is_nothing() {
            requests.part = None;
        }
    }
}

/// What other nodes have said.
struct Registered(bool);

/// The message that answers a request.
fn answer(under_way: UnderWay, error: Option<&str>, payload: &Carried) -> Message {
    // A list of one that is a value is none that is one argument.
    let (payload, properties) = match convert::whole(payload).filter(|value| value.is_array()) {
        Some(list) => (json_of(list), None),
        None => {
            let content = properties::body(&convert::given(payload));
            (content.payload.into_owned(), content.properties)
        }
    };
    let mut properties = properties.unwrap_or_default();
    properties.correlation_data = under_way.correlation;
    if let Some(error) = error {
        properties.user.push((ERROR.into(), error.into()));
    }
    let is_plain = *properties == Properties::default();
    Message {
        topic: under_way.response,
        payload: payload.into(),
        qos: under_way.qos,
        retain: false,
        expires_at: None,
        properties: Some(properties).filter(|_| !is_plain),
    }
}

/// Arguments as calls carry them: a list, whatever they were. One in JSON is a value to clients of Hyper.
fn carried(payload: &Payload<'_>) -> Carried {
    let (payload, marks) = match payload.args {
        Some(Args::All(list)) => (Payload { args: Some(Args::One(list)), ..*payload }, WHOLE),
        _ => (*payload, 0),
    };
    let Some(request) = Id::new(1) else { return Carried::default() };
    let options = WireOptions::default();
    let call = Call { request, options, procedure: "".into(), payload };
    let mut bytes = Vec::new();
    weir_wire::wamp::encode(&mut bytes, &WampMessage::Call(call), CARRIED);
    let limits = Limits { message_bytes_max: usize::MAX, items_max: usize::MAX, ..Limits::default() };
    match weir_wire::wamp::decode(&bytes, CARRIED.format, &limits) {
        Ok(WampMessage::Call(call)) => {
            let mut carried = convert::taken(&call.payload, CARRIED.format, None);
            carried.format |= marks;
            carried
        }
        _ => Carried::default(),
    }
}
