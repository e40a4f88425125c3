//! How much memory the node may use and how much it uses: a configured figure or the machine's against
//! the resident size of the process, or its control group's own account.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::config::Config;

/// What a control group without a limit says in version 1: the largest whole number of pages.
const UNLIMITED_V1: u64 = 1 << 60;

/// How much may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    pub bytes: u64,
    pub by: By,
}

/// Who bounds the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// `memory_max_bytes`.
    Config,
    /// The control group in this directory.
    Cgroup(Cgroup),
    /// There is no more in the machine.
    Machine,
}

impl By {
    /// The word in logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            By::Config => "broker.memory_max_bytes",
            By::Cgroup(_) => "the control group",
            By::Machine => "the machine",
        }
    }
}

impl Bound {
    /// The configured bound, else the control group's, else the machine's.
    pub fn of(config: &Config) -> Bound {
        match config.memory_max_bytes {
            0 => Bound::of_system(),
            bytes => Bound { bytes, by: By::Config },
        }
    }

    /// What the control group or the machine has, whatever is configured. `u64::MAX` when nobody says.
    pub fn of_system() -> Bound {
        let read = |path: &Path| std::fs::read_to_string(path).ok();
        let machine = machine_bytes(&read(Path::new("/proc/meminfo")).unwrap_or_default());
        let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
        match Cgroup::limiting(&groups, read) {
            Some((bytes, group)) if bytes < machine => Bound { bytes, by: By::Cgroup(group) },
            _ => Bound { bytes: machine, by: By::Machine },
        }
    }
}

fn machine_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib * 1024)
}

/// A control group with a memory limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    dir: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Version {
    fn root(self) -> &'static str {
        match self {
            Version::V1 => "/sys/fs/cgroup/memory",
            Version::V2 => "/sys/fs/cgroup",
        }
    }

    fn limit_file(self) -> &'static str {
        match self {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.max",
        }
    }

    fn usage_file(self) -> &'static str {
        match self {
            Version::V1 => "memory.usage_in_bytes",
            Version::V2 => "memory.current",
        }
    }

    /// Lines of `memory.stat` with the file cache, which the kernel takes back when it needs to.
    fn cache_lines(self) -> [&'static str; 2] {
        match self {
            Version::V1 => ["total_inactive_file", "total_active_file"],
            Version::V2 => ["inactive_file", "active_file"],
        }
    }
}

impl Cgroup {
    /// The tightest limit among this process's group and those above it. `groups`: `/proc/self/cgroup`.
    fn limiting(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<(u64, Cgroup)> {
        let (version, path) = groups.lines().find_map(of_memory)?;
        let root = Path::new(version.root());
        let own = root.join(path.trim_start_matches('/'));
        // Inside a container its own group may be mounted as the root, under whatever path it has outside.
        let above = own.ancestors().take_while(|dir| dir.starts_with(root));
        let limit = |dir: &Path| {
            let bytes: u64 = read(&dir.join(version.limit_file()))?.trim().parse().ok()?;
            (bytes < UNLIMITED_V1).then(|| (bytes, Cgroup { dir: dir.to_owned(), version }))
        };
        above.filter_map(limit).min_by_key(|(bytes, _)| *bytes)
    }
}

/// Which hierarchy accounts for memory, from one line of `/proc/self/cgroup`.
fn of_memory(line: &str) -> Option<(Version, &str)> {
    let mut parts = line.splitn(3, ':');
    let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    match controllers {
        "" if id == "0" => Some((Version::V2, path)),
        v1 if v1.split(',').any(|name| name == "memory") => Some((Version::V1, path)),
        _ => None,
    }
}

/// Open files that say how much is used; reading them never waits for a disk.
pub struct Meter(Source);

enum Source {
    Process { statm: File, page_bytes: u64 },
    Cgroup { usage: File, stat: File, version: Version },
}

impl Meter {
    /// # Errors
    /// The system does not tell.
    pub fn open(bound: &Bound) -> io::Result<Meter> {
        Ok(Meter(match &bound.by {
            By::Cgroup(group) => Source::Cgroup {
                usage: File::open(group.dir.join(group.version.usage_file()))?,
                stat: File::open(group.dir.join("memory.stat"))?,
                version: group.version,
            },
            By::Config | By::Machine => Source::Process {
                statm: File::open("/proc/self/statm")?,
                page_bytes: rustix::param::page_size() as u64,
            },
        }))
    }

    /// Bytes in use that the system cannot take back by itself; `None` when it does not tell any more.
    pub fn used_bytes(&self) -> Option<u64> {
        let mut buffer = [0; 8192];
        match &self.0 {
            Source::Process { statm, page_bytes } => {
                let text = read(statm, &mut buffer)?;
                let resident: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
                Some(resident * page_bytes)
            }
            Source::Cgroup { usage, stat, version } => {
                let used: u64 = read(usage, &mut buffer)?.trim().parse().ok()?;
                let cache = file_cache(read(stat, &mut buffer)?, *version);
                Some(used.saturating_sub(cache))
            }
        }
    }
}

fn read<'a>(file: &File, buffer: &'a mut [u8]) -> Option<&'a str> {
    let len = file.read_at(buffer, 0).ok()?;
    std::str::from_utf8(&buffer[..len]).ok()
}

fn file_cache(stat: &str, version: Version) -> u64 {
    let names = version.cache_lines();
    let lines = stat.lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(name, _)| names.contains(name)).filter_map(|(_, bytes)| bytes.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files<'a>(files: &'a [(&'a str, &'a str)]) -> impl Fn(&Path) -> Option<String> + 'a {
        |path| files.iter().find(|(known, _)| Path::new(known) == path).map(|(_, text)| (*text).to_owned())
    }

    #[test]
    fn the_tightest_limit_above_a_process_is_its_own() {
        let read = files(&[
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/memory.max", "1000\n"),
            ("/sys/fs/cgroup/memory.max", "5000\n"),
        ]);
        let (bytes, group) = Cgroup::limiting("0::/a/b\n", read).unwrap();
        assert_eq!((bytes, group.dir.as_path()), (1000, Path::new("/sys/fs/cgroup/a")));
    }

    #[test]
    fn a_container_whose_group_is_mounted_as_the_root_is_found() {
        let read = files(&[("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2048\n")]);
        let groups = "5:devices:/x\n4:cpu,memory:/outside/path\n0::/\n";
        let (bytes, group) = Cgroup::limiting(groups, read).unwrap();
        assert_eq!((bytes, group.version), (2048, Version::V1));
    }

    #[test]
    fn no_limit_is_no_bound() {
        let read = files(&[("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")]);
        assert_eq!(Cgroup::limiting("4:memory:/\n", read), None);
        assert_eq!(Cgroup::limiting("", files(&[])), None);
    }

    #[test]
    fn file_cache_does_not_count_as_used() {
        let stat = "anon 70\nfile 40\ninactive_file 10\nactive_file 20\ntotal_active_file 99\n";
        assert_eq!(file_cache(stat, Version::V2), 30);
    }

    #[test]
    fn the_machine_says_its_memory_in_kib() {
        assert_eq!(machine_bytes("MemTotal:       2048 kB\nMemFree: 1 kB\n"), 2 << 20);
        assert_eq!(machine_bytes(""), u64::MAX);
    }
}
