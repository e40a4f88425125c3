//! Compiled code on disk: what was compiled once is not compiled again after a restart.
//!
//! Code is run as it is read, so a file is believed only with the MAC of this directory's own key over its name and
//! all its bytes.

mod key;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::Mutex;
use ring::hmac;

/// Bytes of the MAC at the beginning of a file.
const MAC_BYTES: usize = 32;

const COMPILED: &str = "cwasm";
const UNFINISHED: &str = "tmp";

/// A directory of compiled programs.
pub(crate) struct Cache {
    directory: PathBuf,
    key: hmac::Key,
    /// 0 = no limit.
    bytes_max: u64,
    /// One writer at a time, so that the sum of sizes holds.
    writing: Mutex<()>,
}

/// What was found under a name.
pub(crate) enum Found {
    Nothing,
    /// It was not as it had been written; it is gone now.
    Damaged,
    Code(Code),
}

/// Compiled code and what is known of its source.
pub(crate) struct Code {
    bytes: Vec<u8>,
    header_end: usize,
}

impl Code {
    /// One line of text.
    pub fn header(&self) -> &str {
        std::str::from_utf8(&self.bytes[MAC_BYTES..self.header_end]).unwrap_or("")
    }

    pub fn compiled(&self) -> &[u8] {
        &self.bytes[self.header_end + 1..]
    }
}

impl Cache {
    /// Makes the directory (mode 0700) and its key (mode 0600) when they are not there yet.
    pub fn open(directory: &Path, bytes_max: u64) -> io::Result<Cache> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let key = key::read_or_make(directory)?;
        for (path, _) in files(directory, UNFINISHED)? {
            fs::remove_file(path)?;
        }
        Ok(Cache { directory: directory.to_owned(), key, bytes_max, writing: Mutex::new(()) })
    }

    pub fn read(&self, name: &str) -> Found {
        let path = self.path(name);
        let bytes = match read_used(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "compiled handler cannot be read");
                return Found::Nothing;
            }
        };
        match self.verify(name, bytes) {
            Some(code) => Found::Code(code),
            None => {
                self.drop_damaged(name);
                Found::Damaged
            }
        }
    }

    fn verify(&self, name: &str, bytes: Vec<u8>) -> Option<Code> {
        let (mac, rest) = bytes.split_at_checked(MAC_BYTES)?;
        let signed: Vec<u8> = [name.as_bytes(), rest].concat();
        hmac::verify(&self.key, &signed, mac).ok()?;
        let header_end = MAC_BYTES + rest.iter().position(|byte| *byte == b'\n')?;
        Some(Code { bytes, header_end })
    }

    /// Takes away a file that is not what was written.
    pub fn drop_damaged(&self, name: &str) {
        let path = self.path(name);
        tracing::warn!(path = %path.display(), "compiled handler is damaged: it is compiled again");
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "damaged compiled handler cannot be removed");
        }
    }

    /// Keeps code under a name; what was not used for longest goes when there is not enough room.
    pub fn write(&self, name: &str, header: &str, compiled: &[u8]) -> io::Result<()> {
        let bytes = (MAC_BYTES + header.len() + 1 + compiled.len()) as u64;
        if self.bytes_max > 0 && bytes > self.bytes_max {
            return Ok(());
        }
        let _writing = self.writing.lock();
        self.make_room(bytes)?;
        let mut mac = hmac::Context::with_key(&self.key);
        for part in [name.as_bytes(), header.as_bytes(), b"\n", compiled] {
            mac.update(part);
        }
        let unfinished = self.directory.join(format!("{name}.{UNFINISHED}"));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        for part in [mac.sign().as_ref(), header.as_bytes(), b"\n", compiled] {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(unfinished, self.path(name))
    }

    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut kept = files(&self.directory, COMPILED)?;
        let mut sum: u64 = kept.iter().map(|(_, meta)| meta.len()).sum();
        kept.sort_by_key(|(_, meta)| meta.modified().unwrap_or(SystemTime::UNIX_EPOCH));
        for (path, meta) in kept {
            if self.bytes_max == 0 || sum.saturating_add(bytes) <= self.bytes_max {
                break;
            }
            fs::remove_file(path)?;
            sum -= meta.len();
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.{COMPILED}"))
    }
}

/// Reads a file and says that it was used now.
fn read_used(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len()).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    // On a read-only disk the order of use is that of compilation.
    let _ = file.set_modified(SystemTime::now());
    Ok(bytes)
}

fn files(directory: &Path, extension: &str) -> io::Result<Vec<(PathBuf, fs::Metadata)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == extension)
            && let Ok(meta) = fs::metadata(&path)
        {
            found.push((path, meta));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
