//! PUBACK, PUBREC, PUBREL, PUBCOMP and DISCONNECT to bytes: the packets with a short form.

use super::sink::{Body, Properties, Sink};
use crate::mqtt::property::Property;
use crate::mqtt::{Ack, Disconnect, ReasonCode, Version};

/// The four acknowledgements, which differ in their first byte only.
pub(super) struct AckFrame<'a>(pub(super) &'a Ack<'a>);

impl Body for AckFrame<'_> {
    #[inline]
    fn write(&self, version: Version, sink: &mut impl Sink) {
        let ack = self.0;
        sink.u16(ack.packet_id.get());
        let has_properties = ack.reason.is_some() || !ack.user.is_empty();
        if version != Version::V5 || ack.code == ReasonCode::Success && !has_properties {
            return;
        }
        sink.u8(ack.code.as_u8());
        if has_properties {
            sink.property_block(self);
        }
    }
}

impl Properties for AckFrame<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        sink.text_property(Property::ReasonString, self.0.reason);
        sink.user_properties(self.0.user);
    }
}

impl Body for Disconnect<'_> {
    fn write(&self, version: Version, sink: &mut impl Sink) {
        let has_properties = self.session_expiry_seconds.is_some()
            || self.reason.is_some()
            || self.server_reference.is_some()
            || !self.user.is_empty();
        if version != Version::V5 || self.code == ReasonCode::Success && !has_properties {
            return;
        }
        sink.u8(self.code.as_u8());
        if has_properties {
            sink.property_block(self);
        }
    }
}

impl Properties for Disconnect<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        sink.u32_property(Property::SessionExpiry, self.session_expiry_seconds);
        sink.text_property(Property::ReasonString, self.reason);
        sink.text_property(Property::ServerReference, self.server_reference);
        sink.user_properties(self.user);
    }
}
