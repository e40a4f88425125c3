//! Whether the store can be used, and what it proves.

use std::path::Path;

use weir_store::redis::{ConnectError, Servers};
use weir_store::{Level, OpenError, Recovery};

use super::Check;

const NAME: &str = "store";

/// Opens the store as a node would, except that no loss is accepted, and closes it.
pub fn readable(config: &weir_store::Config, data_dir: &Path) -> Check {
    let is_empty = std::fs::read_dir(data_dir).map_or(true, |mut files| files.next().is_none());
    if is_empty {
        return Check::ok(NAME, format!("nothing kept in {} yet", data_dir.display()));
    }
    let strict = weir_store::Config { accept_loss: false, ..config.clone() };
    match weir_store::open(&strict, data_dir) {
        Ok((store, recovery)) => closed(&*store).unwrap_or_else(|| judge(&recovery)),
        Err(error @ OpenError::Locked { .. }) => {
            Check::warn(NAME, error.to_string(), "a running node has it: not looked into")
        }
        Err(error) => Check::fix(NAME, error.to_string(), "see node/docs/operations.md, \"a damaged store\""),
    }
}

/// Connects to the Redis that nodes share, and says what its settings prove; writes nothing.
pub fn reachable(config: &weir_store::Config) -> Check {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Check::fix(NAME, format!("no runtime: {error}"), "see the limits above"),
    };
    match runtime.block_on(Servers::connect(&config.url, config.level, &config.redis)) {
        Ok(servers) => {
            servers.close();
            proves(servers.level(), config.redis.lease_ms)
        }
        Err(error @ ConnectError::Unproved { .. }) => Check::fix(
            NAME,
            error.to_string(),
            "change the settings of Redis, or ask for less by `store.level`",
        ),
        Err(error) => {
            Check::fix(NAME, error.to_string(), "see that it runs, and `store.url` and `store.redis`")
        }
    }
}

fn proves(level: Level, lease_ms: u64) -> Check {
    let found = format!("Redis answers, and proves `{level}`");
    if level.is_replicated() {
        return Check::ok(NAME, found);
    }
    let found = format!(
        "{found}; should it fail over, two nodes may both take themselves for the owner of a session for up to \
         {lease_ms} ms (`store.redis.lease_ms`), and what the old primary kept last may be gone"
    );
    Check::ok(NAME, found)
}

/// Says why not, if it cannot be closed.
fn closed(store: &dyn weir_store::Store) -> Option<Check> {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            runtime.block_on(store.close());
            None
        }
        Err(error) => Some(Check::fix(NAME, format!("no runtime: {error}"), "see the limits above")),
    }
}

fn judge(recovery: &Recovery) -> Check {
    let found =
        format!("readable, {} group commits, {} of them read back", recovery.sequence, recovery.replayed);
    match (&recovery.torn, recovery.harmless.first()) {
        (_, Some(damage)) => Check::warn(
            NAME,
            format!(
                "{found}; {} is damaged at byte {}, but nothing is missing",
                damage.file.display(),
                damage.offset
            ),
            "the disk changed what was written: look after it",
        ),
        (Some(torn), None) => {
            Check::ok(NAME, format!("{found}; an unfinished end of {} bytes was cut", torn.bytes))
        }
        (None, None) => Check::ok(NAME, found),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn looking_into_an_empty_directory_leaves_it_empty() {
        let directory = tempfile::tempdir().unwrap();
        let check = readable(&weir_store::Config::default(), directory.path());
        assert_eq!(check.state, State::Ok);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn below_replicated_it_says_for_how_long_two_may_be_owners() {
        assert!(proves(Level::Fsynced, 3000).found.contains("3000 ms"));
        assert!(!proves(Level::ReplicatedAll, 3000).found.contains("3000 ms"));
    }

    #[test]
    fn an_unfinished_end_is_no_fault() {
        let torn = weir_store::Torn { file: "log".into(), offset: 10, bytes: 3 };
        let check = judge(&Recovery { torn: Some(torn), ..Recovery::default() });
        assert_eq!(check.state, State::Ok);
        assert!(check.found.contains("3 bytes"));
    }
}
