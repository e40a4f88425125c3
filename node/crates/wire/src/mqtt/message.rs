//! The properties a message keeps on its way: of a PUBLISH and of a will (MQTT 5, 3.3.2.3).

use super::property::{Block, Property};
use super::{DecodeError, UserProperties};

/// What a publisher says about a message beside its payload.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MessageProperties<'a> {
    /// Payload format indicator 1: the payload claims to be UTF-8. The codec does not check it.
    pub payload_is_utf8: bool,
    /// Message expiry interval in seconds.
    pub expiry_seconds: Option<u32>,
    pub content_type: Option<&'a str>,
    /// Checked as UTF-8 only; that it has no wildcards (MQTT-3.3.2-14) is the caller's to check.
    pub response_topic: Option<&'a str>,
    pub correlation_data: Option<&'a [u8]>,
    pub user: UserProperties<'a>,
}

impl<'a> MessageProperties<'a> {
    /// Whether nothing is said at all.
    #[inline]
    pub fn is_empty(&self) -> bool {
        !self.payload_is_utf8
            && self.expiry_seconds.is_none()
            && self.content_type.is_none()
            && self.response_topic.is_none()
            && self.correlation_data.is_none()
            && self.user.is_empty()
    }

    /// Reads `property` of `block` if it is one of these, else says that it is misplaced.
    pub(super) fn read(&mut self, property: Property, block: &mut Block<'a>) -> Result<(), DecodeError> {
        match property {
            Property::PayloadFormat => self.payload_is_utf8 = block.flag()?,
            Property::MessageExpiry => self.expiry_seconds = Some(block.u32()?),
            Property::ContentType => self.content_type = Some(block.text()?),
            Property::ResponseTopic => self.response_topic = Some(block.text()?),
            Property::CorrelationData => self.correlation_data = Some(block.binary()?),
            Property::User => block.user(&mut self.user)?,
            other => return Err(other.misplaced()),
        }
        Ok(())
    }
}
