//! CONNECT (MQTT 5, 3.1): the first packet, which fixes the version.

use std::num::{NonZeroU16, NonZeroU32};

use weir_model::Qos;

use super::property::{Block, Property};
use super::reader::Reader;
use super::{
    ConnectError, DecodeError, FRAME_BYTES_MAX, MessageProperties, PacketType, ReasonCode, UserProperties,
    Version, body, frame_len,
};

const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL_QOS: u8 = 0x18;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;

/// The bit of the protocol level by which mosquitto's bridges tell that they are bridges.
pub(super) const BRIDGE: u8 = 0x80;

/// Who connects and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Connect<'a> {
    pub version: Version,
    /// The bridge bit was set (levels 0x83 and 0x84); such a peer wants its own messages not sent
    /// back and RETAIN kept as published. Never with MQTT 5, which has options for both.
    pub bridge: bool,
    /// "Clean session" in MQTT 3.x.
    pub clean_start: bool,
    /// In seconds; 0 turns the check off (MQTT 5, 3.1.2.10).
    pub keep_alive: u16,
    /// 0 to 65,535 bytes; whether it may be empty is the caller's to say (MQTT-3.1.3-8).
    pub client_id: &'a str,
    pub will: Option<Will<'a>>,
    pub username: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    /// `None` is 0 in MQTT 5 (MQTT 5, 3.1.2.11.2).
    pub session_expiry_seconds: Option<u32>,
    /// QoS 1 and 2 messages the client takes at once; `None` is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The longest frame the client takes, in bytes.
    pub packet_bytes_max: Option<NonZeroU32>,
    /// 0: the client takes no aliases.
    pub topic_alias_maximum: u16,
    pub request_response_information: bool,
    /// Whether reason strings and user properties may come on any packet (MQTT-3.1.2-29).
    pub request_problem_information: bool,
    pub user: UserProperties<'a>,
    pub authentication_method: Option<&'a str>,
    pub authentication_data: Option<&'a [u8]>,
}

/// What to publish when the session ends without goodbye (MQTT 5, 3.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Will<'a> {
    /// Checked as UTF-8 only.
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: Qos,
    pub retain: bool,
    /// Will delay interval in seconds.
    pub delay_seconds: u32,
    pub properties: MessageProperties<'a>,
}

impl<'a> Connect<'a> {
    /// A CONNECT with a clean start, no will, no credentials, keep alive off and no limits.
    pub fn new(version: Version, client_id: &'a str) -> Connect<'a> {
        Connect {
            version,
            bridge: false,
            clean_start: true,
            keep_alive: 0,
            client_id,
            will: None,
            username: None,
            password: None,
            session_expiry_seconds: None,
            receive_maximum: None,
            packet_bytes_max: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user: UserProperties::default(),
            authentication_method: None,
            authentication_data: None,
        }
    }

    /// The byte of connect flags (MQTT 5, 3.1.2.3).
    pub(super) fn flags(&self) -> u8 {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let will =
            self.will.as_ref().map_or(0, |will| WILL | (will.qos as u8) << 3 | bit(will.retain, WILL_RETAIN));
        will | bit(self.username.is_some(), USER_NAME)
            | bit(self.password.is_some(), PASSWORD)
            | bit(self.clean_start, CLEAN_START)
    }

    fn read_rest(&mut self, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        let flags = reader.u8()?;
        check_flags(flags, self.version)?;
        self.clean_start = flags & CLEAN_START != 0;
        self.keep_alive = reader.u16()?;
        if self.version == Version::V5 {
            self.read_properties(reader)?;
        }
        self.client_id = reader.text()?;
        if flags & WILL != 0 {
            self.will = Some(Will::read(reader, flags, self.version)?);
        }
        if flags & USER_NAME != 0 && !self.lacks_credentials(reader) {
            self.username = Some(reader.text()?);
        }
        if flags & PASSWORD != 0 && !self.lacks_credentials(reader) {
            self.password = Some(reader.binary()?);
        }
        reader.finish()
    }

    /// MQTT 3.1 lets a packet end before the user name and password its flags announce.
    fn lacks_credentials(&self, reader: &Reader<'a>) -> bool {
        self.version == Version::V31 && reader.is_empty()
    }

    fn read_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        use Property as P;
        let mut block = Block::open(reader)?;
        while let Some(property) = block.next()? {
            match property {
                P::SessionExpiry => self.session_expiry_seconds = Some(block.u32()?),
                P::ReceiveMaximum => self.receive_maximum = Some(block.receive_maximum()?),
                P::MaximumPacketSize => self.packet_bytes_max = Some(block.packet_bytes_max()?),
                P::TopicAliasMaximum => self.topic_alias_maximum = block.u16()?,
                P::RequestResponseInformation => {
                    self.request_response_information = block.flag()?;
                }
                P::RequestProblemInformation => self.request_problem_information = block.flag()?,
                P::User => block.user(&mut self.user)?,
                P::AuthenticationMethod => self.authentication_method = Some(block.text()?),
                P::AuthenticationData => self.authentication_data = Some(block.binary()?),
                other => return Err(other.misplaced()),
            }
        }
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(DecodeError::protocol("authentication data without a method"));
        }
        Ok(())
    }
}

