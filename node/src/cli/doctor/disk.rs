//! The disk under the data directory: is there room, and how long does it take to be sure?

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Check;

const FREE_GOOD_BYTES: u64 = 1 << 30;
const SYNC_GOOD: Duration = Duration::from_millis(10);
const SYNC_TRIES: usize = 21;
const SYNC_BYTES: usize = 4096;

/// Room and sync latency. `reserve` is what the store keeps free.
pub fn all(data_dir: &Path, reserve: u64) -> Vec<Check> {
    let Some(directory) = existing(data_dir) else {
        let found = format!("neither {} nor any directory above it exists", data_dir.display());
        return vec![Check::fix("data directory", found, "--data-dir DIR")];
    };
    vec![free(&directory, reserve), sync(&directory)]
}

/// The directory itself, or the nearest one above it in which it would be made.
fn existing(data_dir: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(data_dir).ok()?;
    whole.ancestors().find(|directory| directory.is_dir()).map(Path::to_owned)
}

fn free(directory: &Path, reserve: u64) -> Check {
    match rustix::fs::statvfs(directory) {
        Ok(disk) => judge_free(directory, disk.f_bavail.saturating_mul(disk.f_frsize), reserve),
        Err(error) => Check::fix("disk free", format!("{}: {error}", directory.display()), "--data-dir DIR"),
    }
}

fn judge_free(directory: &Path, bytes: u64, reserve: u64) -> Check {
    let found = format!("{} MiB in {}", bytes >> 20, directory.display());
    let advice = "a full disk refuses what must be kept: make room, or --data-dir on another disk";
    if bytes <= reserve {
        Check::fix("disk free", found, advice)
    } else if bytes < FREE_GOOD_BYTES {
        Check::warn("disk free", found, advice)
    } else {
        Check::ok("disk free", found)
    }
}

fn sync(directory: &Path) -> Check {
    match sync_latency(directory) {
        Ok((median, worst)) => {
            let found = format!("fdatasync {median:.1?} median, {worst:.1?} worst of {SYNC_TRIES}");
            if median > SYNC_GOOD {
                Check::warn(
                    "disk sync",
                    found,
                    "each group commit waits this long; a faster disk, or store.level = \"stored\"",
                )
            } else {
                Check::ok("disk sync", found)
            }
        }
        Err(error) => {
            let found = format!("{} cannot be written: {error}", directory.display());
            Check::fix("disk sync", found, "give this user the directory, or --data-dir DIR")
        }
    }
}

/// Median and worst time of a small write made durable.
fn sync_latency(directory: &Path) -> io::Result<(Duration, Duration)> {
    let path = directory.join(format!(".weir-doctor-{}", std::process::id()));
    let file = File::options().write(true).create_new(true).open(&path)?;
    let times = timed_syncs(file);
    std::fs::remove_file(&path)?;
    let mut times = times?;
    times.sort_unstable();
    Ok((times[times.len() / 2], times[times.len() - 1]))
}

fn timed_syncs(mut file: File) -> io::Result<Vec<Duration>> {
    let block = [0; SYNC_BYTES];
    let one = |_| {
        let begun = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        Ok(begun.elapsed())
    };
    (0..SYNC_TRIES).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_directory_not_made_yet_is_judged_by_the_one_it_would_be_made_in() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("not/yet");
        assert_eq!(existing(&inner).as_deref(), Some(directory.path()));
    }

    #[test]
    fn a_disk_with_no_more_than_the_reserve_must_be_fixed() {
        let here = Path::new("/data");
        assert_eq!(judge_free(here, 64 << 20, 64 << 20).state, State::Fix);
        assert_eq!(judge_free(here, 65 << 20, 64 << 20).state, State::Warn);
        assert_eq!(judge_free(here, 2 << 30, 64 << 20).state, State::Ok);
    }

    #[test]
    fn measuring_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let (median, worst) = sync_latency(directory.path()).unwrap();
        assert!(median <= worst);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
