//! Reads records without copying; whatever the bytes are, it ends with records or an error with its place.

use weir_model::{Position, Qos, topic};

use super::{
    COPY_GROUP, COPY_RETAIN, COPY_UNKNOWN, HEAD_MORE, HEAD_RETAIN, HEAD_SAME_REALM, HEAD_SAME_TOPIC,
    HEAD_UNKNOWN, MORE_EXPIRY, MORE_NUMBERED, MORE_ONLY_NAMED, MORE_POSITION, MORE_PROPERTIES, MORE_SHARE,
    MORE_UNKNOWN, varint,
};

/// The bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed record at byte {at}: {what}")]
pub struct Malformed {
    pub at: usize,
    pub what: &'static str,
}

/// A record as it came: all borrowed from the run. The fields are those of [`super::Outgoing`].
#[derive(Debug, Clone)]
pub struct Incoming<'a> {
    pub realm: &'a str,
    /// A valid topic name.
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: Qos,
    pub retain: bool,
    pub expiry_ms_left: Option<u64>,
    /// For [`super::decode_properties`].
    pub properties: Option<&'a [u8]>,
    pub position: Option<Position>,
    pub numbered: IncomingCopies<'a>,
    pub share: Option<&'a str>,
    pub only_named: bool,
    /// Whether realm and topic are those of the record before.
    pub same_topic: bool,
}

/// What most records do not say.
#[derive(Default)]
struct More<'a> {
    expiry_ms_left: Option<u64>,
    properties: Option<&'a [u8]>,
    position: Option<Position>,
    numbered: IncomingCopies<'a>,
    share: Option<&'a str>,
}

/// The numbered copies of a record.
#[derive(Debug, Clone, Default)]
pub struct IncomingCopies<'a> {
    rest: &'a [u8],
    left: u64,
}

/// See [`super::Numbered`].
#[derive(Debug, Clone)]
pub struct IncomingNumbered<'a> {
    pub client_id: &'a str,
    pub generation: u64,
    pub number: u64,
    pub qos: Qos,
    pub retain: bool,
    pub subscription_ids: SubscriptionIds<'a>,
    pub group: Option<&'a str>,
}

/// The subscription ids of a numbered copy.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionIds<'a> {
    rest: &'a [u8],
}

/// The records of a run, or of several one behind the other; ends after the first error.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    reader: Reader<'a>,
    /// Realm and topic of the record before.
    before: Option<(&'a str, &'a str)>,
}

impl<'a> Records<'a> {
    /// Reads `run`; payloads and texts are slices of it.
    pub fn decode(run: &'a [u8]) -> Records<'a> {
        Records { reader: Reader { bytes: run, at: 0 }, before: None }
    }

    #[inline]
    fn record(&mut self) -> Result<Incoming<'a>, Malformed> {
        let reader = &mut self.reader;
        let head = reader.byte()?;
        if head & HEAD_UNKNOWN != 0 {
            return Err(reader.wrong_before("unknown bits in the head"));
        }
        let qos = Qos::from_bits(head & 3).ok_or(reader.wrong_before("there is no qos 3"))?;
        let more = if head & HEAD_MORE != 0 { reader.byte()? } else { 0 };
        if more & MORE_UNKNOWN != 0 {
            return Err(reader.wrong_before("unknown bits behind the head"));
        }
        let (realm, topic) = reader.names(head, self.before)?;
        self.before = Some((realm, topic));
        let More { expiry_ms_left, properties, position, numbered, share } =
            if more == 0 { More::default() } else { reader.more(more)? };
        let payload = reader.bytes()?;
        Ok(Incoming {
            realm,
            topic,
            payload,
            qos,
            retain: head & HEAD_RETAIN != 0,
            expiry_ms_left,
            properties,
            position,
            numbered,
            share,
            only_named: more & MORE_ONLY_NAMED != 0,
            same_topic: head & HEAD_SAME_TOPIC != 0,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Incoming<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.at == self.reader.bytes.len() {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            self.reader.at = self.reader.bytes.len();
        }
        Some(record)
    }
}

impl<'a> Iterator for IncomingCopies<'a> {
    type Item = IncomingNumbered<'a>;

    fn next(&mut self) -> Option<IncomingNumbered<'a>> {
        self.left = self.left.checked_sub(1)?;
        let mut reader = Reader { bytes: self.rest, at: 0 };
        // They have been read once when the record was decoded.
        let copy = reader.copy().ok()?;
        self.rest = &self.rest[reader.at..];
        Some(copy)
    }
}

impl Iterator for SubscriptionIds<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (id, taken) = varint::take(self.rest)?;
        self.rest = &self.rest[taken..];
        u32::try_from(id).ok()
    }
}

