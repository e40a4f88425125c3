//! `Test`: a handler is called with messages, and nothing comes of it.

use std::sync::Arc;

use weir_broker::binding::{CallResult, Trial, TrialMessage, TrialOutcome};
use weir_broker::runtime::Event;
use weir_model::{Message, Properties, Qos, Topic};

use super::{Shared, bindings, define, realm_name};
use crate::error::Refused;
use crate::proto::{
    HandlerTestEvent, HandlerTestMessage, HandlerTestOutcome, HandlersTestRequest, HandlersTestResponse,
};

/// Messages of one test.
const MESSAGES_MAX: usize = 1000;

pub async fn run(shared: &Shared, request: HandlersTestRequest) -> Result<HandlersTestResponse, Refused> {
    define::name("name", &request.name)?;
    if request.messages.len() > MESSAGES_MAX {
        return Err(Refused::field("messages", "there are too many", format!("at most {MESSAGES_MAX}")));
    }
    let messages = request.messages.into_iter().map(message).collect::<Result<_, _>>()?;
    let config = request.config.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let trial = Trial {
        handler: request.name.as_str().into(),
        which: bindings::which(&request.alias, &request.digest),
        limits: bindings::limits(request.limits.as_ref()),
        config,
        is_changelog: request.changelog,
        messages,
    };
    let outcomes = shared.broker.try_handler(&realm_name(&request.realm), trial).await?;
    Ok(HandlersTestResponse { outcomes: outcomes.into_iter().map(told).collect() })
}

fn message(asked: HandlerTestMessage) -> Result<TrialMessage, Refused> {
    let topic = Topic::new(&asked.topic);
    let topic = topic.map_err(|problem| Refused::field("messages", problem.to_string(), "a topic name"))?;
    let text = |text: String| Some(text).filter(|text| !text.is_empty()).map(String::into_boxed_str);
    let properties = Properties {
        payload_is_utf8: false,
        content_type: text(asked.content_type),
        response_topic: text(asked.response_topic),
        correlation_data: asked.correlation_data,
        user: asked.user_properties.into_iter().map(|user| (user.name.into(), user.value.into())).collect(),
    };
    let message = Message {
        topic,
        payload: asked.payload,
        qos: Qos::AtLeastOnce,
        retain: false,
        expires_at: None,
        properties: (properties != Properties::default()).then(|| Box::new(properties)),
    };
    Ok(TrialMessage { message: Arc::new(message), key: asked.key })
}

fn told(outcome: TrialOutcome) -> HandlerTestOutcome {
    let (result, reason, events) = match outcome.result {
        Ok(events) => (CallResult::Done, String::new(), events),
        Err(failure) => (CallResult::of(&failure), failure.to_string(), Vec::new()),
    };
    HandlerTestOutcome {
        result: result.as_str().to_owned(),
        reason,
        events: events.into_iter().map(event).collect(),
        log: outcome.log.into_iter().map(|line| line.text).collect(),
        took_us: u64::try_from(outcome.took.as_micros()).unwrap_or(u64::MAX),
    }
}

fn event(event: Event) -> HandlerTestEvent {
    HandlerTestEvent {
        topic: event.topic.into(),
        payload: event.payload,
        qos: event.qos as u32,
        retain: event.retain,
    }
}
