//! A full disk: refused by name, what makes room goes through, and it heals by itself.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_store::suite::{ask_one, client, delay, enqueue, message, open, resuming, retain, rows};
use weir_store::{
    Config, Fence, Outcome, Probe, Refusal, Room, SessionOp, Store, SubscriptionOptions, suite,
};

use crate::disk::{config, open_at};

#[test]
fn on_a_full_disk_only_what_grows_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(1 << 40));
    let asked = free.clone();
    let probe: Probe = Box::new(move |_| Ok(Room { free: asked.load(Ordering::SeqCst), total: 1 << 40 }));
    let (store, _) = weir_store::open_embedded_with(&config(u64::MAX), dir.path(), probe).unwrap();
    let key = client("a");
    let fence = open(&*store, &key, resuming()).fence;
    ask_one(&*store, &key, enqueue(fence.generation, message("m", 10))).unwrap();
    ask_one(&*store, &key, SessionOp::Receive { fence, packet_id: 1 }).unwrap();
    retain(&*store, "t", Some("x"));
    free.store(1000, Ordering::SeqCst);
    let filter = weir_model::Filter::new("f").unwrap();
    let options = SubscriptionOptions::default();
    for op in [
        enqueue(fence.generation, message("m", 10)),
        SessionOp::Receive { fence, packet_id: 2 },
        SessionOp::Subscribe { fence, filter, options },
        SessionOp::Open(weir_store::Open { clean_start: true, ..resuming() }),
    ] {
        assert_eq!(ask_one(&*store, &key, op), Err(Refusal::DiskFull));
    }
    assert_eq!(ask_one(&*store, &client("new"), SessionOp::Open(resuming())), Err(Refusal::DiskFull));
    let fence = open(&*store, &key, resuming()).fence;
    assert_eq!(delay(&*store, 9, None, "m"), Err(Refusal::DiskFull));
    let clean = weir_store::Open { persistent: false, ..resuming() };
    open(&*store, &client("clean"), clean);
    for op in [
        SessionOp::Ack { fence, number: 1 },
        SessionOp::Release { fence, packet_id: 1 },
        SessionOp::Detach { fence, detach: suite::detach(1, 0, None, None) },
        SessionOp::End { generation: fence.generation, fence: None },
    ] {
        assert_eq!(ask_one(&*store, &key, op), Ok(Outcome::Done));
    }
    retain(&*store, "t", None);
    free.store(1 << 40, Ordering::SeqCst);
    open(&*store, &key, resuming());
}

/// A small file system, gone with the test.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(size: &str) -> Tmpfs {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(dir.path());
        let status = mount.status().expect("this test needs the command mount");
        assert!(status.success(), "this test needs the right to mount a tmpfs (root)");
        Tmpfs(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg(self.0.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.0.path().display());
        }
    }
}

fn filling(reserve_bytes: u64) -> Config {
    Config {
        reserve_bytes,
        queue_messages_max: 1 << 30,
        queue_bytes_max: 1 << 40,
        log_segment_bytes: 1 << 20,
        log_bytes_max: 2 << 20,
        ..suite::config("embedded")
    }
}

/// Enqueues until refused; how many were taken.
fn fill(store: &dyn Store, fence: Fence) -> u64 {
    let key = client("a");
    let mut newest = 0;
    for _ in 0..100_000 {
        match ask_one(store, &key, enqueue(fence.generation, message("m", 20_000))) {
            Ok(Outcome::Enqueued { number, .. }) => newest = number,
            Err(Refusal::DiskFull) => return newest,
            other => panic!("{other:?}"),
        }
    }
    panic!("the disk never filled");
}

/// Enqueues until so many more were taken, however often the disk is full meanwhile; the newest.
fn fill_beyond(store: &dyn Store, fence: Fence, least: u64) -> u64 {
    let mut newest = 0;
    while newest < least {
        newest = newest.max(fill(store, fence));
    }
    newest
}

