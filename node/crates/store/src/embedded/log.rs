//! The commit log: the truth of every group commit until a checkpoint has moved it into the tables.
//!
//! Segments are files named by their first sequence. A segment begins with 24 bytes: magic and layout,
//! first sequence, salt, CRC; then come records, one behind the other.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use weir_model::UnixMillis;

use super::record;
use crate::fault;
use crate::row::Write;

const MAGIC: [u8; 7] = *b"WEIRLOG";
/// 3: rows of layout 3 may stand in it. Segments of layouts 1 and 2 are read, and gone on with.
pub(crate) const LAYOUT: u8 = 3;
pub(crate) const SEGMENT_HEADER_BYTES: usize = 24;

/// Full segments that are left to the system to be written; of one more the oldest is synced. Only where the level does
/// not ask for it.
const DIRTY_MAX: usize = 4;

/// Why a record was not appended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// Certainly not written: the file ends where it did.
    #[error("the disk is full")]
    Full,
    #[error("cannot {action} {path}: {source}")]
    Failed { action: &'static str, path: PathBuf, source: std::io::Error },
}

/// A file of the log.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub path: PathBuf,
    pub bytes: u64,
}

/// The end of the log, where records are appended.
#[derive(Debug)]
pub(crate) struct Log {
    dir: PathBuf,
    salt: u32,
    sync: bool,
    segment_bytes_max: u64,
    file: File,
    current: Segment,
    /// Something in the current segment may not be on the disk.
    is_dirty: bool,
    /// Segments before it of which the same is true, the oldest first: at most [`DIRTY_MAX`] and the newest.
    dirty: Vec<File>,
    /// Full segments that no checkpoint has taken over yet.
    sealed: Vec<Segment>,
    /// Sequence of the newest record.
    sequence: u64,
    buffer: Vec<u8>,
}

/// How a log is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogOptions {
    pub salt: u32,
    pub sync: bool,
    pub segment_bytes_max: u64,
}

impl Log {
    /// Goes on behind record `sequence`: in the newest of the segments there are, which ends with it,
    /// or in a first one. A full disk does not keep a store from being opened.
    pub fn start(
        dir: &Path,
        sequence: u64,
        mut segments: Vec<Segment>,
        options: LogOptions,
    ) -> Result<Log, AppendError> {
        let (file, current) = match segments.pop() {
            Some(newest) => (open_segment(&newest)?, newest),
            None => create_segment(dir, sequence + 1, options)?,
        };
        let LogOptions { salt, sync, segment_bytes_max } = options;
        Ok(Log {
            dir: dir.to_owned(),
            salt,
            sync,
            segment_bytes_max,
            file,
            current,
            // What a process before this one has left may not be on the disk either.
            is_dirty: true,
            dirty: segments.iter().map(open_segment).collect::<Result<_, _>>()?,
            sealed: segments,
            sequence,
            buffer: Vec::new(),
        })
    }

    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    pub fn bytes(&self) -> u64 {
        self.current.bytes + self.sealed.iter().map(|segment| segment.bytes).sum::<u64>()
    }

    /// Appends the next record. It survives this process; [`Log::sync`] makes it durable.
    pub fn append(&mut self, at: UnixMillis, writes: &[Write]) -> Result<u64, AppendError> {
        if self.current.bytes >= self.segment_bytes_max {
            match self.rotate() {
                // The present segment grows beyond its size until there is one.
                Err(AppendError::Failed { source, .. }) if has_no_descriptor(&source) => {}
                rotated => rotated?,
            }
        }
        let sequence = self.sequence + 1;
        record::encode(self.salt, sequence, at, writes, &mut self.buffer);
        fault::reach("log.before_write");
        self.write_record()?;
        fault::reach("log.after_write");
        self.is_dirty = true;
        self.current.bytes += self.buffer.len() as u64;
        self.sequence = sequence;
        self.buffer.shrink_to(1 << 20);
        Ok(sequence)
    }

    /// Hands over every segment that is there; later records go to a new one.
    pub fn seal(&mut self) -> Result<Vec<Segment>, AppendError> {
        if self.current.bytes > SEGMENT_HEADER_BYTES as u64 {
            self.rotate()?;
        }
        Ok(std::mem::take(&mut self.sealed))
    }

    /// Whether there may be records that are not durable.
    pub fn is_dirty(&self) -> bool {
        self.is_dirty || !self.dirty.is_empty()
    }

    /// Makes durable everything that was appended.
    pub fn sync(&mut self) -> std::io::Result<()> {
        self.sync_earlier(0)?;
        if self.is_dirty {
            self.file.sync_data()?;
            fault::reach("log.after_sync");
            self.is_dirty = false;
        }
        Ok(())
    }

