//! What the kernel lets a node have.

use rustix::process::{Resource, getrlimit};

use weir_broker::pressure::meter::Bound;

use super::Check;
use crate::config::Config;
use crate::worst_case::{WorstCase, human};

/// Below this a broker runs out of connections in ordinary use.
const OPEN_FILES_GOOD: u64 = 65_536;
/// Below this the node's own files and a few clients are all there is room for.
const OPEN_FILES_LEAST: u64 = 256;

/// The limit of open files. The soft one is raised to the hard one at start.
pub fn open_files() -> Check {
    let limit = getrlimit(Resource::Nofile);
    judge_open_files(limit.current, limit.maximum)
}

/// `None` is unlimited.
fn judge_open_files(soft: Option<u64>, hard: Option<u64>) -> Check {
    let said = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |n| n.to_string());
    let found = format!("soft {}, hard {} (a node raises soft to hard)", said(soft), said(hard));
    let advice =
        "each connection is an open file: raise the hard limit (LimitNOFILE= in systemd, ulimit -Hn)";
    match hard {
        Some(hard) if hard < OPEN_FILES_LEAST => Check::fix("open files", found, advice),
        Some(hard) if hard < OPEN_FILES_GOOD => Check::warn("open files", found, advice),
        _ => Check::ok("open files", found),
    }
}

/// How many complete connections the kernel holds before they are accepted.
pub fn accept_queue(backlog: u32) -> Check {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    match text.trim().parse::<u32>() {
        Ok(most) if most < backlog => Check::warn(
            "accept queue",
            format!("somaxconn {most}, net.backlog {backlog}"),
            format!("many clients at once are turned away: sysctl -w net.core.somaxconn={backlog}"),
        ),
        Ok(most) => Check::ok("accept queue", format!("somaxconn {most}")),
        Err(_) => {
            Check::warn("accept queue", "somaxconn cannot be read", "this is not Linux, or /proc is closed")
        }
    }
}

/// Whether the memory suffices for all that clients may make the node hold.
pub fn memory(config: &Config) -> Check {
    let worst = WorstCase::of(config, getrlimit(Resource::Nofile).maximum);
    judge_memory(&worst, &Bound::of(&config.broker))
}

fn judge_memory(worst: &WorstCase, bound: &Bound) -> Check {
    let found = format!(
        "{} allowed by {}, worst case {} with {} connections",
        human(bound.bytes),
        bound.by.as_str(),
        human(worst.bytes()),
        worst.connections
    );
    if worst.bytes() <= bound.bytes {
        return Check::ok("memory", found);
    }
    let largest = worst.largest(3);
    Check::warn(
        "memory",
        found,
        format!("short of it the node stops accepting, then reading; largest: {largest}"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_worst_case_above_the_memory_there_is_is_warned_about_by_its_largest_terms() {
        let worst = WorstCase::of(&Config::default(), Some(1000));
        let bound = |bytes| Bound { bytes, by: weir_broker::pressure::meter::By::Machine };
        assert_eq!(judge_memory(&worst, &bound(worst.bytes())).state, State::Ok);
        let check = judge_memory(&worst, &bound(1 << 20));
        assert_eq!(check.state, State::Warn);
        assert!(check.advice.contains("broker.subscriptions_max"), "{}", check.advice);
    }

    #[test]
    fn the_hard_limit_decides_because_the_soft_one_is_raised_to_it() {
        assert_eq!(judge_open_files(Some(1024), Some(1 << 20)).state, State::Ok);
        assert_eq!(judge_open_files(Some(1024), None).state, State::Ok);
        assert_eq!(judge_open_files(Some(1024), Some(4096)).state, State::Warn);
        assert_eq!(judge_open_files(Some(64), Some(64)).state, State::Fix);
    }
}