#[derive(Debug, Clone)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: &'static str) -> Malformed {
        Malformed { at: self.at, what }
    }

    /// Something is wrong with the byte just read.
    fn wrong_before(&self, what: &'static str) -> Malformed {
        Malformed { at: self.at.saturating_sub(1), what }
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = *self.bytes.get(self.at).ok_or(self.wrong("the record ends early"))?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn number(&mut self) -> Result<u64, Malformed> {
        let (value, taken) = varint::take(&self.bytes[self.at..]).ok_or(self.wrong("not a number"))?;
        self.at += taken;
        Ok(value)
    }

    #[inline]
    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.number()?;
        let rest = &self.bytes[self.at..];
        let bytes = usize::try_from(len).ok().and_then(|len| rest.get(..len));
        let bytes = bytes.ok_or(self.wrong("longer than what is left"))?;
        self.at += bytes.len();
        Ok(bytes)
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes)
            .map_err(|_| Malformed { at: self.at - bytes.len(), what: "the text is not utf-8" })
    }

    #[inline]
    fn names(
        &mut self,
        head: u8,
        before: Option<(&'a str, &'a str)>,
    ) -> Result<(&'a str, &'a str), Malformed> {
        let same = head & (HEAD_SAME_TOPIC | HEAD_SAME_REALM) != 0;
        match before {
            None if same => Err(self.wrong("the first record repeats another")),
            Some(names) if head & HEAD_SAME_TOPIC != 0 => Ok(names),
            Some((realm, _)) if same => Ok((realm, self.topic()?)),
            _ => Ok((self.text()?, self.topic()?)),
        }
    }

    fn topic(&mut self) -> Result<&'a str, Malformed> {
        let text = self.text()?;
        topic::check(text).map_err(|_| Malformed { at: self.at - text.len(), what: "not a topic" })?;
        Ok(text)
    }

    fn more(&mut self, more: u8) -> Result<More<'a>, Malformed> {
        Ok(More {
            expiry_ms_left: self.if_said(more, MORE_EXPIRY, Reader::number)?,
            properties: self.if_said(more, MORE_PROPERTIES, Reader::bytes)?,
            position: self.if_said(more, MORE_POSITION, Reader::position)?,
            numbered: self.if_said(more, MORE_NUMBERED, Reader::copies)?.unwrap_or_default(),
            share: self.if_said(more, MORE_SHARE, Reader::text)?,
        })
    }

    fn if_said<T>(
        &mut self,
        more: u8,
        flag: u8,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if more & flag == 0 { Ok(None) } else { read(self).map(Some) }
    }

    fn position(&mut self) -> Result<Position, Malformed> {
        Ok(Position { epoch: self.number()?, ms: self.number()?, seq: self.number()? })
    }

    fn copies(&mut self) -> Result<IncomingCopies<'a>, Malformed> {
        let left = self.number()?;
        let start = self.at;
        for _ in 0..left {
            self.copy()?;
        }
        Ok(IncomingCopies { rest: &self.bytes[start..self.at], left })
    }

    fn copy(&mut self) -> Result<IncomingNumbered<'a>, Malformed> {
        let flags = self.byte()?;
        if flags & COPY_UNKNOWN != 0 {
            return Err(self.wrong_before("unknown bits of a copy"));
        }
        let qos = Qos::from_bits(flags & 3).ok_or(self.wrong_before("there is no qos 3"))?;
        let client_id = self.text()?;
        let generation = self.number()?;
        let number = self.number()?;
        let subscription_ids = self.subscription_ids()?;
        let group = self.if_said(flags, COPY_GROUP, Reader::text)?;
        let retain = flags & COPY_RETAIN != 0;
        Ok(IncomingNumbered { client_id, generation, number, qos, retain, subscription_ids, group })
    }

    fn subscription_ids(&mut self) -> Result<SubscriptionIds<'a>, Malformed> {
        let count = self.number()?;
        let start = self.at;
        for _ in 0..count {
            let id = self.number()?;
            u32::try_from(id).map_err(|_| self.wrong_before("a subscription id beyond 32 bits"))?;
        }
        Ok(SubscriptionIds { rest: &self.bytes[start..self.at] })
    }
}
