//! Goes through an encoded value from front to back, the same way in every format.
//!
//! The one reader of untrusted bytes: it checks the grammar, UTF-8 and the limits as it goes, keeps only
//! where it stands (a small stack, never recursion), and copies nothing.

pub(super) mod cbor;
pub(super) mod json;
mod json_skip;
pub(super) mod msgpack;
mod scalar;

pub(super) use scalar::{JSON_BINARY, Scalar};

use json_skip::Skip;
use smallvec::SmallVec;

use super::{DecodeError, Format, Limits};

/// What holds values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Array,
    Map,
}

/// One step.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event<'a> {
    Begin(Kind),
    End(Kind),
    Key(Scalar<'a>),
    Value(Scalar<'a>),
}

/// What stands at one place of the bytes.
pub(super) enum Item<'a> {
    Scalar(Scalar<'a>),
    /// A list or map, with its number of elements or entries if the format says so in front.
    Begin(Kind, Option<usize>),
}

/// A list or map that has begun.
pub(super) struct Level {
    pub(super) kind: Kind,
    /// Values still to come, keys counted; [`UNKNOWN`] until an end mark.
    left: usize,
    /// Whether the next item is a key.
    pub(super) at_key: bool,
    /// Whether nothing has come yet.
    pub(super) first: bool,
}

const UNKNOWN: usize = usize::MAX;

pub(super) struct Walk<'a> {
    format: Format,
    bytes: &'a [u8],
    at: usize,
    /// Where the last item began.
    item_at: usize,
    /// The lists and maps around [`Walk::at`], at most `depth_max` many.
    stack: SmallVec<[Level; 8]>,
    begun: bool,
    items: usize,
    limits: Limits,
}

impl<'a> Walk<'a> {
    pub(super) fn new(format: Format, bytes: &'a [u8], limits: Limits) -> Walk<'a> {
        Walk { format, bytes, at: 0, item_at: 0, stack: SmallVec::new(), begun: false, items: 0, limits }
    }

    /// The next step; `None` behind the value's end.
    ///
    /// Inlined with [`Walk::item`] so that who only goes past a value builds no steps: a third less time.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<Option<Event<'a>>, DecodeError> {
        let Some(level) = self.stack.last_mut() else { return self.top() };
        let ended = match self.format {
            Format::Json => json::between(self.bytes, &mut self.at, level)?,
            Format::MsgPack => level.left == 0,
            Format::Cbor if level.left == UNKNOWN => cbor::at_break(self.bytes, &mut self.at, level)?,
            Format::Cbor => level.left == 0,
        };
        let kind = level.kind;
        if ended {
            self.stack.pop();
            return Ok(Some(Event::End(kind)));
        }
        let key = kind == Kind::Map && level.at_key;
        level.at_key = !key;
        level.first = false;
        if level.left != UNKNOWN {
            level.left -= 1;
        }
        self.item(key).map(Some)
    }

    fn top(&mut self) -> Result<Option<Event<'a>>, DecodeError> {
        if self.begun {
            return Ok(None);
        }
        self.begun = true;
        if self.format == Format::Json {
            json::skip_space(self.bytes, &mut self.at);
        }
        self.item(false).map(Some)
    }

    #[inline(always)]
    fn item(&mut self, key: bool) -> Result<Event<'a>, DecodeError> {
        let at = self.at;
        self.item_at = at;
        self.items += 1;
        if self.items > self.limits.items_max {
            return Err(DecodeError::TooManyItems { at, max: self.limits.items_max });
        }
        let item = match self.format {
            Format::Json if key => json::key(self.bytes, &mut self.at)?,
            format => item(format, self.bytes, &mut self.at)?,
        };
        match item {
            Item::Scalar(scalar) if key => Ok(Event::Key(scalar)),
            Item::Scalar(scalar) => Ok(Event::Value(scalar)),
            Item::Begin(..) if key => Err(DecodeError::Syntax { at, what: "key is a list or a map" }),
            Item::Begin(kind, len) => self.begin(kind, len),
        }
    }

    fn begin(&mut self, kind: Kind, len: Option<usize>) -> Result<Event<'a>, DecodeError> {
        if self.stack.len() >= self.limits.depth_max {
            return Err(DecodeError::TooDeep { at: self.item_at, max: self.limits.depth_max });
        }
        let left = match (kind, len) {
            (_, None) => UNKNOWN,
            (Kind::Array, Some(len)) => len,
            (Kind::Map, Some(len)) => len.saturating_mul(2),
        };
        // A value is a byte at least: a length nobody can keep is found before anything is counted on it.
        if left != UNKNOWN && left > self.bytes.len() - self.at {
            return Err(DecodeError::EndsEarly { at: self.bytes.len() });
        }
        self.stack.push(Level { kind, left, at_key: kind == Kind::Map, first: true });
        Ok(Event::Begin(kind))
    }

    /// The next value of this list, or of the map whose key was last, whole; `None` at the end.
    pub(super) fn whole(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        if self.format == Format::Json {
            return self.whole_json();
        }
        let floor = self.stack.len();
        match self.next()? {
            None | Some(Event::End(_)) => Ok(None),
            Some(_) => {
                let from = self.item_at;
                while self.stack.len() > floor {
                    self.next()?;
                }
                Ok(Some(&self.bytes[from..self.at]))
            }
        }
    }

    fn whole_json(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.stack.last_mut() {
            Some(level) => {
                if json::between(self.bytes, &mut self.at, level)? {
                    self.stack.pop();
                    return Ok(None);
                }
                (level.at_key, level.first) = (level.kind == Kind::Map, false);
            }
            None if self.begun => return Ok(None),
            None => {
                self.begun = true;
                json::skip_space(self.bytes, &mut self.at);
            }
        }
        let from = self.at;
        let Walk { bytes, at, items, limits, stack, .. } = self;
        Skip { bytes, at, items, limits, depth: stack.len() }.value()?;
        Ok(Some(&self.bytes[from..self.at]))
    }

    /// Refuses what stands behind the value. White space in JSON may.
    pub(super) fn finish(mut self) -> Result<(), DecodeError> {
        if self.format == Format::Json {
            json::skip_space(self.bytes, &mut self.at);
        }
        match self.at == self.bytes.len() {
            true => Ok(()),
            false => Err(DecodeError::TrailingBytes { at: self.at }),
        }
    }
}

/// What stands at `at`, which goes behind it.
#[inline]
pub(super) fn item<'a>(format: Format, bytes: &'a [u8], at: &mut usize) -> Result<Item<'a>, DecodeError> {
    match format {
        Format::Json => json::item(bytes, at),
        Format::MsgPack => msgpack::item(bytes, at),
        Format::Cbor => cbor::item(bytes, at),
    }
}

/// The next `len` bytes.
#[inline]
fn take<'a>(bytes: &'a [u8], at: &mut usize, len: usize) -> Result<&'a [u8], DecodeError> {
    let end = at.checked_add(len).filter(|end| *end <= bytes.len());
    let end = end.ok_or(DecodeError::EndsEarly { at: bytes.len() })?;
    let taken = &bytes[*at..end];
    *at = end;
    Ok(taken)
}

/// The next `len` bytes as text.
#[inline]
fn take_text<'a>(bytes: &'a [u8], at: &mut usize, len: usize) -> Result<&'a str, DecodeError> {
    let from = *at;
    let text = std::str::from_utf8(take(bytes, at, len)?);
    text.map_err(|error| DecodeError::NotUtf8 { at: from + error.valid_up_to() })
}
