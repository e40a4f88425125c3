//! One message from its bytes.

use smallvec::SmallVec;

use super::message::{ITEMS_MAX, Items};
use super::raw::check_text;
use super::walk::{Event, Kind, Walk};
use super::{DecodeError, Format, Limits, Message, Raw};

/// Reads exactly one message. What it carries is checked but not copied.
///
/// # Errors
///
/// Every variant of [`DecodeError`] but those of batches: bytes over the limits or not of the format, no
/// list, an unknown type, too few or too many items, an item or option that is not what it should be.
pub fn decode<'a>(bytes: &'a [u8], format: Format, limits: &Limits) -> Result<Message<'a>, DecodeError> {
    check_text(format, bytes, limits)?;
    let mut walk = Walk::new(format, bytes, *limits);
    let Some(Event::Begin(Kind::Array)) = walk.next()? else { return Err(DecodeError::NotAnArray) };
    let mut items = SmallVec::<[Raw<'_>; ITEMS_MAX]>::new();
    let mut count = 0;
    while let Some(item) = walk.whole()? {
        if items.len() < ITEMS_MAX {
            items.push(Raw::checked(format, item));
        }
        count += 1;
    }
    walk.finish()?;
    Message::read(&Items::new(items, count)?)
}
