//! World `command`: a message is handled, and the events it leads to are published where the binding may.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use weir_model::{Message, Topic};
use weir_runtime::{Event, Host, Invocation, Pool};
use weir_store::{KEPT_KEY_BYTES_MAX, KEPT_VALUE_BYTES_MAX};

use super::logs::CallResult;
use super::work::{Answered, Question, Task, Work, Wrong, kept_key, mark};
use crate::clock;
use crate::publish::cache::is_broker_only;
use crate::stream::group::Effects;

/// A message to be handled.
pub(super) struct Command<'a> {
    pub task: &'a Task<'a>,
    pub host: &'a Arc<dyn Host>,
}

impl Question for Command<'_> {
    type Answer = Vec<Event>;

    fn key(&self) -> &[u8] {
        self.task.key
    }

    async fn ask(&self, pool: &Pool) -> Invocation<Vec<Event>> {
        pool.handle(&self.task.as_call(false), self.host).await
    }

    fn judge(&self, work: &Work, answered: Answered<Vec<Event>>) -> Result<Effects, Wrong> {
        let Answered { answer, writes, hops } = answered;
        let message = |event| message(work, self.task.message, event, hops);
        let owed = answer.into_iter().map(message).collect::<Result<_, Wrong>>()?;
        let kept = writes.into_iter().map(|(name, value)| self.kept(&name, value));
        Ok(Effects { kept: kept.collect::<Result<_, Wrong>>()?, owed })
    }
}

impl Command<'_> {
    fn kept(&self, name: &str, value: Option<Bytes>) -> Result<(Bytes, Option<Bytes>), Wrong> {
        let key = kept_key(self.task.key, name);
        let bytes = value.as_ref().map_or(0, Bytes::len);
        if key.len() > KEPT_KEY_BYTES_MAX || bytes > KEPT_VALUE_BYTES_MAX {
            let text = format!(
                "the value `{name}` cannot be kept: its name and the message's key have {} bytes of \
                 {KEPT_KEY_BYTES_MAX}, it has {bytes} of {KEPT_VALUE_BYTES_MAX}",
                key.len()
            );
            return Err((text, CallResult::BadOutput));
        }
        Ok((key, value))
    }
}

/// The event as a message, if the binding may publish it.
fn message(work: &Work, cause: &Message, event: Event, hops: u32) -> Result<Arc<Message>, Wrong> {
    let topic = Topic::new(&event.topic);
    let topic = topic.map_err(|error| (format!("`{}`: {error}", event.topic), CallResult::BadOutput))?;
    let may = work.binding.outputs.iter().any(|filter| filter.matches(&topic));
    if !may || topic.starts_with("$SYS") || is_broker_only(&topic) {
        let text = format!("the binding may not publish to `{topic}`: it is not among its outputs");
        return Err((text, CallResult::Forbidden));
    }
    let expires = |seconds| clock::unix().after(Duration::from_secs(u64::from(seconds)));
    let mut properties = event.properties.unwrap_or_default();
    mark(cause, &mut properties, hops);
    Ok(Arc::new(Message {
        topic,
        payload: event.payload,
        qos: event.qos,
        retain: event.retain,
        expires_at: event.expiry_seconds.map(expires),
        properties: Some(properties),
    }))
}