/// Fills a small file system, drains the queue, and fills it again.
fn a_full_file_system_heals(reserve_bytes: u64) {
    let disk = Tmpfs::mount("24m");
    let config = filling(reserve_bytes);
    let key = client("a");
    let mut next = 1;
    for round in 0..3 {
        let store = open_at(&config, disk.path());
        let fence = open(&*store, &key, resuming()).fence;
        let newest = fill_beyond(&*store, fence, next + 100);
        assert_eq!(rows(&*store, &key).len() as u64, newest + 1 - next, "round {round}");
        drop(store);
        let store = open_at(&config, disk.path());
        assert_eq!(rows(&*store, &key).len() as u64, newest + 1 - next, "round {round}, after a restart");
        drain(&*store, &key, next, newest);
        next = newest + 1;
    }
}

/// Acknowledges everything; who comes for that is let in.
fn drain(store: &dyn Store, key: &weir_store::SessionKey, first: u64, last: u64) {
    let fence = open(store, key, resuming()).fence;
    for number in first..=last {
        assert_eq!(ask_one(store, key, SessionOp::Ack { fence, number }), Ok(Outcome::Done), "{number}");
    }
}

#[test]
fn a_full_file_system_is_refused_above_the_reserve_and_heals() {
    a_full_file_system_heals(3 << 20);
}

/// What the files below a directory take.
pub fn taken_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    // A file may go between its listing and this question.
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => taken_bytes(&entry.path()),
        // The engine's journal is 64 MiB of nothing.
        Ok(_) if entry.path().extension().is_some_and(|extension| extension == "jnl") => 0,
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// A disk of so many bytes with nothing on it but the store.
fn disk_of(total: u64) -> Probe {
    Box::new(move |dir| Ok(Room { free: total.saturating_sub(taken_bytes(dir)), total }))
}

const DISK_BYTES: u64 = 12 << 20;

/// A store on a small disk, filled with one queue until nothing more fits although all that could be
/// moved and merged was; its newest number.
fn full_store(config: &Config, dir: &Path) -> (Arc<dyn Store>, Fence, u64) {
    let mut before = 0;
    loop {
        let (store, _) = weir_store::open_embedded_with(config, dir, disk_of(DISK_BYTES)).unwrap();
        let opened = open(&*store, &client("a"), resuming());
        fill(&*store, opened.fence);
        drop(store);
        let (store, _) = weir_store::open_embedded_with(config, dir, disk_of(DISK_BYTES)).unwrap();
        let opened = open(&*store, &client("a"), resuming());
        if opened.queue.tail == before {
            return (store, opened.fence, before);
        }
        before = opened.queue.tail;
    }
}

#[test]
fn room_comes_back_as_soon_as_there_is_enough_for_making_it_though_nobody_asks() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(AtomicU64::new(1 << 40));
    let asked = disk.clone();
    let probe: Probe = Box::new(move |dir| {
        let total = asked.load(Ordering::SeqCst);
        Ok(Room { free: total.saturating_sub(taken_bytes(dir)), total: 16 << 20 })
    });
    let (store, _) = weir_store::open_embedded_with(&filling(1 << 20), dir.path(), probe).unwrap();
    let key = client("a");
    let fence = open(&*store, &key, resuming()).fence;
    for _ in 0..600 {
        ask_one(&*store, &key, enqueue(fence.generation, message("m", 20_000))).unwrap();
    }
    drain(&*store, &key, 1, 600);
    disk.store(0, Ordering::SeqCst);
    let one_more = ask_one(&*store, &key, enqueue(fence.generation, message("m", 20_000)));
    assert_eq!(one_more, Err(Refusal::DiskFull));
    let before = taken_bytes(dir.path());
    assert!(before > 8 << 20, "{before} bytes");
    disk.store(before + (1 << 20), Ordering::SeqCst);
    while taken_bytes(dir.path()) > 1 << 20 {
        std::thread::yield_now();
    }
}

