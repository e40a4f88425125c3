//! Free space: whether the disk has room for what grows.

use std::path::{Path, PathBuf};

/// Bytes of a file system.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub free: u64,
    pub total: u64,
}

/// Asks how much room there is where the store lies; tests hand in their own.
pub type Probe = Box<dyn Fn(&Path) -> std::io::Result<Room> + Send>;

pub(crate) struct Space {
    dir: PathBuf,
    reserve_bytes: u64,
    probe: Probe,
    was_full: bool,
}

impl Space {
    pub fn new(dir: &Path, reserve_bytes: u64, probe: Probe) -> Space {
        Space { dir: dir.to_owned(), reserve_bytes, probe, was_full: false }
    }

    /// Whether `bytes` more would leave the reserve untouched. A file system that cannot be asked
    /// is taken to have room: a failing write will tell.
    pub fn has_room_for(&mut self, bytes: u64) -> bool {
        let Ok(room) = (self.probe)(&self.dir) else { return true };
        let reserve = self.reserve_bytes.min(room.total / 8);
        let full = room.free < reserve.saturating_add(bytes);
        if full != self.was_full {
            self.was_full = full;
            tracing::warn!(full, free_bytes = room.free, reserve_bytes = reserve, "disk space of the store");
        }
        !full
    }
}

/// What the file system says.
pub(crate) fn statvfs(dir: &Path) -> std::io::Result<Room> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(Room { free: stat.f_bavail * stat.f_frsize, total: stat.f_blocks * stat.f_frsize })
}
