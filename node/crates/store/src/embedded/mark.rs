//! The mark: how far group commits have been acknowledged, beside the commit log.
//!
//! Two slots of 32 bytes are written in turn, so that a write torn by power loss leaves the other. A
//! log that ends before the mark has lost something; one that ends behind it has not.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use weir_model::UnixMillis;

use crate::fault;

const MAGIC: [u8; 8] = *b"WEIRMARK";
const SLOT_BYTES: usize = 32;

/// Far enough apart that no disk sector holds both.
const SLOT_OFFSETS: [u64; 2] = [0, 4096];

#[derive(Debug)]
pub(crate) struct Mark {
    file: File,
    turn: usize,
}

/// What a mark says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Marked {
    pub sequence: u64,
    pub at: UnixMillis,
    /// What the checksums of this store's records begin with.
    pub salt: u32,
}

impl Mark {
    /// Opens the mark. `None` in place of what it says when there is none, or none that can be read.
    pub fn open(path: &Path) -> std::io::Result<(Mark, Option<Marked>)> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let slots = SLOT_OFFSETS.map(|offset| read_slot(&file, offset));
        let newest = slots.iter().copied().flatten().max();
        let turn = usize::from(newest.is_some() && slots[0] == newest);
        Ok((Mark { file, turn }, newest))
    }

    /// Notes that group commits up to this one are acknowledged.
    pub fn write(&mut self, marked: Marked, sync: bool) -> std::io::Result<()> {
        let mut slot = [0; SLOT_BYTES];
        slot[..8].copy_from_slice(&MAGIC);
        slot[8..16].copy_from_slice(&marked.sequence.to_le_bytes());
        slot[16..24].copy_from_slice(&marked.at.0.to_le_bytes());
        slot[24..28].copy_from_slice(&marked.salt.to_le_bytes());
        let crc = crc32fast::hash(&slot[..28]);
        slot[28..].copy_from_slice(&crc.to_le_bytes());
        self.file.write_all_at(&slot, SLOT_OFFSETS[self.turn])?;
        self.turn = 1 - self.turn;
        fault::reach("mark.after_write");
        if sync {
            self.file.sync_data()?;
            fault::reach("mark.after_sync");
        }
        Ok(())
    }

    /// Fills both slots of a new mark and makes it durable.
    pub fn create(&mut self, marked: Marked) -> std::io::Result<()> {
        self.write(marked, false)?;
        self.write(marked, false)?;
        self.file.sync_all()
    }
}

fn read_slot(file: &File, offset: u64) -> Option<Marked> {
    let mut slot = [0; SLOT_BYTES];
    file.read_exact_at(&mut slot, offset).ok()?;
    let number = |at: usize| slot[at..at + 8].try_into().map(u64::from_le_bytes).ok();
    let sound = slot[..8] == MAGIC && slot[28..] == crc32fast::hash(&slot[..28]).to_le_bytes();
    if !sound {
        return None;
    }
    let salt = slot[24..28].try_into().map(u32::from_le_bytes).ok()?;
    Some(Marked { sequence: number(8)?, at: UnixMillis(number(16)?), salt })
}
