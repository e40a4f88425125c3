//! Publishing: the one door, for callers of gRPC.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use weir_broker::Publish;
use weir_broker::publish::claim::{KEY_BYTES_MAX, PROPERTY};
use weir_broker::publish::level;
use weir_broker::publish::offered::{NotTaken, Offered, Offering};
use weir_model::{Level, Principal, Properties, Qos};

use super::super::watch::until_over;
use super::{Place, Shared};
use crate::caller::Caller;
use crate::error::Refused;
use crate::proto::streams_publish_many_response::Outcome;
use crate::proto::{
    PublishRefused, StreamsPublishManyRequest, StreamsPublishManyResponse, StreamsPublishRequest,
    StreamsPublishResponse,
};

/// Bytes of any one text of a message (MQTT-1.5.4).
const TEXT_BYTES_MAX: usize = 65_535;

/// User properties of a message.
const USER_PROPERTIES_MAX: usize = 1000;

/// Messages of one call that are on their way.
const OPEN_MAX: usize = 1000;

/// Answers on their way to a caller beside HTTP/2's own window; one that takes none is not heard any more.
const WAITING_MAX: usize = 64;

/// User properties, in their order.
type User = Vec<(Box<str>, Box<str>)>;

/// Publishes one message.
pub async fn one(
    shared: &Shared,
    caller: &Caller,
    request: &StreamsPublishRequest,
) -> Result<StreamsPublishResponse, Refused> {
    let realm = shared.realm(&request.realm)?;
    let offered = shared.broker.offer(&realm, principal(caller), message(request)?).await?;
    Ok(told(offered))
}

/// Publishes what comes, and answers each message.
pub fn many(
    shared: Shared,
    caller: Caller,
    requests: Streaming<StreamsPublishManyRequest>,
    place: Place,
) -> ReceiverStream<Result<StreamsPublishManyResponse, Status>> {
    let (sender, answers) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let _place = place;
        let publishing = publish(&shared, &caller, requests, &sender);
        until_over(&shared, &caller, &sender, publishing).await;
    });
    ReceiverStream::new(answers)
}

/// Until the caller has no more and everything is answered. A call that is cancelled leaves what it has begun to the
/// broker.
async fn publish(
    shared: &Shared,
    caller: &Caller,
    mut requests: Streaming<StreamsPublishManyRequest>,
    sender: &mpsc::Sender<Result<StreamsPublishManyResponse, Status>>,
) {
    let mut many = Many { shared, principal: principal(caller), door: None };
    let mut has_ended = false;
    while !has_ended || many.open() > 0 {
        let answer = tokio::select! {
            request = requests.message(), if !has_ended && many.open() < OPEN_MAX => match request {
                Ok(Some(StreamsPublishManyRequest { tag, message })) => {
                    match many.take(tag, &message.unwrap_or_default()).await {
                        Ok(()) => continue,
                        Err(refused) => answered(tag, Err(refused)),
                    }
                }
                Ok(None) => {
                    has_ended = true;
                    continue;
                }
                // A message that is too long, perhaps; what was begun goes on without answers.
                Err(status) => {
                    let _ = sender.send(Err(status)).await;
                    return;
                }
            },
            answer = many.next(), if many.open() > 0 => match answer {
                Some((tag, outcome)) => answered(tag, outcome.map_err(Refused::from)),
                None => continue,
            },
        };
        if sender.send(Ok(answer)).await.is_err() {
            return;
        }
    }
}

/// The messages of one call.
struct Many<'a> {
    shared: &'a Shared,
    principal: Arc<Principal>,
    /// The realm of its first message, and the door to that.
    door: Option<(String, Offering)>,
}