    /// Syncs the oldest of the segments before the current one until so many are left that may not be on the disk.
    fn sync_earlier(&mut self, left: usize) -> std::io::Result<()> {
        while self.dirty.len() > left {
            let oldest = &self.dirty[0];
            // Once a checkpoint has removed it, everything in it is in the tables.
            let is_there = oldest.metadata().is_ok_and(|metadata| metadata.nlink() > 0);
            if is_there {
                oldest.sync_data()?;
            }
            self.dirty.remove(0);
        }
        Ok(())
    }

    fn write_record(&mut self) -> Result<(), AppendError> {
        if fault::is_told("log.torn_write") {
            // The half of a record is what a dying machine may leave; the test goes on from there.
            let _ = self.file.write_all_at(&self.buffer[..self.buffer.len() / 2], self.current.bytes);
            std::process::abort();
        }
        let Err(source) = self.file.write_all_at(&self.buffer, self.current.bytes) else { return Ok(()) };
        let full = is_full(&source);
        self.file.set_len(self.current.bytes).map_err(|source| self.failed("cut", source))?;
        if full { Err(AppendError::Full) } else { Err(self.failed("write", source)) }
    }

    fn rotate(&mut self) -> Result<(), AppendError> {
        let options =
            LogOptions { salt: self.salt, sync: self.sync, segment_bytes_max: self.segment_bytes_max };
        let (file, segment) = create_segment(&self.dir, self.sequence + 1, options)?;
        let full = std::mem::replace(&mut self.file, file);
        if std::mem::take(&mut self.is_dirty) {
            self.dirty.push(full);
        }
        self.sealed.push(std::mem::replace(&mut self.current, segment));
        let left = if self.sync { 0 } else { DIRTY_MAX };
        self.sync_earlier(left).map_err(|source| self.failed("sync", source))
    }

    pub fn failed(&self, action: &'static str, source: std::io::Error) -> AppendError {
        AppendError::Failed { action, path: self.current.path.clone(), source }
    }
}

fn open_segment(segment: &Segment) -> Result<File, AppendError> {
    let opened = File::options().read(true).write(true).open(&segment.path);
    opened.map_err(|source| AppendError::Failed { action: "open", path: segment.path.clone(), source })
}

fn create_segment(dir: &Path, first: u64, options: LogOptions) -> Result<(File, Segment), AppendError> {
    let path = dir.join(format!("{first:020}.log"));
    let created = write_header(&path, first, options.salt)
        .and_then(|file| if options.sync { file.sync_all().map(|()| file) } else { Ok(file) })
        .and_then(|file| File::open(dir).and_then(|dir| dir.sync_all()).map(|()| file));
    fault::reach("segment.after_create");
    match created {
        Ok(file) => Ok((file, Segment { path, bytes: SEGMENT_HEADER_BYTES as u64 })),
        Err(source) => {
            // What is left of it is empty; recovery takes an empty segment as none.
            let _ = std::fs::remove_file(&path);
            let full = is_full(&source);
            Err(if full { AppendError::Full } else { AppendError::Failed { action: "create", path, source } })
        }
    }
}

fn write_header(path: &Path, first: u64, salt: u32) -> std::io::Result<File> {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..7].copy_from_slice(&MAGIC);
    header[7] = LAYOUT;
    header[8..16].copy_from_slice(&first.to_le_bytes());
    header[16..20].copy_from_slice(&salt.to_le_bytes());
    let crc = crc32fast::hash(&header[..20]);
    header[20..].copy_from_slice(&crc.to_le_bytes());
    // An empty segment of the same name may stand here from a start that got no further.
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    file.write_all_at(&header, 0)?;
    Ok(file)
}

/// What a segment's header says: its layout and the salt. `None` when it is not sound.
pub(crate) fn read_header(bytes: &[u8]) -> Option<(u8, u32)> {
    let header = bytes.get(..SEGMENT_HEADER_BYTES)?;
    let crc = header[20..].try_into().map(u32::from_le_bytes).ok()?;
    let sound = header[..7] == MAGIC && crc == crc32fast::hash(&header[..20]);
    let salt = header[16..20].try_into().map(u32::from_le_bytes).ok()?;
    sound.then_some((header[7], salt))
}

/// The segments in a directory, oldest first.
pub(crate) fn segments(dir: &Path) -> std::io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            found.push(Segment { path, bytes: entry.metadata()?.len() });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The process, or the system, has no room for another open file.
fn has_no_descriptor(error: &std::io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

pub(crate) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
