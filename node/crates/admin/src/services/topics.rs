//! `Topics`: retained messages, subscriptions, explain.

use std::sync::Arc;

use bytes::Bytes;
use tonic::{Code, Request, Response, Status};
use weir_broker::admin::Wanted;
use weir_broker::explain::{self, Answer};
use weir_broker::retained::PageMax;
use weir_broker::{Realm, clock};
use weir_model::{Filter, Message, Qos, Topic};

use super::sessions::subscription;
use super::{Shared, blocking};
use crate::audit;
use crate::caller::Caller;
use crate::error::Refused;
use crate::page;
use crate::proto::topics_explain_request::Question;
use crate::proto::topics_list_subscriptions_request::Of;
use crate::proto::{
    RetainedMessage, TopicsDeleteRetainedRequest, TopicsDeleteRetainedResponse, TopicsExplainRequest,
    TopicsExplainResponse, TopicsGetRetainedRequest, TopicsGetRetainedResponse, TopicsListRetainedRequest,
    TopicsListRetainedResponse, TopicsListSubscriptionsRequest, TopicsListSubscriptionsResponse,
    UserProperty, topics_server,
};

/// Bytes of the messages of a page, and retained messages that are looked at for one.
const PAGE_BYTES_MAX: usize = 1 << 20;
const EXAMINED_MAX: usize = 100_000;

/// Retained messages that one call removes.
const DELETED_MAX: usize = 10_000;

pub struct Topics(pub Shared);

#[tonic::async_trait]
impl topics_server::Topics for Topics {
    async fn list_retained(
        &self,
        request: Request<TopicsListRetainedRequest>,
    ) -> Result<Response<TopicsListRetainedResponse>, Status> {
        let request = request.into_inner();
        let messages = page::size(&self.0.config, request.page_size)?;
        let after: Option<Topic> = topic_behind(&request.page_token)?;
        let filter = if request.filter.is_empty() { "#" } else { &request.filter };
        let (realm, filter) = (self.0.realm(&request.realm)?, plain_filter("filter", filter)?);
        let bytes = if request.with_payloads { PAGE_BYTES_MAX } else { usize::MAX };
        let max = PageMax { messages, bytes, examined: EXAMINED_MAX };
        let answer = blocking(move || {
            let page = realm.retained.page(&filter, after.as_ref(), clock::unix(), max);
            let told = |message: &Arc<Message>| told(&realm, message, request.with_payloads);
            Ok(TopicsListRetainedResponse {
                messages: page.messages.iter().map(told).collect(),
                next_page_token: page.next.as_deref().map(|topic| page::token(&topic)).unwrap_or_default(),
            })
        });
        Ok(Response::new(answer.await?))
    }

    async fn get_retained(
        &self,
        request: Request<TopicsGetRetainedRequest>,
    ) -> Result<Response<TopicsGetRetainedResponse>, Status> {
        let request = request.into_inner();
        let (realm, topic) = (self.0.realm(&request.realm)?, topic("topic", &request.topic)?);
        let kept = realm.retained.get_at(&topic);
        let message = kept.filter(|(message, _)| !message.is_expired(clock::unix()));
        let (message, _) =
            message.ok_or_else(|| Refused::not_found("topic", "nothing is retained on this topic"))?;
        Ok(Response::new(TopicsGetRetainedResponse { message: Some(told(&realm, &message, true)) }))
    }

