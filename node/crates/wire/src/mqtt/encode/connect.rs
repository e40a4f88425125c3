//! CONNECT to bytes.

use super::sink::{Body, Properties, Sink};
use crate::mqtt::connect::BRIDGE;
use crate::mqtt::property::Property;
use crate::mqtt::{Connect, Version, Will};

impl Body for Connect<'_> {
    fn write(&self, version: Version, sink: &mut impl Sink) {
        let (name, level) = match version {
            Version::V31 => ("MQIsdp", 3),
            Version::V311 => ("MQTT", 4),
            Version::V5 => ("MQTT", 5),
        };
        let is_bridge = self.bridge && version != Version::V5;
        sink.text(name);
        sink.u8(if is_bridge { level | BRIDGE } else { level });
        sink.u8(self.flags());
        sink.u16(self.keep_alive);
        if version == Version::V5 {
            sink.property_block(self);
        }
        sink.text(self.client_id);
        if let Some(will) = &self.will {
            if version == Version::V5 {
                sink.property_block(will);
            }
            sink.text(will.topic);
            sink.binary(will.payload);
        }
        if let Some(username) = self.username {
            sink.text(username);
        }
        if let Some(password) = self.password {
            sink.binary(password);
        }
    }
}

impl Properties for Connect<'_> {
    /// What is the standard's default is not said.
    fn write_properties(&self, sink: &mut impl Sink) {
        use Property as P;
        sink.u32_property(P::SessionExpiry, self.session_expiry_seconds);
        if let Some(maximum) = self.receive_maximum {
            sink.u16_property(P::ReceiveMaximum, maximum.get());
        }
        sink.u32_property(P::MaximumPacketSize, self.packet_bytes_max.map(|max| max.get()));
        if self.topic_alias_maximum > 0 {
            sink.u16_property(P::TopicAliasMaximum, self.topic_alias_maximum);
        }
        if self.request_response_information {
            sink.flag_property(P::RequestResponseInformation, true);
        }
        if !self.request_problem_information {
            sink.flag_property(P::RequestProblemInformation, false);
        }
        sink.text_property(P::AuthenticationMethod, self.authentication_method);
        sink.binary_property(P::AuthenticationData, self.authentication_data);
        sink.user_properties(self.user);
    }
}

impl Properties for Will<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        let delay = (self.delay_seconds > 0).then_some(self.delay_seconds);
        sink.u32_property(Property::WillDelay, delay);
        self.properties.write_properties(sink);
    }
}
