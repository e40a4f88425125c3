//! SUBACK and UNSUBACK to bytes.

use super::sink::{Body, Properties, Sink};
use crate::mqtt::property::Property;
use crate::mqtt::{ReasonCode, Suback, Version};

/// The two answers, which differ in what MQTT 3.x can say in them.
pub(super) struct SubackFrame<'a> {
    suback: &'a Suback<'a>,
    has_v3_codes: bool,
}

impl<'a> SubackFrame<'a> {
    pub(super) fn new(suback: &'a Suback<'a>) -> SubackFrame<'a> {
        SubackFrame { suback, has_v3_codes: true }
    }

    pub(super) fn of_unsubscribe(unsuback: &'a Suback<'a>) -> SubackFrame<'a> {
        SubackFrame { suback: unsuback, has_v3_codes: false }
    }
}

impl Body for SubackFrame<'_> {
    fn write(&self, version: Version, sink: &mut impl Sink) {
        sink.u16(self.suback.packet_id.get());
        if version == Version::V5 {
            sink.property_block(self);
            self.suback.codes.iter().for_each(|code| sink.u8(code.as_u8()));
        } else if self.has_v3_codes {
            self.suback.codes.iter().for_each(|code| sink.u8(v3_code(code)));
        }
    }
}

impl Properties for SubackFrame<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        sink.text_property(Property::ReasonString, self.suback.reason);
        sink.user_properties(self.suback.user);
    }
}

/// MQTT 3.x knows one refusal (MQTT 3.1.1, 3.9.3).
fn v3_code(code: ReasonCode) -> u8 {
    if code.is_error() { 0x80 } else { code.as_u8() }
}
