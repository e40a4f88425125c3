//! `weir drain`: has a node of this machine send its clients elsewhere and end, and waits for it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use super::Failure;
use crate::occupant::Occupant;

/// How often the process is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What `weir drain` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's process.
    #[arg(long, value_name = "PID", conflicts_with = "data_dir")]
    pid: Option<i32>,
    /// The node that has this data directory.
    #[arg(long, value_name = "DIR", default_value = "weir-data")]
    data_dir: PathBuf,
    /// Wait no longer than so many seconds for its end.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
}

/// Drains the node and waits until it has ended.
pub fn run(args: &Args) -> Result<(), Failure> {
    let pid = match args.pid {
        Some(pid) => Pid::from_raw(pid).ok_or_else(|| Failure::Usage(format!("{pid} is no process")))?,
        None => Occupant::of(&args.data_dir).ok_or_else(|| {
            Failure::Unreachable(format!(
                "no node runs in {}: --data-dir or --pid names it",
                args.data_dir.display()
            ))
        })?,
    };
    let process =
        Process::find(pid).ok_or_else(|| Failure::Unreachable(format!("there is no process {pid}")))?;
    if !process.hears_drain {
        return Err(Failure::Usage(format!(
            "process {pid} is no node, or one that still starts: it would be killed"
        )));
    }
    kill_process(pid, Signal::USR1).with_context(|| format!("process {pid} cannot be told"))?;
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    while Process::find(pid).is_some_and(|now| now.started == process.started) {
        if Instant::now() >= deadline {
            return Err(Failure::TimedOut(format!("process {pid} still drains after {} s", args.timeout)));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// A live process.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    /// Tells it from a later one with the same number.
    started: u64,
    /// Whether it has a handler for SIGUSR1; without one it would die of it.
    hears_drain: bool,
}

impl Process {
    fn find(pid: Pid) -> Option<Self> {
        let of = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_nonzero())).ok();
        Self::read(&of("stat")?, &of("status")?)
    }

    /// From `stat` and `status` of `/proc` (proc(5)); `None` = it has ended and waits to be reaped.
    fn read(stat: &str, status: &str) -> Option<Self> {
        // The name before it may hold anything, parentheses too.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        let started = fields.nth(18)?.parse().ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        Some(Self { started, hears_drain: caught >> (Signal::USR1.as_raw() - 1) & 1 == 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "7 (we)ir) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 3 0 4711 0 0";

    #[test]
    fn a_process_is_known_by_its_start_and_by_what_it_hears() {
        let process = Process::read(STAT, "Name:\tweir\nSigCgt:\t0000000000000200\n").unwrap();
        assert_eq!(process, Process { started: 4711, hears_drain: true });
        assert!(!Process::read(STAT, "SigCgt:\t0000000000004000\n").unwrap().hears_drain);
    }

    #[test]
    fn one_that_only_waits_to_be_reaped_has_ended() {
        assert_eq!(Process::read(&STAT.replace(" S ", " Z "), "SigCgt:\t0\n"), None);
        assert!(Process::find(Pid::from_raw(i32::try_from(std::process::id()).unwrap()).unwrap()).is_some());
    }
}