impl Many<'_> {
    fn open(&self) -> usize {
        self.door.as_ref().map_or(0, |(_, offering)| offering.open())
    }

    async fn next(&mut self) -> Option<(u64, Result<Offered, NotTaken>)> {
        self.door.as_mut()?.1.next().await
    }

    async fn take(&mut self, tag: u64, asked: &StreamsPublishRequest) -> Result<(), Refused> {
        let publish = message(asked)?;
        let door = match &mut self.door {
            Some(door) => door,
            None => {
                let realm = self.shared.realm(&asked.realm)?;
                let offering = self.shared.broker.offering(&realm, self.principal.clone());
                self.door.insert((asked.realm.clone(), offering))
            }
        };
        if door.0 != asked.realm {
            return Err(Refused::field("realm", "it is another one than before", "one call for each realm"));
        }
        door.1.put(tag, publish).await;
        Ok(())
    }
}

fn answered(tag: u64, outcome: Result<Offered, Refused>) -> StreamsPublishManyResponse {
    let outcome = match outcome {
        Ok(offered) => Outcome::Done(told(offered)),
        Err(Refused { code, reason, field, message, .. }) => Outcome::Refused(PublishRefused {
            code: code as u32,
            reason: reason.to_owned(),
            field: field.to_owned(),
            message,
        }),
    };
    StreamsPublishManyResponse { tag, outcome: Some(outcome) }
}

fn told(offered: Offered) -> StreamsPublishResponse {
    StreamsPublishResponse {
        position: offered.position.map(|at| at.to_string()).unwrap_or_default(),
        matched: offered.matched,
        deduplicated: offered.repeated,
        ack_level: offered.reached.map(|reached| reached.to_string()).unwrap_or_default(),
    }
}

/// Whom the policy sees: a user of the caller's name, with the roles `grpc`, `token:<name>` or `certificate:<name>`, and
/// one for each of its scopes.
fn principal(caller: &Caller) -> Arc<Principal> {
    let mut roles: Vec<Arc<str>> = vec!["grpc".into(), caller.role().into()];
    roles.extend(caller.scopes.to_vec().into_iter().map(Arc::from));
    let user_id = Some(caller.who.clone());
    Arc::new(Principal { client_id: caller.who.clone(), user_id, roles, claims: Vec::new() })
}

/// The message that is asked for, as a client would publish it with QoS 1.
fn message(asked: &StreamsPublishRequest) -> Result<Publish<'_>, Refused> {
    let text = |field: &'static str, text: &str| match text.len() > TEXT_BYTES_MAX || text.contains('\0') {
        false => Ok((!text.is_empty()).then(|| Box::<str>::from(text))),
        true => Err(Refused::field(field, "it is too long, or has a NUL", "at most 65535 bytes, no U+0000")),
    };
    if asked.payload_is_utf8 && std::str::from_utf8(&asked.payload).is_err() {
        return Err(Refused::field("payload", "it is not UTF-8", "leave payload_is_utf8 out"));
    }
    // MQTT-3.3.2-14.
    if asked.response_topic.contains(['+', '#']) {
        return Err(Refused::field("response_topic", "it has a wildcard", "a topic"));
    }
    let correlation = asked.correlation_data.clone();
    if correlation.as_ref().is_some_and(|data| data.len() > TEXT_BYTES_MAX) {
        return Err(Refused::field("correlation_data", "it is too long", "at most 65535 bytes"));
    }
    let properties = Properties {
        payload_is_utf8: asked.payload_is_utf8,
        content_type: text("content_type", &asked.content_type)?,
        response_topic: text("response_topic", &asked.response_topic)?,
        correlation_data: correlation,
        user: user(asked)?,
    };
    Ok(Publish {
        topic: &asked.topic,
        payload: &asked.payload,
        is_json: false,
        qos: Qos::AtLeastOnce,
        retain: asked.retain,
        expiry_seconds: asked.expiry_seconds,
        properties: (properties != Properties::default()).then(|| Box::new(properties)),
        conditions: None,
    })
}

