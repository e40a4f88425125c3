//! AUTH, the packet of enhanced authentication (MQTT 5, 3.15).

use super::property::{Block, Property};
use super::reader::Reader;
use super::{DecodeError, ReasonCode, UserProperties, Version};

/// One step of an enhanced authentication, from either side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Auth<'a> {
    /// Success, continue authentication or re-authenticate (MQTT-3.15.2-1).
    pub code: ReasonCode,
    /// `None` only in the short form, which means success.
    pub method: Option<&'a str>,
    pub data: Option<&'a [u8]>,
    /// Reason string.
    pub reason: Option<&'a str>,
    pub user: UserProperties<'a>,
}

impl<'a> Auth<'a> {
    /// An AUTH of `method` without data.
    pub fn new(code: ReasonCode, method: &'a str) -> Auth<'a> {
        let user = UserProperties::default();
        Auth { code, method: Some(method), data: None, reason: None, user }
    }

    pub(super) fn read(body: &'a [u8], version: Version) -> Result<Auth<'a>, DecodeError> {
        if version != Version::V5 {
            return Err(DecodeError::malformed("packet type 15 is reserved before mqtt 5"));
        }
        let mut reader = Reader::new(body);
        let mut auth = Auth { method: None, ..Auth::new(ReasonCode::Success, "") };
        if reader.is_empty() {
            return Ok(auth);
        }
        auth.code = ReasonCode::read(&mut reader, is_known)?;
        auth.read_properties(&mut reader)?;
        reader.finish()?;
        if auth.method.is_none() {
            return Err(DecodeError::protocol("auth has no authentication method"));
        }
        Ok(auth)
    }

    fn read_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        let mut block = Block::open(reader)?;
        while let Some(property) = block.next()? {
            match property {
                Property::AuthenticationMethod => self.method = Some(block.text()?),
                Property::AuthenticationData => self.data = Some(block.binary()?),
                Property::ReasonString => self.reason = Some(block.text()?),
                Property::User => block.user(&mut self.user)?,
                other => return Err(other.misplaced()),
            }
        }
        Ok(())
    }
}

fn is_known(code: ReasonCode) -> bool {
    use ReasonCode as R;
    matches!(code, R::Success | R::ContinueAuthentication | R::Reauthenticate)
}