#[test]
fn a_half_drained_queue_gives_half_of_its_room_back() {
    a_half_drained_queue_gives_room(&filling(1 << 20));
}

#[test]
fn a_disk_that_is_full_of_log_gives_its_room_back() {
    a_half_drained_queue_gives_room(&Config { log_bytes_max: 1 << 40, ..filling(1 << 20) });
}

fn a_half_drained_queue_gives_room(config: &Config) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _, newest) = full_store(config, dir.path());
    drain(&*store, &client("a"), 1, newest / 2);
    let fence = open(&*store, &client("a"), resuming()).fence;
    fill_beyond(&*store, fence, newest + newest / 4);
}

#[test]
fn what_lies_in_memory_does_not_keep_the_room_of_what_was_drained() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _, newest) = full_store(&filling(1 << 20), dir.path());
    let other = client("b");
    drain(&*store, &client("a"), 1, 60);
    let generation = open_when_there_is_room(&*store, &other);
    let mut queued = 0;
    while queued < 50 {
        let put = ask_one(&*store, &other, enqueue(generation, message("m", 20_000)));
        queued += u64::from(put.is_ok());
    }
    drain(&*store, &client("a"), 61, newest);
    let fence = open(&*store, &client("a"), resuming()).fence;
    fill_beyond(&*store, fence, newest + newest / 2);
    assert_eq!(rows(&*store, &other).len(), 50);
}

fn open_when_there_is_room(store: &dyn Store, key: &weir_store::SessionKey) -> u64 {
    loop {
        match ask_one(store, key, SessionOp::Open(resuming())) {
            Ok(Outcome::Opened(opened)) => return opened.fence.generation,
            other => assert_eq!(other, Err(Refusal::DiskFull)),
        }
    }
}

#[test]
fn a_write_that_finds_no_space_is_refused_and_nothing_of_it_stays() {
    let disk = Tmpfs::mount("24m");
    let config = filling(0);
    let key = client("a");
    let store = open_at(&config, disk.path());
    let fence = open(&*store, &key, resuming()).fence;
    // Until it is refused; a merge that ends meanwhile makes room for some more.
    let newest = (0..5).map(|_| fill(&*store, fence)).max().unwrap();
    assert_eq!(rows(&*store, &key).len() as u64, newest);
    drop(store);
    let store = open_at(&config, disk.path());
    assert_eq!(rows(&*store, &key).len() as u64, newest);
}

#[test]
fn what_was_acknowledged_gives_its_room_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        queue_messages_max: 1 << 30,
        queue_bytes_max: 1 << 40,
        log_segment_bytes: 100_000,
        log_bytes_max: 200_000,
        ..suite::config("embedded")
    };
    let store = open_at(&config, dir.path());
    let key = client("a");
    let fence = open(&*store, &key, resuming()).fence;
    for number in 1..=4000 {
        ask_one(&*store, &key, enqueue(fence.generation, message("m", 5000))).unwrap();
        if number > 200 {
            ask_one(&*store, &key, SessionOp::Ack { fence, number: number - 200 }).unwrap();
        }
    }
    let disk_bytes = || -> u64 {
        let files = crate::disk::files(&dir.path().join("store"));
        let sizes = files.iter().filter(|file| file.extension().is_none_or(|extension| extension != "jnl"));
        // A file may go between its listing and this question.
        sizes.map(|file| file.metadata().map_or(0, |metadata| metadata.len())).sum()
    };
    assert!(disk_bytes() < 8_000_000, "{} bytes for 1 MB of messages out of 20 MB written", disk_bytes());
    assert_eq!(rows(&*store, &key).len(), 200);
}

#[test]
fn the_raw_rate_is_a_rate() {
    let dir = tempfile::tempdir().unwrap();
    let rate = weir_store::raw_append_rate(dir.path(), weir_store::Level::Stored, 64, 200, 0.05).unwrap();
    assert!(rate > 0.0);
}
