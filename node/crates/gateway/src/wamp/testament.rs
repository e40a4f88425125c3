//! Testaments: events that a session leaves behind, published when it ends (WAMP, "Session Testaments").
//!
//! They lie in the session's memory: a node that dies takes them along.

use weir_broker::form::Publish;
use weir_broker::publish::{Answering, Verdict};
use weir_model::{Properties, Qos};

use super::channel::Wamp;

/// An event to be published.
pub struct Testament {
    /// A canonical topic.
    pub topic: Box<str>,
    pub payload: Box<[u8]>,
    pub properties: Option<Box<Properties>>,
    pub retain: bool,
}

impl Wamp {
    /// Publishes what the session leaves behind, as far as it may.
    pub fn publish_testaments(&mut self) {
        for testament in std::mem::take(&mut self.testaments) {
            let publish = Publish {
                topic: &testament.topic,
                payload: &testament.payload,
                qos: Qos::AtMostOnce,
                retain: testament.retain,
                expiry_seconds: None,
                properties: testament.properties.clone(),
                conditions: None,
            };
            // A run that is held is pushed first, and a full receiver is not waited for.
            if self.publisher.publish(publish.clone(), Answering::Nothing) == Verdict::Hold {
                self.publisher.push();
                self.publisher.publish(publish, Answering::Nothing);
            }
        }
        self.publisher.push();
    }
}