impl<'a> Will<'a> {
    /// A will of QoS 0 with nothing said about it.
    pub fn new(topic: &'a str, payload: &'a [u8]) -> Will<'a> {
        let properties = MessageProperties::default();
        Will { topic, payload, qos: Qos::AtMostOnce, retain: false, delay_seconds: 0, properties }
    }

    fn read(reader: &mut Reader<'a>, flags: u8, version: Version) -> Result<Will<'a>, DecodeError> {
        let mut will = Will::new("", &[]);
        will.retain = flags & WILL_RETAIN != 0;
        will.qos = Qos::from_bits((flags & WILL_QOS) >> 3).ok_or(DecodeError::malformed("will has qos 3"))?;
        if version == Version::V5 {
            let mut block = Block::open(reader)?;
            while let Some(property) = block.next()? {
                match property {
                    Property::WillDelay => will.delay_seconds = block.u32()?,
                    other => will.properties.read(other, &mut block)?,
                }
            }
        }
        will.topic = reader.text()?;
        will.payload = reader.binary()?;
        Ok(will)
    }
}

/// Reads exactly one whole CONNECT frame.
///
/// # Errors
///
/// What [`super::decode`] refuses, and unsupported protocol version (0x84) for a level that is not
/// spoken here, with the version whose CONNACK can say so: that of MQTT 5 from level 5 on, 3.1.1 below
/// and for `MQIsdp`.
/// A malformed CONNECT of MQTT 3.x gets no answer but the close (MQTT-3.1.4-1).
pub fn decode_connect(frame: &[u8]) -> Result<Connect<'_>, ConnectError> {
    let silent = |error| ConnectError { error, answer: None };
    let mut reader = open(frame).map_err(silent)?;
    let (version, bridge) = read_version(&mut reader)?;
    let mut connect = Connect { bridge, ..Connect::new(version, "") };
    match connect.read_rest(&mut reader) {
        Ok(()) => Ok(connect),
        Err(error) if version == Version::V5 => Err(ConnectError { error, answer: Some(Version::V5) }),
        Err(error) => Err(silent(error)),
    }
}

/// A reader of the body, if `frame` is one whole CONNECT.
fn open(frame: &[u8]) -> Result<Reader<'_>, DecodeError> {
    if frame_len(frame, FRAME_BYTES_MAX)? != Some(frame.len()) {
        return Err(DecodeError::malformed("bytes are not one whole frame"));
    }
    match frame.first().and_then(|first_byte| PacketType::of(*first_byte)) {
        Some(PacketType::Connect) => Ok(Reader::new(body(frame))),
        _ => Err(DecodeError::protocol("packet is not a connect")),
    }
}

/// Protocol name and level (MQTT-3.1.2-1, MQTT-3.1.2-2).
fn read_version(reader: &mut Reader<'_>) -> Result<(Version, bool), ConnectError> {
    let silent = |error| ConnectError { error, answer: None };
    let name = reader.binary().map_err(silent)?;
    let level = reader.u8().map_err(silent)?;
    match (name, level) {
        (b"MQTT", 5) => Ok((Version::V5, false)),
        (b"MQTT", 4 | 0x84) => Ok((Version::V311, level & BRIDGE != 0)),
        (b"MQIsdp", 3 | 0x83) => Ok((Version::V31, level & BRIDGE != 0)),
        (b"MQTT" | b"MQIsdp", _) => {
            let answer = if name == b"MQTT" && level & !BRIDGE >= 5 { Version::V5 } else { Version::V311 };
            let code = ReasonCode::UnsupportedProtocolVersion;
            let error = DecodeError::new(code, "protocol version is not spoken here");
            Err(ConnectError { error, answer: Some(answer) })
        }
        _ => Err(silent(DecodeError::protocol("protocol name is not that of mqtt"))),
    }
}

/// Flags that contradict each other or the standard (MQTT-3.1.2-3, MQTT-3.1.2-11 to MQTT-3.1.2-15).
fn check_flags(flags: u8, version: Version) -> Result<(), DecodeError> {
    if flags & RESERVED != 0 && version != Version::V31 {
        return Err(DecodeError::malformed("connect flags have the reserved bit set"));
    }
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(DecodeError::malformed("connect flags speak of a will that is not there"));
    }
    if flags & WILL_QOS == WILL_QOS {
        return Err(DecodeError::malformed("will has qos 3"));
    }
    // MQTT-3.1.2-22 of 3.1.1; MQTT 5 allows a password alone.
    if flags & PASSWORD != 0 && flags & USER_NAME == 0 && version != Version::V5 {
        return Err(DecodeError::malformed("connect has a password without a user name"));
    }
    Ok(())
}
