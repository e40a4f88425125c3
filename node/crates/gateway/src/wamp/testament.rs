//! Testaments: events that a session leaves behind, published when it ends (WAMP, "Session Testaments").
//!
//! They lie in the store, so that they are published when the node of the session is lost as well. A session of WAMP cannot
//! be taken up again, so that `detached` and `destroyed` are the same moment; they differ in what `flush_testaments` takes.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value as Json;
use weir_broker::session::testament::Testament;
use weir_model::{Message, Properties, Qos, Topic};
use weir_wire::wamp::message::PublishOptions;
use weir_wire::wamp::{Args, Payload};

use super::channel::Wamp;
use super::meta::{Asked, Asking, MetaAnswer};
use super::reason::{self, INVALID_ARGUMENT, INVALID_URI, NOT_AUTHORIZED};
use super::{handshake, properties};

/// When a testament is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Detached,
    Destroyed,
}

/// A session's testaments; without any it costs nothing.
#[derive(Default)]
pub struct Testaments(Option<Arc<Mutex<Left>>>);

#[derive(Default)]
struct Left {
    /// With those that are being kept at most `gateway.wamp.testaments_max`.
    kept: Vec<(u64, When, Testament)>,
    being_kept: usize,
    last: u64,
    /// Up to which numbers they were taken back.
    flushed: [u64; 2],
    is_over: bool,
}

impl When {
    fn named(asked: &Asked<'_>) -> Option<When> {
        match asked.named("scope").as_deref() {
            None | Some("destroyed") => Some(When::Destroyed),
            Some("detached") => Some(When::Detached),
            Some(_) => None,
        }
    }
}

impl Wamp {
    /// `wamp.session.add_testament`: topic, arguments, named arguments; `publish_options` and `scope` by name.
    pub(super) fn add_testament(&mut self, payload: &Payload<'_>, asked: &Asked<'_>) -> Asking {
        let (when, message) = match self.testament(payload, asked) {
            Ok(testament) => testament,
            Err((error, why)) => return Asking::Now(MetaAnswer::Failed { error, why }),
        };
        let left = self.testaments.0.get_or_insert_default().clone();
        let number = {
            let mut left = left.lock();
            if left.kept.len() + left.being_kept >= self.shared.config.wamp.testaments_max {
                let why = "too many testaments".to_owned();
                return Asking::Now(MetaAnswer::Failed { error: "wamp.error.quota_exceeded", why });
            }
            left.being_kept += 1;
            left.last += 1;
            left.last
        };
        let (broker, session) = (self.publisher.broker.clone(), self.publisher.session.clone());
        Asking::Later(Box::pin(async move {
            let kept = broker.keep_testament(&session, number, Arc::new(message)).await;
            let late = {
                let mut left = left.lock();
                left.being_kept -= 1;
                match &kept {
                    Ok(kept) if !left.is_over && number > left.flushed[when as usize] => {
                        left.kept.push((number, when, kept.clone()));
                        None
                    }
                    Ok(kept) => Some((kept.clone(), left.is_over)),
                    Err(_) => None,
                }
            };
            match late {
                Some((kept, true)) => broker.publish_testaments(vec![kept]).await,
                Some((kept, false)) => broker.drop_testaments(vec![kept]).await,
                None => {}
            }
            let answer = match kept {
                Ok(_) => MetaAnswer::Result(Json::Null),
                Err(why) => MetaAnswer::Failed { error: reason::uri(why, false), why: why.to_string() },
            };
            answer.into()
        }))
    }

    fn testament(
        &self,
        payload: &Payload<'_>,
        asked: &Asked<'_>,
    ) -> Result<(When, Message), (&'static str, String)> {
        let invalid = |what: &str| (INVALID_ARGUMENT, what.to_owned());
        let when = When::named(asked).ok_or_else(|| invalid("scope is destroyed or detached"))?;
        let text = asked.text(0).ok_or_else(|| invalid("the topic is missing"))?;
        let topic = self.topic(&text).map_err(|why| (INVALID_URI, why))?;
        let topic = Topic::new(&topic).map_err(|error| (INVALID_URI, error.to_string()))?;
        let options = payload.kwargs.and_then(|kwargs| kwargs.get("publish_options"));
        let options = match options {
            Some(options) => {
                PublishOptions::of(options).ok_or_else(|| invalid("publish_options are wrong"))?
            }
            None => PublishOptions::default(),
        };
        let qos = if options.acknowledge { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let rights = self.publisher.broker.access().publish_rights(&self.publisher.principal, &topic);
        if !rights.allows(qos, options.retain) {
            return Err((NOT_AUTHORIZED, "not authorized to publish".to_owned()));
        }
        let given = Payload {
            args: asked.args.get(1).copied().filter(|args| args.is_array()).map(Args::All),
            kwargs: asked.args.get(2).copied().filter(|kwargs| kwargs.is_map()),
        };
        let content = properties::body(&given);
        let properties = self.said_by(&options, content.properties);
        let (payload, retain) = (content.payload.into_owned().into(), options.retain);
        Ok((when, Message { topic, payload, qos, retain, expires_at: None, properties }))
    }

    /// For whom it is and by whom, as of a publish.
    fn said_by(
        &self,
        options: &PublishOptions<'_>,
        mut properties: Option<Box<Properties>>,
    ) -> Option<Box<Properties>> {
        if let Some(to) = properties::addressed(options) {
            properties::add(&mut properties, weir_broker::addressed::PROPERTY, &to);
        }
        if options.disclose_me {
            let principal = &self.publisher.principal;
            let publisher = properties::Publisher {
                id: self.id.get(),
                authid: handshake::authid(principal).into(),
                authrole: handshake::authrole(principal).into(),
            };
            let publisher = serde_json::to_string(&publisher).unwrap_or_default();
            properties::add(&mut properties, properties::PUBLISHER, &publisher);
        }
        properties
    }

    /// `wamp.session.flush_testaments`: takes those of a `scope` back; how many.
    pub(super) fn flush_testaments(&mut self, asked: &Asked<'_>) -> Asking {
        let Some(when) = When::named(asked) else {
            let why = "scope is destroyed or detached".to_owned();
            return Asking::Now(MetaAnswer::Failed { error: INVALID_ARGUMENT, why });
        };
        let Some(left) = &self.testaments.0 else { return Asking::Now(MetaAnswer::Result(0.into())) };
        let taken: Vec<_> = {
            let mut left = left.lock();
            left.flushed[when as usize] = left.last;
            left.kept.extract_if(.., |(_, scope, _)| *scope == when).map(|(_, _, kept)| kept).collect()
        };
        let broker = self.publisher.broker.clone();
        Asking::Later(Box::pin(async move {
            let count = taken.len();
            broker.drop_testaments(taken).await;
            MetaAnswer::Result(count.into()).into()
        }))
    }

    /// The session is over: what it leaves behind is published, as far as it may.
    pub fn publish_testaments(&mut self) {
        let Some(left) = self.testaments.0.take() else { return };
        let mut kept = {
            let mut left = left.lock();
            left.is_over = true;
            std::mem::take(&mut left.kept)
        };
        kept.sort_by_key(|(number, when, _)| (*when as u8, *number));
        let broker = self.publisher.broker.clone();
        tokio::spawn(async move {
            broker.publish_testaments(kept.into_iter().map(|(_, _, kept)| kept).collect()).await;
        });
    }
}
