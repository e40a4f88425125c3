//! Free space: whether the disk has room for what grows.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of a file system.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub free: u64,
    pub total: u64,
}

/// Asks how much room there is where the store lies; tests hand in their own.
pub type Probe = Box<dyn Fn(&Path) -> std::io::Result<Room> + Send + Sync>;

pub(crate) struct Space {
    dir: PathBuf,
    reserve_bytes: u64,
    probe: Probe,
    was_full: AtomicBool,
}

impl Space {
    pub fn new(dir: &Path, reserve_bytes: u64, probe: Probe) -> Space {
        Space { dir: dir.to_owned(), reserve_bytes, probe, was_full: AtomicBool::new(false) }
    }

    /// Whether `bytes` more would leave the reserve untouched. A file system that cannot be asked
    /// is taken to have room: a failing write will tell.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        let Some((room, reserve)) = self.ask() else { return true };
        let full = room.free < reserve.saturating_add(bytes);
        if self.was_full.swap(full, Ordering::Relaxed) != full {
            tracing::warn!(full, free_bytes = room.free, reserve_bytes = reserve, "disk space of the store");
        }
        !full
    }

    /// Whether `bytes` fit for moving rows about: half of the reserve stays for acknowledgements.
    pub fn has_room_to_move(&self, bytes: u64) -> bool {
        self.ask().is_none_or(|(room, reserve)| room.free >= bytes.saturating_add(reserve / 2))
    }

    /// The room, and what of it is kept in reserve.
    fn ask(&self) -> Option<(Room, u64)> {
        let room = (self.probe)(&self.dir).ok()?;
        Some((room, self.reserve_bytes.min(room.total / 8)))
    }
}

/// What the file system says.
pub(crate) fn statvfs(dir: &Path) -> std::io::Result<Room> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(Room { free: stat.f_bavail * stat.f_frsize, total: stat.f_blocks * stat.f_frsize })
}
