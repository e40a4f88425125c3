//! AUTH to bytes.

use super::sink::{Body, Properties, Sink};
use crate::mqtt::property::Property;
use crate::mqtt::{Auth, ReasonCode, Version};

impl Body for Auth<'_> {
    fn write(&self, _: Version, sink: &mut impl Sink) {
        let has_properties =
            self.method.is_some() || self.data.is_some() || self.reason.is_some() || !self.user.is_empty();
        if self.code == ReasonCode::Success && !has_properties {
            return;
        }
        sink.u8(self.code.as_u8());
        sink.property_block(self);
    }
}

impl Properties for Auth<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        sink.text_property(Property::AuthenticationMethod, self.method);
        sink.binary_property(Property::AuthenticationData, self.data);
        sink.text_property(Property::ReasonString, self.reason);
        sink.user_properties(self.user);
    }
}
