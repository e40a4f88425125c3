//! The process that has a data directory: it names itself in a file, which is locked as long as it lives.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::Pid;

const FILE: &str = "pid";

/// Held by a node as long as it runs; the kernel lets go of it when the process dies.
#[derive(Debug)]
pub struct Occupant {
    _file: File,
}

/// Why a data directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OccupyError {
    #[error("the data directory {dir} is in use by process {pid}: stop it, or choose another", dir = dir.display())]
    Taken { dir: PathBuf, pid: String },
    #[error("cannot use {path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
}

impl Occupant {
    /// Takes the directory for this process; it is made when it is missing.
    ///
    /// # Errors
    /// Another process has it, or its file cannot be written.
    pub fn take(dir: &Path) -> Result<Self, OccupyError> {
        let path = dir.join(FILE);
        let failed = |source| OccupyError::File { path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.map_err(failed)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let pid = named(&mut file).map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
            return Err(OccupyError::Taken { dir: dir.to_owned(), pid });
        }
        // Only who wants to signal it reads the number: on a full disk it may stay empty.
        if let Err(cause) = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())) {
            tracing::warn!(%cause, file = %path.display(), "the data directory cannot name its process");
        }
        Ok(Self { _file: file })
    }

    /// The process that has the directory now, if there is one and it has named itself.
    #[must_use]
    pub fn of(dir: &Path) -> Option<Pid> {
        let mut file = File::open(dir.join(FILE)).ok()?;
        if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
            return None;
        }
        named(&mut file)
    }
}

fn named(file: &mut File) -> Option<Pid> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_occupant_who_is_known_as_long_as_it_stays() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Occupant::of(dir.path()), None);
        let occupant = Occupant::take(dir.path()).unwrap();
        let own = Pid::from_raw(i32::try_from(std::process::id()).unwrap());
        assert_eq!(Occupant::of(dir.path()), own);
        let refused = Occupant::take(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(occupant);
        assert_eq!(Occupant::of(dir.path()), None);
    }
}
