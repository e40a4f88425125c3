//! The key of a directory of compiled programs: made once, read by its owner only.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

const KEY: &str = "key";
const KEY_BYTES: usize = 32;

/// The key; a new one when there is none, when it is not whole, or when others could have read it. Files of an earlier
/// key are then damaged ones.
pub(super) fn read_or_make(directory: &Path) -> io::Result<hmac::Key> {
    let path = directory.join(KEY);
    let key = match read(&path)? {
        Some(key) => key,
        None => {
            make(directory, &path)?;
            read(&path)?.ok_or_else(|| io::Error::other("the key of compiled handlers does not stay"))?
        }
    };
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &key))
}

fn read(path: &Path) -> io::Result<Option<[u8; KEY_BYTES]>> {
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        meta => meta?,
    };
    let is_private = meta.is_file() && meta.permissions().mode() & 0o077 == 0;
    let key: Option<[u8; KEY_BYTES]> = if is_private { fs::read(path)?.try_into().ok() } else { None };
    if key.is_none() {
        fs::remove_file(path)?;
    }
    Ok(key)
}

/// Two processes that make one at the same time end up with the same: the link of the second fails.
fn make(directory: &Path, path: &Path) -> io::Result<()> {
    let mut key = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut key).map_err(|_| io::Error::other("no random bytes"))?;
    let unfinished = directory.join(format!("{KEY}-{}.tmp", std::process::id()));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(&key)?;
    file.sync_all()?;
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