/// The user properties, with the idempotency key and the acknowledgement level among them: clients give them the same way.
fn user(asked: &StreamsPublishRequest) -> Result<User, Refused> {
    let all = &asked.user_properties;
    if all.len() > USER_PROPERTIES_MAX {
        let hint = format!("at most {USER_PROPERTIES_MAX}");
        return Err(Refused::field("user_properties", format!("{} are too many", all.len()), hint));
    }
    let is_text = |text: &str| text.len() <= TEXT_BYTES_MAX && !text.contains('\0');
    if !all.iter().all(|one| is_text(&one.name) && is_text(&one.value)) {
        let hint = "at most 65535 bytes each, no U+0000";
        return Err(Refused::field("user_properties", "one is too long, or has a NUL", hint));
    }
    let key = &asked.idempotency_key;
    if key.len() > KEY_BYTES_MAX || key.contains('\0') {
        let hint = format!("at most {KEY_BYTES_MAX} bytes, no U+0000");
        return Err(Refused::field("idempotency_key", "it is too long, or has a NUL", hint));
    }
    if !key.is_empty() && all.iter().any(|one| one.name == PROPERTY) {
        return Err(Refused::field("user_properties", "the idempotency key is given twice", "give it once"));
    }
    let asked_level = ack_level(asked)?;
    let own = (!key.is_empty()).then(|| (PROPERTY.into(), key.as_str().into()));
    let own = own.into_iter().chain(asked_level.map(|level| (level::PROPERTY.into(), level.into())));
    let given = all.iter().map(|one| (one.name.as_str().into(), one.value.as_str().into()));
    Ok(own.chain(given).collect())
}

/// The acknowledgement level that the field asks for, if it asks for one.
fn ack_level(asked: &StreamsPublishRequest) -> Result<Option<&str>, Refused> {
    let level = asked.ack_level.as_str();
    if level.is_empty() {
        return Ok(None);
    }
    if level.parse::<Level>().is_err() {
        let hint = "`stored`, `fsynced`, `replicated:<n>` (1 or more) or `replicated:all`";
        return Err(Refused::field("ack_level", "it is no level", hint));
    }
    if asked.user_properties.iter().any(|one| one.name == level::PROPERTY) {
        let problem = "the acknowledgement level is given twice";
        return Err(Refused::field("user_properties", problem, "give it once"));
    }
    Ok(Some(level))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::UserProperty;

    #[test]
    fn a_message_without_properties_has_none_and_a_key_is_a_user_property() {
        let plain = StreamsPublishRequest { topic: "a".to_owned(), ..StreamsPublishRequest::default() };
        assert!(message(&plain).unwrap().properties.is_none());
        let keyed = StreamsPublishRequest { idempotency_key: "k".to_owned(), ..plain };
        let properties = message(&keyed).unwrap().properties.unwrap();
        assert_eq!(properties.user, vec![(PROPERTY.into(), "k".into())]);
    }

    #[test]
    fn what_no_client_could_send_is_refused_by_its_field() {
        let field = |asked: StreamsPublishRequest| message(&asked).unwrap_err().field;
        let blank = StreamsPublishRequest::default;
        let long = "x".repeat(65_536);
        assert_eq!(field(StreamsPublishRequest { content_type: long.clone(), ..blank() }), "content_type");
        assert_eq!(
            field(StreamsPublishRequest { response_topic: "a/#".to_owned(), ..blank() }),
            "response_topic"
        );
        assert_eq!(
            field(StreamsPublishRequest { idempotency_key: "x".repeat(256), ..blank() }),
            "idempotency_key"
        );
        let payload = b"\xff".to_vec().into();
        assert_eq!(field(StreamsPublishRequest { payload, payload_is_utf8: true, ..blank() }), "payload");
        let user_properties = vec![UserProperty { name: long, value: String::new() }];
        assert_eq!(field(StreamsPublishRequest { user_properties, ..blank() }), "user_properties");
        let ack_level = "replicated:0".to_owned();
        assert_eq!(field(StreamsPublishRequest { ack_level, ..blank() }), "ack_level");
        let user_properties =
            vec![UserProperty { name: level::PROPERTY.to_owned(), value: "stored".to_owned() }];
        let ack_level = "stored".to_owned();
        let twice = StreamsPublishRequest { user_properties, ack_level, ..blank() };
        assert_eq!(field(twice), "user_properties");
    }
}
