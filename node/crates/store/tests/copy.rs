//! Copies from one embedded store to another.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_store::copy::{CopyError, CopySource, CopyTarget, Kind, run};
use weir_store::suite::{self, CopyPlace};
use weir_store::{Config, EmbeddedSource, EmbeddedTarget, OpenError, Retention, Room, Store};

/// A data directory.
struct Place<'a> {
    dir: &'a Path,
    log_bytes_max: u64,
}

impl Place<'_> {
    fn config(&self) -> Config {
        Config { log_bytes_max: self.log_bytes_max, ..suite::config("embedded") }
    }
}

impl CopyPlace for Place<'_> {
    fn store(&self) -> Result<Arc<dyn Store>, OpenError> {
        weir_store::open(&self.config(), self.dir).map(|(store, _)| store)
    }

    fn source(&self) -> Result<Box<dyn CopySource>, CopyError> {
        Ok(Box::new(EmbeddedSource::open(&self.config(), self.dir)?))
    }

    fn target(&self) -> Result<Box<dyn CopyTarget>, CopyError> {
        Ok(Box::new(EmbeddedTarget::open(&self.config(), self.dir)?))
    }
}

macro_rules! promises {
    ($($promise:ident),* $(,)?) => {
        mod embedded_to_embedded {
            $(#[test] fn $promise() { super::pair(u64::MAX, u64::MAX, weir_store::suite::$promise); })*
        }
        mod with_a_checkpoint_after_every_group {
            $(#[test] fn $promise() { super::pair(1, 1, weir_store::suite::$promise); })*
        }
    };
}

fn pair(from: u64, to: u64, promise: impl Fn(suite::Pair)) {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let from = Place { dir: one.path(), log_bytes_max: from };
    promise((&from, &Place { dir: other.path(), log_bytes_max: to }));
}

weir_store::each_copy_promise!(promises);

/// A place with so many retained messages, a group commit each.
fn retaining(dir: &Path, messages: usize) -> Place<'_> {
    let place = Place { dir, log_bytes_max: u64::MAX };
    let store = place.store().unwrap();
    suite::restore(&*store);
    for number in 0..messages {
        suite::retain(&*store, &format!("t/{number}"), Some("x"));
    }
    suite::wait(store.close());
    place
}

#[test]
fn a_full_disk_is_named_and_nothing_is_taken_for_a_copy() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, to) = (retaining(one.path(), 3), Place { dir: other.path(), log_bytes_max: u64::MAX });
    let free = Arc::new(AtomicU64::new(1 << 40));
    let room = free.clone();
    let probe = move |_: &Path| Ok(Room { free: room.load(Ordering::Relaxed), total: 1 << 40 });
    let mut target = EmbeddedTarget::open(&to.config(), other.path()).unwrap().with_probe(Box::new(probe));
    let mut source = from.source().unwrap();
    target.begin(source.marks().unwrap()).unwrap();
    free.store(0, Ordering::Relaxed);
    let full = source.read(&mut |rows| target.write(rows)).unwrap_err();
    assert!(matches!(full, CopyError::DiskFull { .. }), "{full}");
    drop(target);
    assert!(matches!(to.store().err(), Some(OpenError::Unfinished { .. })));
    run(&mut *source, &mut *to.target().unwrap(), &mut |_| ()).unwrap();
    assert_eq!(to.store().unwrap().account().retained_messages, 3);
}

#[test]
fn of_a_damaged_source_the_place_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let from = retaining(dir.path(), 3);
    let log = std::fs::read_dir(dir.path().join("store/log")).unwrap().next().unwrap().unwrap().path();
    let file = std::fs::File::options().write(true).open(&log).unwrap();
    file.write_all_at(b"damage", file.metadata().unwrap().len() / 2).unwrap();
    let refused = from.source().err().expect("it is damaged").to_string();
    assert!(refused.contains("group commits") && refused.contains(&*log.to_string_lossy()), "{refused}");
}

#[test]
fn of_a_damaged_stream_the_record_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let from = Place { dir: dir.path(), log_bytes_max: 1 };
    let store = from.store().unwrap();
    suite::restore(&*store);
    let key = suite::made(&*store, "orders", Retention::default());
    for _ in 0..4 {
        let steps = (0..500).map(|number| suite::stream_step(&key, [suite::record(&number.to_string())]));
        assert!(suite::ask(&*store, steps.collect()).iter().all(Result::is_ok));
    }
    suite::wait(store.close());
    drop(store);
    // Opened once more, for what is in the log to be in the tables.
    let store = from.store().unwrap();
    suite::restore(&*store);
    suite::append(&*store, &key, suite::record("last"));
    suite::wait(store.close());
    drop(store);
    let largest = largest_file(&dir.path().join("store/tables"));
    let file = std::fs::File::options().write(true).open(&largest).unwrap();
    file.write_all_at(b"damage", file.metadata().unwrap().len() / 2).unwrap();
    let refused = from.source().err().expect("it is damaged").to_string();
    assert!(refused.contains("record ") && refused.contains("of the stream `orders`"), "{refused}");
}

fn largest_file(dir: &Path) -> std::path::PathBuf {
    let mut found: Vec<std::path::PathBuf> = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { dirs.push(path) } else { found.push(path) }
        }
    }
    found.into_iter().max_by_key(|path| path.metadata().unwrap().len()).expect("a file")
}

#[test]
fn a_message_that_many_queues_share_is_shared_in_the_copy() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, to) = (retaining(one.path(), 0), Place { dir: other.path(), log_bytes_max: u64::MAX });
    let store = from.store().unwrap();
    suite::restore(&*store);
    let message = suite::message("large", 900);
    let copies = (0..100).map(|number| {
        let key = suite::client(&number.to_string());
        let generation = suite::open(&*store, &key, suite::resuming()).fence.generation;
        suite::step(&key, [suite::enqueue(generation, message.clone())])
    });
    let copies: Vec<_> = copies.collect();
    assert!(suite::ask(&*store, copies).iter().all(Result::is_ok));
    suite::wait(store.close());
    drop(store);
    let digest = run(&mut *from.source().unwrap(), &mut *to.target().unwrap(), &mut |_| ()).unwrap();
    assert_eq!(digest.of(Kind::Queued).rows, 100);
    let log = std::fs::read_dir(other.path().join("store/log")).unwrap().next().unwrap().unwrap();
    let bytes = log.metadata().unwrap().len();
    assert!(bytes < 100 * 900 / 2, "{bytes} bytes");
}
