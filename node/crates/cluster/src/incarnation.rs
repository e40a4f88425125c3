//! Which start of a node this is: a number that grows with each, whatever its clock says.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The file that remembers the last one.
const FILE: &str = "incarnation";

/// Why there is no number for this start.
#[derive(Debug, thiserror::Error)]
pub enum IncarnationError {
    /// The last one cannot be read, or the new one not kept.
    #[error("cannot use {path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
}

/// The number of this start: milliseconds since 1970, but always more than the one before, which is kept in
/// `data_dir` (made if it is missing).
///
/// # Errors
/// The file cannot be read or written.
pub fn next_incarnation(data_dir: &Path) -> Result<u64, IncarnationError> {
    let path = data_dir.join(FILE);
    let next = || {
        fs::create_dir_all(data_dir)?;
        let last: u64 = match fs::read_to_string(&path) {
            // What is not a number was not written by a node: the clock alone decides.
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let next = now.max(last.saturating_add(1));
        let written = data_dir.join(format!(".{FILE}.new"));
        let mut file = fs::File::create(&written)?;
        file.write_all(next.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&written, &path)?;
        Ok(next)
    };
    next().map_err(|source| IncarnationError::File { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_has_a_greater_number_even_when_the_clock_was_ahead() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = next_incarnation(dir.path()).expect("a number");
        assert!(next_incarnation(dir.path()).expect("a number") > first);
        let ahead = first + 1_000_000_000_000;
        fs::write(dir.path().join(FILE), ahead.to_string()).expect("written");
        assert_eq!(next_incarnation(dir.path()).expect("a number"), ahead + 1);
    }
}