    async fn delete_retained(
        &self,
        request: Request<TopicsDeleteRetainedRequest>,
    ) -> Result<Response<TopicsDeleteRetainedResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let done = self.delete(&request).await;
        if request.dry_run {
            return done.map(Response::new).map_err(Status::from);
        }
        audit::changed(&caller, "topics.delete_retained", &request.filter, "", done)
    }

    async fn list_subscriptions(
        &self,
        request: Request<TopicsListSubscriptionsRequest>,
    ) -> Result<Response<TopicsListSubscriptionsResponse>, Status> {
        let request = request.into_inner();
        let max = page::size(&self.0.config, request.page_size)?;
        let after: Option<(Arc<str>, String)> = page::behind(&request.page_token)?;
        let realm = self.0.realm(&request.realm)?;
        let wanted = match request.of {
            Some(Of::Topic(name)) => Wanted::Topic(topic("topic", &name)?),
            Some(Of::Filter(text)) => Wanted::Filter(filter("filter", &text)?),
            None => {
                return Err(
                    Refused::field("of", "neither a topic nor a filter is named", "one of both").into()
                );
            }
        };
        let found = self.0.broker.list_subscriptions(&realm, wanted, after, max).await;
        let last = found.subscriptions.last().filter(|_| found.more);
        let next = last.map(|last| page::token(&(&last.client_id, last.filter.as_str())));
        Ok(Response::new(TopicsListSubscriptionsResponse {
            next_page_token: next.unwrap_or_default(),
            subscriptions: found
                .subscriptions
                .iter()
                .map(|one| subscription(&realm.name, &one.client_id, one.filter.as_str(), one.options))
                .collect(),
            peer_nodes: found.peers.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn explain(
        &self,
        request: Request<TopicsExplainRequest>,
    ) -> Result<Response<TopicsExplainResponse>, Status> {
        let request = request.into_inner();
        let realm = self.0.realm(&request.realm)?;
        let client = Some(request.client_id).filter(|client| !client.is_empty());
        let client = client.ok_or_else(|| Refused::field("client_id", "it is empty", "a client's id"))?;
        let question = match request.question {
            Some(Question::Publish(asked)) => explain::Request::Pub {
                topic: asked.topic,
                qos: qos(asked.qos)?,
                retain: asked.retain,
                client: Some(client),
            },
            Some(Question::Subscribe(asked)) => {
                let qos = qos(asked.qos)?;
                explain::Request::Sub { filter: asked.filter, qos, client: Some(client) }
            }
            None => return Err(Refused::field("question", "nothing is asked", "publish or subscribe").into()),
        };
        let broker = self.0.broker.clone();
        let answer = blocking(move || {
            let answer = broker.explain(&realm, question);
            let json = serde_json::to_string(&answer).unwrap_or_default();
            match answer {
                Answer::Pub(told) => {
                    let streams = told.streams.iter().map(ToString::to_string).collect();
                    Ok(TopicsExplainResponse { allowed: told.allowed, rule: told.rule, json, streams })
                }
                Answer::Sub(told) => {
                    let (allowed, rule, streams) = (told.allowed, told.rule, Vec::new());
                    Ok(TopicsExplainResponse { allowed, rule, json, streams })
                }
                Answer::Error { .. } => {
                    Err(Refused::not_found("client_id", "nobody knows who this client is"))
                }
            }
        });
        Ok(Response::new(answer.await?))
    }
}

impl Topics {
    async fn delete(
        &self,
        request: &TopicsDeleteRetainedRequest,
    ) -> Result<TopicsDeleteRetainedResponse, Refused> {
        let realm = self.0.realm(&request.realm)?;
        let filter = plain_filter("filter", &request.filter)?;
        let (mut after, mut deleted) = (None, 0);
        loop {
            let max =
                PageMax { messages: DELETED_MAX - deleted, bytes: PAGE_BYTES_MAX, examined: EXAMINED_MAX };
            let page = realm.retained.page(&filter, after.as_ref(), clock::unix(), max);
            for message in &page.messages {
                // One after the other: cancelled in the middle, no more are removed.
                if !request.dry_run {
                    self.remove(&realm, &message.topic).await?;
                }
                deleted += 1;
            }
            after = page.next;
            if after.is_none() || deleted >= DELETED_MAX {
                return Ok(TopicsDeleteRetainedResponse { deleted: deleted as u64, more: after.is_some() });
            }
            tokio::task::yield_now().await;
        }
    }

    /// As a client would: by an empty message with RETAIN (MQTT-3.3.1-6).
    async fn remove(&self, realm: &Arc<Realm>, topic: &Topic) -> Result<(), Refused> {
        if topic.starts_with('$') {
            let problem = "it begins with `$` and is the broker's own";
            return Err(Refused::field("filter", problem, "a topic of clients"));
        }
        let empty = Message {
            topic: topic.clone(),
            payload: Bytes::new(),
            qos: Qos::AtMostOnce,
            retain: true,
            expires_at: None,
            properties: None,
        };
        match self.0.broker.publish(realm, &Arc::new(empty), None).await {
            true => Ok(()),
            false => Err(Refused::new(Code::Unavailable, "store", "the store did not take it")),
        }
    }
}

fn told(realm: &Realm, message: &Message, with_payload: bool) -> RetainedMessage {
    let properties = message.properties.as_deref();
    let user = properties.map(|all| all.user.as_slice()).unwrap_or_default();
    RetainedMessage {
        topic: message.topic.to_string(),
        position: realm.retained.position(&message.topic).map(|at| at.to_string()).unwrap_or_default(),
        qos: message.qos as u32,
        payload_bytes: message.payload.len() as u64,
        payload: if with_payload { message.payload.clone() } else { Bytes::new() },
        content_type: properties.and_then(|all| all.content_type.as_deref()).unwrap_or_default().to_owned(),
        expires_unix_ms: message.expires_at.map_or(0, |at| at.0),
        user_properties: user
            .iter()
            .map(|(name, value)| UserProperty { name: name.to_string(), value: value.to_string() })
            .collect(),
    }
}

fn topic(field: &'static str, name: &str) -> Result<Topic, Refused> {
    Topic::new(name)
        .map_err(|problem| Refused::field(field, format!("it {problem}"), "a topic without wildcards"))
}

fn topic_behind(token: &str) -> Result<Option<Topic>, Refused> {
    let name: Option<String> = page::behind(token)?;
    name.map(|name| topic("page_token", &name)).transpose()
}

fn filter(field: &'static str, text: &str) -> Result<Filter, Refused> {
    Filter::new(text).map_err(|problem| Refused::field(field, format!("it {problem}"), "a topic filter"))
}

/// A filter that is no shared one: of retained messages there is nothing to share.
fn plain_filter(field: &'static str, text: &str) -> Result<Filter, Refused> {
    let filter = filter(field, text)?;
    match filter.share() {
        None => Ok(filter),
        Some(_) => Err(Refused::field(field, "it is a shared one", "a filter without $share")),
    }
}

fn qos(qos: u32) -> Result<u8, Refused> {
    match u8::try_from(qos) {
        Ok(qos @ 0..=2) => Ok(qos),
        _ => Err(Refused::field("qos", format!("there is no QoS {qos}"), "0, 1 or 2")),
    }
}
