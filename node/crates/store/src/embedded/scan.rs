//! Reading the commit log back: which records are there, where it is torn, where it is damaged.

use std::path::{Path, PathBuf};

use weir_model::UnixMillis;

use super::log::{self, SEGMENT_HEADER_BYTES, Segment};
use super::record::{self, Found};
use crate::recovery::{Damage, OpenError, Torn, io_error};

/// What the log must hold, known from elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    /// The tables are complete up to here: records up to it may be damaged or gone.
    pub applied: u64,
    /// Acknowledged up to here: records up to it must be there.
    pub marked: u64,
    /// For segments whose header cannot be read.
    pub salt: u32,
}

/// What was found in the log.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    pub segments: Vec<Segment>,
    /// The newest sound record, or what the tables hold when that is newer.
    pub sequence: u64,
    /// The latest time in a record.
    pub at: UnixMillis,
    /// Records handed out.
    pub replayed: u64,
    pub torn: Option<Torn>,
    pub harmless: Vec<Damage>,
    pub lost: Vec<Damage>,
}

/// Bytes that are no record, and nothing sound has come after them yet.
struct Bad {
    file: PathBuf,
    offset: u64,
    bytes: u64,
    cause: &'static str,
}

struct Scan<'a> {
    expected: Expected,
    found: Scanned,
    bad: Option<Bad>,
    replay: &'a mut dyn FnMut(&Found, &[u8]),
}

/// Reads all segments. `replay` gets each sound record behind what the tables hold, with its body,
/// in order; a range that is missing stands in [`Scanned::lost`].
pub(crate) fn scan(
    dir: &Path,
    expected: Expected,
    replay: &mut dyn FnMut(&Found, &[u8]),
) -> Result<Scanned, OpenError> {
    let found = Scanned { sequence: expected.applied, ..Scanned::default() };
    let mut scan = Scan { expected, found, bad: None, replay };
    let segments = log::segments(dir).map_err(io_error("list", dir))?;
    for segment in &segments {
        scan.segment(segment)?;
    }
    scan.found.segments = segments;
    scan.end(dir)
}

impl Scan<'_> {
    fn segment(&mut self, segment: &Segment) -> Result<(), OpenError> {
        let path = &segment.path;
        let bytes = std::fs::read(path).map_err(io_error("read", path))?;
        let salt = match log::read_header(&bytes) {
            Some((layout, _)) if layout > log::LAYOUT => {
                return Err(OpenError::Layout { file: path.clone(), found: layout, known: log::LAYOUT });
            }
            Some((_, salt)) => salt,
            None => {
                let length = bytes.len().min(SEGMENT_HEADER_BYTES) as u64;
                self.note_bad(path, 0, length, "the segment's header is not sound");
                self.expected.salt
            }
        };
        let mut offset = SEGMENT_HEADER_BYTES;
        while offset < bytes.len() {
            let found = match record::read(salt, &bytes, offset) {
                Some(found) => found,
                None => {
                    let length = (bytes.len() - offset) as u64;
                    self.note_bad(path, offset as u64, length, "no sound record stands here");
                    let Some(found) = record::find(salt, &bytes, offset + 1) else { break };
                    found
                }
            };
            offset = found.end();
            if self.is_unsynced_end(path, &found) {
                break;
            }
            self.record(path, &found, &bytes);
        }
        Ok(())
    }

    /// Whether a record comes behind others that are not sound and that nobody counts on: power went while the end of the
    /// segment had been written, but not synced, and its pages reached the disk in any order. The log ends before them.
    fn is_unsynced_end(&self, path: &Path, found: &Found) -> bool {
        let next = self.found.sequence + 1;
        let same_segment = self.bad.as_ref().is_some_and(|bad| bad.file == path && bad.offset > 0);
        same_segment && found.sequence > next && next > self.expected.marked
    }

    fn record(&mut self, path: &Path, found: &Found, bytes: &[u8]) {
        let next = self.found.sequence + 1;
        if found.sequence < next && self.bad.is_none() {
            // Already in the tables.
            self.found.at = self.found.at.max(found.at);
            return;
        }
        let bad = self.bad.take().unwrap_or_else(|| Bad {
            file: path.to_owned(),
            offset: found.offset as u64,
            bytes: 0,
            cause: "the records before this one are missing",
        });
        let missing = found.sequence > next;
        if missing {
            let last = found.sequence - 1;
            self.found.lost.push(damage(bad, next, last));
        } else if bad.bytes > 0 {
            self.found.harmless.push(damage(bad, found.sequence.min(next) - 1, found.sequence.min(next) - 1));
        }
        self.found.at = self.found.at.max(found.at);
        if found.sequence >= next {
            (self.replay)(found, &bytes[found.body.clone()]);
            self.found.sequence = found.sequence;
            self.found.replayed += 1;
        }
    }

    /// The bytes at the end: torn, when everything acknowledged stands before them.
    fn end(mut self, dir: &Path) -> Result<Scanned, OpenError> {
        let recovered = self.found.sequence;
        if recovered < self.expected.marked {
            let bad = self.bad.take().unwrap_or_else(|| Bad {
                file: self.found.segments.last().map_or(dir.to_owned(), |segment| segment.path.clone()),
                offset: self.found.segments.last().map_or(0, |segment| segment.bytes),
                bytes: 0,
                cause: "the log ends too early",
            });
            self.found.lost.push(damage(bad, recovered + 1, self.expected.marked));
            self.found.sequence = self.expected.marked;
        } else if let Some(bad) = self.bad.take() {
            self.found.torn = Some(Torn { file: bad.file, offset: bad.offset, bytes: bad.bytes });
        }
        Ok(self.found)
    }

    fn note_bad(&mut self, path: &Path, offset: u64, bytes: u64, cause: &'static str) {
        if self.bad.is_none() {
            self.bad = Some(Bad { file: path.to_owned(), offset, bytes, cause });
        }
    }
}

fn damage(bad: Bad, first: u64, last: u64) -> Damage {
    Damage { file: bad.file, first, last, offset: bad.offset, cause: bad.cause.to_owned() }
}
