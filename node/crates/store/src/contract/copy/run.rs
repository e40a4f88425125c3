//! The copy itself: read, write, read back, compare.

use super::{CopyError, CopyRow, CopySource, CopyTarget, Digest, Windows};

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It has begun; `again` = over an unfinished copy, which was removed.
    Begun { again: bool },
    /// So many rows have been written.
    Written { rows: u64 },
    /// So many rows have been read back.
    Verified { rows: u64 },
}

/// Copies everything and answers what that was. The target is finished only when what it holds, read back, is what was
/// read from the source, and nobody has changed that meanwhile.
///
/// # Errors
/// The target stays as it was, or is marked as unfinished: no node starts on it, and the next copy starts over.
pub fn run(
    source: &mut dyn CopySource,
    target: &mut dyn CopyTarget,
    progress: &mut dyn FnMut(Progress),
) -> Result<Digest, CopyError> {
    let windows = target.windows();
    let again = target.begin(source.marks()?)?;
    progress(Progress::Begun { again });
    let mut read = Digest::default();
    source.read(&mut |mut rows| {
        rows.iter_mut().for_each(|row| trim(row, windows));
        rows.iter().for_each(|row| read.add(row));
        progress(Progress::Written { rows: read.rows() });
        target.write(rows)
    })?;
    source.settle()?;
    let mut written = Digest::default();
    target.read_back(&mut |rows| {
        rows.iter().for_each(|row| written.add(row));
        progress(Progress::Verified { rows: written.rows() });
        Ok(())
    })?;
    compare(&read, &written)?;
    target.finish(source.marks()?)?;
    Ok(read)
}

/// A store that remembers fewer ids forgets the oldest.
fn trim(row: &mut CopyRow, windows: Windows) {
    let over = |ids: usize, ids_max: usize| ..ids.saturating_sub(ids_max);
    match row {
        CopyRow::Session(session) => drop(session.seen.drain(over(session.seen.len(), windows.ids_max))),
        CopyRow::DelaySeen(ids) => drop(ids.drain(over(ids.len(), windows.delay_ids_max))),
        CopyRow::RecordSeen { ids, .. } => drop(ids.drain(over(ids.len(), windows.ids_max))),
        _ => {}
    }
}

fn compare(read: &Digest, written: &Digest) -> Result<(), CopyError> {
    for ((kind, read), (_, written)) in read.tallies().zip(written.tallies()) {
        if read != written {
            return Err(CopyError::Differs { kind, read: read.rows, written: written.rows });
        }
    }
    Ok(())
}
