//! What a message carries for its receiver: positional and named arguments.

use std::fmt;

use super::message::{Items, Tail};
use super::walk::Kind;
use super::writer::Writer;
use super::{DecodeError, Raw};

/// Arguments as they came, or none. None is never written as null.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Payload<'a> {
    pub args: Option<Args<'a>>,
    /// A map.
    pub kwargs: Option<Raw<'a>>,
}

/// The positional arguments. Decoding gives only [`Args::All`]; the others are lists of one that need not
/// be put together first.
#[derive(Clone, Copy, PartialEq)]
pub enum Args<'a> {
    /// A list.
    All(Raw<'a>),
    One(Raw<'a>),
    OneText(&'a str),
    OneBinary(&'a [u8]),
}

impl<'a> Payload<'a> {
    pub fn new(args: Option<Args<'a>>, kwargs: Option<Raw<'a>>) -> Payload<'a> {
        Payload { args, kwargs }
    }

    /// A payload of positional arguments only.
    pub fn args(args: Args<'a>) -> Payload<'a> {
        Payload { args: Some(args), kwargs: None }
    }
}

/// No content: it may be in a log.
impl fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Args::All(list) => write!(f, "All({list:?})"),
            Args::One(value) => write!(f, "One({value:?})"),
            Args::OneText(text) => write!(f, "OneText({} bytes)", text.len()),
            Args::OneBinary(bytes) => write!(f, "OneBinary({} bytes)", bytes.len()),
        }
    }
}

impl Args<'_> {
    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        if let Args::All(list) = self {
            return writer.raw(*list);
        }
        writer.begin(Kind::Array, 1);
        match self {
            Args::All(value) | Args::One(value) => writer.raw(*value),
            Args::OneText(text) => writer.text(text),
            Args::OneBinary(bytes) => writer.binary(bytes),
        }
        writer.end(Kind::Array);
    }
}

impl<'a> Tail<'a> for Payload<'a> {
    const ITEMS_MAX: usize = 2;

    fn read(items: &Items<'a>, at: usize) -> Result<Self, DecodeError> {
        let args = items.given(at).map(|raw| match raw.is_array() {
            true => Ok(Args::All(raw)),
            false => Err(items.wrong_type(at, "args", "a list")),
        });
        let kwargs = items.given(at + 1).map(|raw| match raw.is_map() {
            true => Ok(raw),
            false => Err(items.wrong_type(at + 1, "kwargs", "a map")),
        });
        Ok(Payload { args: args.transpose()?, kwargs: kwargs.transpose()? })
    }

    fn len(&self) -> usize {
        match (&self.args, &self.kwargs) {
            (_, Some(_)) => 2,
            (Some(_), None) => 1,
            (None, None) => 0,
        }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match (&self.args, &self.kwargs) {
            (Some(args), _) => args.write(writer),
            (None, Some(_)) => {
                writer.begin(Kind::Array, 0);
                writer.end(Kind::Array);
            }
            (None, None) => {}
        }
        if let Some(kwargs) = self.kwargs {
            writer.raw(kwargs);
        }
    }
}
