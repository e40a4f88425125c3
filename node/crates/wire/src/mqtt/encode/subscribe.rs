//! SUBSCRIBE and UNSUBSCRIBE to bytes.

use super::sink::{Body, Properties, Sink};
use crate::mqtt::property::Property;
use crate::mqtt::{Subscribe, Unsubscribe, Version};

impl Body for Subscribe<'_> {
    fn write(&self, version: Version, sink: &mut impl Sink) {
        sink.u16(self.packet_id.get());
        if version == Version::V5 {
            sink.property_block(self);
        }
        for (filter, options) in self.filters {
            sink.text(filter);
            sink.u8(if version == Version::V5 { options.as_u8() } else { options.qos as u8 });
        }
    }
}

impl Properties for Subscribe<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        if let Some(id) = self.subscription_id {
            sink.u8(Property::SubscriptionId as u8);
            sink.varint(id);
        }
        sink.user_properties(self.user);
    }
}

impl Body for Unsubscribe<'_> {
    fn write(&self, version: Version, sink: &mut impl Sink) {
        sink.u16(self.packet_id.get());
        if version == Version::V5 {
            sink.property_block(self);
        }
        self.filters.iter().for_each(|filter| sink.text(filter));
    }
}

impl Properties for Unsubscribe<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        sink.user_properties(self.user);
    }
}
