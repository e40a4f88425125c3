//! CONNACK to bytes.

use weir_model::Qos;

use super::sink::{Body, Properties, Sink};
use crate::mqtt::property::Property;
use crate::mqtt::{Connack, Version};

impl Body for Connack<'_> {
    fn write(&self, version: Version, sink: &mut impl Sink) {
        sink.u8(u8::from(self.session_present && version != Version::V31));
        if version == Version::V5 {
            sink.u8(self.code.as_u8());
            sink.property_block(self);
        } else {
            sink.u8(self.code.to_v3_connack());
        }
    }
}

impl Properties for Connack<'_> {
    /// What is the standard's default is not said.
    fn write_properties(&self, sink: &mut impl Sink) {
        use Property as P;
        sink.u32_property(P::SessionExpiry, self.session_expiry_seconds);
        if let Some(maximum) = self.receive_maximum {
            sink.u16_property(P::ReceiveMaximum, maximum.get());
        }
        if self.maximum_qos != Qos::ExactlyOnce {
            sink.flag_property(P::MaximumQos, self.maximum_qos == Qos::AtLeastOnce);
        }
        sink.u32_property(P::MaximumPacketSize, self.packet_bytes_max.map(|max| max.get()));
        sink.text_property(P::AssignedClientId, self.assigned_client_id);
        if self.topic_alias_maximum > 0 {
            sink.u16_property(P::TopicAliasMaximum, self.topic_alias_maximum);
        }
        let offers = [
            (P::RetainAvailable, self.retain_available),
            (P::WildcardSubscriptionAvailable, self.wildcard_subscription_available),
            (P::SubscriptionIdsAvailable, self.subscription_ids_available),
            (P::SharedSubscriptionAvailable, self.shared_subscription_available),
        ];
        for (property, _) in offers.into_iter().filter(|(_, available)| !available) {
            sink.flag_property(property, false);
        }
        if let Some(keep_alive) = self.server_keep_alive {
            sink.u16_property(P::ServerKeepAlive, keep_alive);
        }
        sink.text_property(P::ResponseInformation, self.response_information);
        sink.text_property(P::ServerReference, self.server_reference);
        sink.text_property(P::AuthenticationMethod, self.authentication_method);
        sink.binary_property(P::AuthenticationData, self.authentication_data);
        sink.text_property(P::ReasonString, self.reason);
        sink.user_properties(self.user);
    }
}
