//! A message that a handler wants published.

use serde::Serialize;

use crate::{Failure, Message};

/// A message that a handler wants published: [`Event::to`] a topic, then what it carries.
///
/// ```
/// # fn main() -> Result<(), weir_handler::Failure> {
/// use weir_handler::Event;
///
/// let event = Event::to("shop/7/sold").json(&["apple", "pear"])?.qos(1).property("till", "3");
/// assert_eq!(event.payload, br#"["apple","pear"]"#);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Event {
    /// Where to; must be covered by the outputs that the binding grants. Never `$SYS`.
    pub topic: String,
    /// What it carries.
    pub payload: Vec<u8>,
    /// 0, 1 or 2 (MQTT-4.3).
    pub qos: u8,
    /// Kept as the last value of its topic (MQTT-3.3.1.3).
    pub retain: bool,
    /// MQTT 5 content type (MQTT-3.3.2.3.9).
    pub content_type: Option<String>,
    /// Where an answer is wanted (MQTT-3.3.2.3.5).
    pub response_topic: Option<String>,
    /// To be repeated in an answer (MQTT-3.3.2.3.6).
    pub correlation_data: Option<Vec<u8>>,
    /// MQTT 5 user properties; names may repeat.
    pub user_properties: Vec<(String, String)>,
    /// Seconds after which it is not worth delivering; none = never.
    pub expiry_seconds: Option<u32>,
}

impl Event {
    /// An empty message to this topic, QoS 0, not retained.
    pub fn to(topic: impl Into<String>) -> Event {
        Event { topic: topic.into(), ..Event::default() }
    }

    /// Carries this as JSON, with the content type `application/json`.
    ///
    /// # Errors
    /// [`Failure::Reject`] when serde cannot write it, for example a map whose keys are no strings.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Result<Event, Failure> {
        self.payload = serde_json::to_vec(value).map_err(|error| Failure::unwritable(&error))?;
        self.content_type = Some("application/json".to_owned());
        Ok(self)
    }

    /// Carries this text, with the content type `text/plain`.
    pub fn text(mut self, text: impl Into<String>) -> Event {
        self.payload = text.into().into_bytes();
        self.content_type = Some("text/plain".to_owned());
        self
    }

    /// Carries these bytes.
    pub fn bytes(mut self, bytes: impl Into<Vec<u8>>) -> Event {
        self.payload = bytes.into();
        self
    }

    /// 0 = at most once, 1 = at least once, 2 = exactly once (MQTT-4.3). The broker refuses anything else.
    pub fn qos(mut self, qos: u8) -> Event {
        self.qos = qos;
        self
    }

    /// Kept as the last value of its topic (MQTT-3.3.1.3).
    pub fn retain(mut self) -> Event {
        self.retain = true;
        self
    }

    /// One more user property.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Event {
        self.user_properties.push((name.into(), value.into()));
        self
    }

    /// What the payload is, for example `image/png`.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Event {
        self.content_type = Some(content_type.into());
        self
    }

    /// Not worth delivering after so many seconds.
    pub fn expires_after(mut self, seconds: u32) -> Event {
        self.expiry_seconds = Some(seconds);
        self
    }

    /// Asks for an answer to this topic.
    pub fn answer_to(mut self, topic: impl Into<String>) -> Event {
        self.response_topic = Some(topic.into());
        self
    }

    /// Makes it the answer to a message (MQTT-4.10): it repeats the message's correlation data, and goes to the
    /// message's response topic where it names one.
    pub fn reply_to(mut self, message: &Message) -> Event {
        if let Some(topic) = &message.response_topic {
            self.topic.clone_from(topic);
        }
        self.correlation_data.clone_from(&message.correlation_data);
        self
    }
}
