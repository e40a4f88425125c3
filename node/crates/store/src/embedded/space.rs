//! Free space: whether the disk has room for what grows.
//!
//! What must always be possible on a full disk is to acknowledge, to move the rows in memory into the
//! tables (only that frees the log) and to merge the tables (only that frees what is deleted in them).
//! So growth is refused while there is still room for all three (`docs/adr/0006`).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    /// What the tables take: no merge of them needs more.
    tables_bytes: AtomicU64,
}

impl Space {
    pub fn new(dir: &Path, reserve_bytes: u64, probe: Probe) -> Space {
        let (was_full, tables_bytes) = (AtomicBool::new(false), AtomicU64::new(0));
        Space { dir: dir.to_owned(), reserve_bytes, probe, was_full, tables_bytes }
    }

    /// The tables take this much now.
    pub fn note_tables(&self, bytes: u64) {
        self.tables_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether `bytes` more would leave the reserve untouched, and room for moving `unmoved` bytes of
    /// rows into the tables and for merging those. A file system that cannot be asked is taken to have
    /// room: a failing write will tell. Without a reserve it is not asked.
    pub fn has_room_to_grow(&self, bytes: u64, unmoved: u64) -> bool {
        let Some((room, reserve)) = self.ask() else { return true };
        let tables = self.tables_bytes.load(Ordering::Relaxed);
        let needed = [bytes, unmoved, tables].into_iter().fold(reserve, u64::saturating_add);
        let full = self.reserve_bytes > 0 && room.free < needed;
        if self.was_full.swap(full, Ordering::Relaxed) != full {
            tracing::warn!(full, free_bytes = room.free, needed_bytes = needed, "disk space of the store");
        }
        !full
    }

    /// Whether `bytes` fit for moving rows about: half of the reserve stays for acknowledgements, or half
    /// of what is left when others have filled the disk.
    pub fn has_room_to_move(&self, bytes: u64) -> bool {
        self.ask().is_none_or(|(room, reserve)| bytes <= room.free - (reserve / 2).min(room.free / 2))
    }

    /// Whether growth will soon be refused: when merging can give room back, it is time for that.
    pub fn is_tight(&self) -> bool {
        let tables = self.tables_bytes.load(Ordering::Relaxed);
        self.ask().is_some_and(|(room, reserve)| room.free / 2 < reserve.saturating_add(tables))
    }

    /// What is kept for acknowledgements at most.
    pub fn reserve(&self) -> u64 {
        self.ask().map_or(self.reserve_bytes, |(_, reserve)| reserve)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn with(free: u64, reserve_bytes: u64) -> Space {
        Space::new(Path::new("/"), reserve_bytes, Box::new(move |_| Ok(Room { free, total: 8000 })))
    }

    #[test]
    fn growth_leaves_room_for_acknowledging_moving_and_merging() {
        let space = with(1000, 300);
        space.note_tables(400);
        assert!(space.has_room_to_grow(100, 200));
        assert!(!space.has_room_to_grow(101, 200));
        assert!(!space.has_room_to_grow(100, 201));
        space.note_tables(401);
        assert!(!space.has_room_to_grow(100, 200));
        assert!(space.has_room_to_move(850), "half of the reserve may be used for moving");
        assert!(!space.has_room_to_move(851));
        assert!(with(100, 300).has_room_to_move(50), "what is nearly empty can always be merged");
    }

    #[test]
    fn without_a_reserve_nothing_is_refused_beforehand() {
        assert!(with(0, 0).has_room_to_grow(1, 1));
    }
}
