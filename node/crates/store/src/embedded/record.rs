//! Records: one per group commit, with the changes it makes to the tables.
//!
//! A record is a header of 32 bytes (magic, body length, sequence, time, count, CRC over all of it)
//! and a body of changes: op, key length, key, and for rows value length and value. Numbers are
//! little-endian. Magic and CRC are mixed with the store's salt, which no client knows: a payload made
//! to look like a record never passes for one, wherever a torn write leaves it.

use std::ops::Range;

use weir_model::UnixMillis;

use crate::row::codec;
use crate::row::{Change, Write};

const MAGIC: u32 = 0x5245_5757;
pub(crate) const HEADER_BYTES: usize = 32;

const FRESH: u8 = 0;
const PUT: u8 = 1;
const DELETE: u8 = 2;

/// The header of a record, and where its body lies in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub sequence: u64,
    pub at: UnixMillis,
    pub offset: usize,
    pub body: Range<usize>,
}

impl Found {
    pub fn end(&self) -> usize {
        self.body.end
    }
}

/// One change as it stands in a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stored<'a> {
    pub key: &'a [u8],
    /// `None` deletes the row.
    pub value: Option<&'a [u8]>,
    pub fresh: bool,
}

/// Writes the record of a group commit over what was in the buffer.
pub(crate) fn encode(salt: u32, sequence: u64, at: UnixMillis, writes: &[Write], out: &mut Vec<u8>) {
    out.clear();
    out.resize(HEADER_BYTES, 0);
    for write in writes {
        encode_write(write, out);
    }
    let body_bytes = (out.len() - HEADER_BYTES) as u32;
    out[0..4].copy_from_slice(&(MAGIC ^ salt).to_le_bytes());
    out[4..8].copy_from_slice(&body_bytes.to_le_bytes());
    out[8..16].copy_from_slice(&sequence.to_le_bytes());
    out[16..24].copy_from_slice(&at.0.to_le_bytes());
    out[24..28].copy_from_slice(&(writes.len() as u32).to_le_bytes());
    let crc = checksum(salt, &out[..28], &out[HEADER_BYTES..]);
    out[28..32].copy_from_slice(&crc.to_le_bytes());
}

fn encode_write(write: &Write, out: &mut Vec<u8>) {
    let (op, row) = match &write.change {
        Change::Fresh(row) => (FRESH, Some(row)),
        Change::Put(row) => (PUT, Some(row)),
        Change::Delete => (DELETE, None),
    };
    out.push(op);
    out.extend_from_slice(&(write.key.len() as u32).to_le_bytes());
    out.extend_from_slice(&write.key);
    if let Some(row) = row {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        codec::encode(row, out);
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// The record at this offset, if a whole and sound one stands there.
pub(crate) fn read(salt: u32, file: &[u8], offset: usize) -> Option<Found> {
    let header = file.get(offset..offset + HEADER_BYTES)?;
    if u32_at(header, 0) != MAGIC ^ salt {
        return None;
    }
    let start = offset + HEADER_BYTES;
    let end = start.checked_add(u32_at(header, 4) as usize)?;
    let body = file.get(start..end)?;
    if checksum(salt, &header[..28], body) != u32_at(header, 28) {
        return None;
    }
    let at = UnixMillis(u64_at(header, 16));
    Some(Found { sequence: u64_at(header, 8), at, offset, body: start..end })
}

/// The next sound record at or behind this offset, wherever it begins.
pub(crate) fn find(salt: u32, file: &[u8], from: usize) -> Option<Found> {
    let magic = (MAGIC ^ salt).to_le_bytes();
    let mut offset = from;
    while offset + HEADER_BYTES <= file.len() {
        let step = file[offset..].windows(4).position(|bytes| bytes == magic)?;
        if let Some(found) = read(salt, file, offset + step) {
            return Some(found);
        }
        offset += step + 1;
    }
    None
}

/// The changes of a sound record; `None` stands for one that cannot be read.
pub(crate) fn changes(body: &[u8]) -> impl Iterator<Item = Option<Stored<'_>>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let stored = take_change(&mut rest);
        if stored.is_none() {
            rest = &[];
        }
        Some(stored)
    })
}

fn take_change<'a>(rest: &mut &'a [u8]) -> Option<Stored<'a>> {
    let (op, tail) = rest.split_first()?;
    *rest = tail;
    let key = take_bytes(rest)?;
    let value = match *op {
        FRESH | PUT => Some(take_bytes(rest)?),
        DELETE => None,
        _ => return None,
    };
    Some(Stored { key, value, fresh: *op == FRESH })
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_at_checked(4)?;
    let (bytes, tail) = tail.split_at_checked(u32_at(length, 0) as usize)?;
    *rest = tail;
    Some(bytes)
}

fn checksum(salt: u32, header: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(header);
    hasher.update(body);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Kind, Row, id_key};

    #[test]
    fn no_flipped_byte_of_a_record_goes_unnoticed() {
        let writes = [
            Write { key: id_key(Kind::Received, 1), change: Change::Fresh(Row::Received(7)) },
            Write { key: id_key(Kind::Received, 2), change: Change::Delete },
        ];
        let mut bytes = Vec::new();
        encode(3, 5, UnixMillis(9), &writes, &mut bytes);
        let found = read(3, &bytes, 0).unwrap();
        assert_eq!((found.sequence, found.at, found.end()), (5, UnixMillis(9), bytes.len()));
        let read_back: Vec<_> = changes(&bytes[found.body]).map(Option::unwrap).collect();
        assert_eq!(read_back.len(), 2);
        assert!(read_back[0].fresh && read_back[1].value.is_none());
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x20;
            assert_eq!(read(3, &damaged, 0), None, "byte {place}");
        }
    }
}
