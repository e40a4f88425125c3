//! What a process on this machine has used, read from `/proc`.

use std::time::Duration;

use crate::Error;

/// A process, named by its id or `self`.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pid: String,
}

impl Process {
    pub(crate) fn of(pid: u32) -> Process {
        Process { pid: pid.to_string() }
    }

    pub(crate) fn own() -> Process {
        Process { pid: "self".to_owned() }
    }

    /// CPU time of all its threads, those that have ended too, in user and kernel. Steps of 10 ms.
    pub(crate) fn cpu_time(&self) -> Result<Duration, Error> {
        let stat = self.read("stat")?;
        let ticks = cpu_ticks(&stat).ok_or_else(|| self.lacks("CPU time"))?;
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// Memory it occupies, in bytes. Without kernel memory such as socket buffers.
    pub(crate) fn rss_bytes(&self) -> Result<u64, Error> {
        let rollup = self.read("smaps_rollup");
        let found = match &rollup {
            Ok(text) => kilobytes(text, "Rss:"),
            Err(_) => kilobytes(&self.read("status")?, "VmRSS:"),
        };
        found.map(|kilobytes| kilobytes * 1024).ok_or_else(|| self.lacks("memory"))
    }

    fn read(&self, file: &str) -> Result<String, Error> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid))
            .map_err(|source| Error::Process { pid: self.pid.clone(), source })
    }

    fn lacks(&self, field: &'static str) -> Error {
        Error::ProcessField { pid: self.pid.clone(), field }
    }
}

/// All processes of a broker.
#[derive(Debug, Clone)]
pub(crate) struct Processes {
    all: Vec<Process>,
}

impl Processes {
    pub(crate) fn of(pids: &[u32]) -> Processes {
        Processes { all: pids.iter().copied().map(Process::of).collect() }
    }

    /// The sum of [`Process::cpu_time`].
    pub(crate) fn cpu_time(&self) -> Result<Duration, Error> {
        self.all.iter().map(Process::cpu_time).sum()
    }

    /// The sum of [`Process::rss_bytes`].
    pub(crate) fn rss_bytes(&self) -> Result<u64, Error> {
        self.all.iter().map(Process::rss_bytes).sum()
    }
}

/// The processes that a process has started, and those that they have. Who has ended meanwhile is left out.
pub(crate) fn children(of: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u32)> = pids
        .filter_map(|pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parent(&stat)?))
        })
        .collect();
    let mut found = vec![of];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}

/// The second field behind the name.
fn parent(stat: &str) -> Option<u32> {
    stat.get(stat.rfind(')')? + 1..)?.split_whitespace().nth(1)?.parse().ok()
}

/// utime and stime: the 12th and 13th field behind the name, which stands in brackets and may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    Some(user + kernel)
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_ticks_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 5 0 0 0 120 34 0 0 20 0 1 0 3 4 5";
        assert_eq!(cpu_ticks(stat), Some(154));
        assert_eq!(cpu_ticks("7 (short) S 1"), None);
    }

    #[test]
    fn a_child_of_a_child_is_found() {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "sleep 60 & echo started; wait"]).stdout(std::process::Stdio::piped());
        let mut shell = shell.spawn().expect("there is a shell");
        let mut line = String::new();
        let mut output = std::io::BufReader::new(shell.stdout.take().expect("it is piped"));
        std::io::BufRead::read_line(&mut output, &mut line).expect("it says that it has started");
        let own = children(std::process::id());
        let below = children(shell.id());
        assert!(own.contains(&shell.id()) && own.contains(&below[0]), "{own:?} {below:?}");
        let sleeper = rustix::process::Pid::from_raw(below[0] as i32).expect("it is no zero");
        let _ = rustix::process::kill_process(sleeper, rustix::process::Signal::KILL);
        shell.wait().expect("it ends behind its child");
    }

    #[test]
    fn this_process_has_used_memory() {
        assert!(Process::own().rss_bytes().is_ok_and(|bytes| bytes > 100_000));
        assert!(Process::own().cpu_time().is_ok());
    }

    #[test]
    fn several_processes_are_summed() {
        let own = std::process::id();
        let one = Process::of(own).rss_bytes().expect("this process");
        let two = Processes::of(&[own, own]).rss_bytes().expect("this process");
        assert!(two > one + one / 2, "{one} {two}");
        assert!(Processes::of(&[own, u32::MAX]).cpu_time().is_err());
    }

    #[test]
    fn a_process_that_is_gone_is_named() {
        let error = Process::of(u32::MAX).cpu_time().expect_err("no such process");
        assert!(error.to_string().contains("4294967295"));
    }
}
