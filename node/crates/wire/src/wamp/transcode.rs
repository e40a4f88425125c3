//! A value from one format to another.

use smallvec::SmallVec;

use super::Format;
use super::raw::{Raw, Value};
use super::walk::{Event, Scalar};
use super::writer::Writer;

/// How many elements or entries each list and map has, in the order in which they begin.
type Lengths = SmallVec<[u32; 16]>;

/// Writes `raw` in the writer's format; what a format cannot say: see the head of [`crate::wamp`].
pub(super) fn write(raw: Raw<'_>, writer: &mut Writer<'_>) {
    let lengths = match writer.format() {
        Format::Json => Lengths::new(),
        Format::MsgPack | Format::Cbor => lengths(raw),
    };
    let mut lengths = lengths.into_iter();
    let mut walk = raw.walk();
    while let Ok(Some(event)) = walk.next() {
        match event {
            Event::Begin(kind) => writer.begin(kind, lengths.next().unwrap_or_default() as usize),
            Event::End(kind) => writer.end(kind),
            Event::Key(scalar) => write_key(scalar, writer),
            Event::Value(scalar) => write_value(&scalar.value(), writer),
        }
    }
}

fn write_value(value: &Value<'_>, writer: &mut Writer<'_>) {
    match value {
        Value::Null | Value::Array | Value::Map => writer.null(),
        Value::Bool(value) => writer.bool(*value),
        Value::Unsigned(value) => writer.unsigned(*value),
        Value::Negative(value) => writer.negative(*value),
        Value::Float(value) => writer.float(*value),
        Value::Text(text) => writer.text(text),
        Value::Binary(bytes) => writer.binary(bytes),
    }
}

/// JSON has text keys only: others become the text of their JSON, binary its base64 text.
fn write_key(key: Scalar<'_>, writer: &mut Writer<'_>) {
    if let Some(text) = key.text() {
        return writer.key(&text);
    }
    let value = key.value();
    if writer.format() == Format::Json && !matches!(value, Value::Binary(_)) {
        let mut text = Vec::new();
        write_value(&value, &mut Writer::new(Format::Json, &mut text));
        return writer.key(&String::from_utf8_lossy(&text));
    }
    write_value(&value, writer);
    writer.behind_key();
}

fn lengths(raw: Raw<'_>) -> Lengths {
    let mut lengths = Lengths::new();
    // Which of them are open.
    let mut open = SmallVec::<[usize; 8]>::new();
    let mut walk = raw.walk();
    while let Ok(Some(event)) = walk.next() {
        if let (Event::Begin(_) | Event::Value(_), Some(&around)) = (&event, open.last()) {
            lengths[around] += 1;
        }
        match event {
            Event::Begin(_) => {
                open.push(lengths.len());
                lengths.push(0);
            }
            Event::End(_) => drop(open.pop()),
            Event::Key(_) | Event::Value(_) => {}
        }
    }
    lengths
}
