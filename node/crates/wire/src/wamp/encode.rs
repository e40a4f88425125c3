//! One message to bytes.

use super::message::{Body as _, Event, MessageType};
use super::writer::Writer;
use super::{Batching, Format, Message, Serialization};

/// Appends a message, with what a batch puts before or behind it. Fields that are absent are left out.
///
/// # Panics
///
/// In a batch a message of 4 GiB or more has no length; to ask for one is a bug of the caller.
pub fn encode(out: &mut Vec<u8>, message: &Message<'_>, serialization: Serialization) {
    framed(out, serialization, |writer| message.write(writer));
}

/// Appends an EVENT that one subscription gets; see [`super::SharedEvent`] for several.
pub fn encode_event(out: &mut Vec<u8>, event: &Event<'_>, serialization: Serialization) {
    framed(out, serialization, |writer| event.write(MessageType::Event, writer));
}

/// Appends what `write` writes as one message.
pub(super) fn framed(out: &mut Vec<u8>, serialization: Serialization, write: impl FnOnce(&mut Writer<'_>)) {
    let Serialization { format, batching } = serialization;
    let from = out.len();
    let has_length = batching != Batching::One && format != Format::Json;
    if has_length {
        out.extend_from_slice(&[0; 4]);
    }
    write(&mut Writer::new(format, out));
    if has_length {
        let len = u32::try_from(out.len() - from - 4).expect("a message in a batch is below 4 GiB");
        out[from..from + 4].copy_from_slice(&len.to_be_bytes());
    }
    match (format, batching) {
        (Format::Json, Batching::Many) => out.push(super::batch::SEPARATOR),
        (Format::Json, Batching::ManyOctal) => out.push(super::batch::SEPARATOR_OCTAL),
        _ => {}
    }
}
