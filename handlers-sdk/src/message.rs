//! A message that was published, as a handler sees it.

use serde::de::DeserializeOwned;

use crate::Failure;

/// A message that was published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The topic it was published to, for example `shop/7/orders`. Never a filter.
    pub topic: String,
    /// As published.
    pub payload: Vec<u8>,
    /// What its order and its [`kv`](crate::kv) state go by; empty when there is none.
    pub key: Vec<u8>,
    /// MQTT 5 content type (MQTT-3.3.2.3.9).
    pub content_type: Option<String>,
    /// Where an answer is wanted (MQTT-3.3.2.3.5).
    pub response_topic: Option<String>,
    /// To be repeated in an answer (MQTT-3.3.2.3.6).
    pub correlation_data: Option<Vec<u8>>,
    /// MQTT 5 user properties, in the publisher's order; names may repeat.
    pub user_properties: Vec<(String, String)>,
    /// Its place in the stream, as text that sorts; none for a live binding.
    pub position: Option<String>,
    /// The same at every attempt, and for no other message of this binding.
    pub id: (u64, u64),
    /// Milliseconds since 1970 on the broker's clock: when it was published. The same at every attempt.
    pub published_at: u64,
    /// 1 for the first attempt.
    pub attempt: u32,
}

impl Message {
    /// The payload as JSON.
    ///
    /// # Errors
    /// [`Failure::Reject`] with what is wrong and where, when it is not the JSON of a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        Ok(serde_json::from_slice(&self.payload)?)
    }

    /// The payload as text.
    ///
    /// # Errors
    /// [`Failure::Reject`] when it is not UTF-8.
    pub fn text(&self) -> Result<&str, Failure> {
        str::from_utf8(&self.payload)
            .map_err(|error| Failure::reject(format!("payload is not UTF-8: {error}")))
    }

    /// The first user property of this name.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.user_properties.iter().find(|(has, _)| has == name).map(|(_, value)| value.as_str())
    }

    /// The levels of the topic: `shop`, `7`, `orders`.
    pub fn levels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.topic.split('/')
    }
}
