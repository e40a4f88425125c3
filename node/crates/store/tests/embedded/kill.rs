//! Death at every fault point: a child process writes until it dies, its parent looks at what is left.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use weir_store::suite::{
    Held, acquire, append, ask, client, enqueue, info, made, message, open, partition, record, resuming,
    step, texts, told_from,
};
use weir_store::{Config, Mark, Outcome, PartitionOp, Progress, Retention, SessionOp, Start, Store, fault};

use crate::disk::{config, try_open};

const CHILD_DIR: &str = "WEIR_STORE_TEST_CHILD";

fn small_log() -> Config {
    Config { log_segment_bytes: 600, queue_messages_max: 1000, ..config(1500) }
}

/// The child: enqueues and acknowledges, noting in a file what it was answered, until it dies.
#[test]
fn the_child_of_the_kill_test() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let dir = Path::new(&dir);
    let mut notes = std::fs::File::options().append(true).create(true).open(dir.join("notes")).unwrap();
    let (store, _) = try_open(&small_log(), &dir.join("data")).unwrap();
    let mut streaming = Streaming::begin(&*store, &mut notes);
    let key = client("a");
    let opened = open(&*store, &key, resuming());
    let fence = opened.fence;
    for number in opened.queue.tail + 1..opened.queue.tail + 200 {
        let put = enqueue(fence.generation, message(&number.to_string(), 40));
        let answer = ask(&*store, vec![step(&key, [put])]);
        let expected = Outcome::Enqueued { number, dropped: 0 };
        assert_eq!(answer[0].as_ref().map(|outcomes| &outcomes[0]), Ok(&expected), "numbers are dense");
        writeln!(notes, "put {number}").unwrap();
        if number > 3 {
            let number = number - 3;
            writeln!(notes, "acking {number}").unwrap();
            assert!(ask(&*store, vec![step(&key, [SessionOp::Ack { fence, number }])])[0].is_ok());
            writeln!(notes, "acked {number}").unwrap();
        }
        streaming.go_on(&*store, &mut notes);
    }
}

/// Records that a partition keeps in this test.
const KEPT: u64 = 20;

/// A partition that is appended to, and a group that follows.
struct Streaming {
    fence: u64,
    tail: u64,
}

impl Streaming {
    fn begin(store: &dyn Store, notes: &mut std::fs::File) -> Streaming {
        let key = made(store, "s", Retention { records_max: KEPT, ..Retention::default() });
        let (fence, progress) = acquire(store, &key, Start::Earliest);
        let tail = info(store, &key).unwrap().ends.tail;
        let streaming = Streaming { fence, tail: tail.number };
        if progress.low < tail {
            streaming.commit(store, tail, notes);
        }
        streaming
    }

    fn go_on(&mut self, store: &dyn Store, notes: &mut std::fs::File) {
        self.tail += 1;
        let mark = append(store, &partition("s"), record(&self.tail.to_string()));
        assert_eq!(mark.number, self.tail, "numbers are dense");
        writeln!(notes, "appended {}", self.tail).unwrap();
        self.commit(store, mark, notes);
    }

    /// What a handler would: its progress, its state, and its output for the record, which is numbered like it; the
    /// output before is published.
    fn commit(&self, store: &dyn Store, mark: Mark, notes: &mut std::fs::File) {
        let progress = Progress { low: mark, ..Progress::default() };
        let commit = PartitionOp::Commit { group: "g".into(), fence: self.fence, progress };
        let held = Held { key: partition("s"), group: "g".into(), fence: self.fence };
        let keep = held.keep("last", &self.tail.to_string());
        let ops = [commit, keep, held.paid(self.tail - 1), held.owe(self.tail)];
        let outcomes = held.done(store, ops);
        assert_eq!(outcomes[3], Outcome::Owed { entry: self.tail }, "entries are dense");
        writeln!(notes, "committed {}", self.tail).unwrap();
    }
}

/// The newest records are there, in order, and the group has come as far as it was answered.
fn check_stream(store: &dyn Store, appended: &[u64], committed: &[u64], case: &str) {
    let Some(found) = info(store, &partition("s")) else {
        assert!(appended.is_empty(), "{case}: the partition is lost");
        return;
    };
    let tail = found.ends.tail.number;
    let last = appended.last().copied().unwrap_or_default();
    assert!(tail == last || tail == last + 1, "{case}: {tail} after {last}");
    let texts: Vec<String> = (tail.saturating_sub(KEPT) + 1..=tail).map(|n| n.to_string()).collect();
    assert_eq!(told_from(store, &partition("s"), Start::Earliest), texts, "{case}");
    assert_eq!((found.ends.records, found.ends.trimmed.number), (tail.min(KEPT), tail.saturating_sub(KEPT)));
    let low = found.groups.first().map_or(Mark::default(), |place| place.progress.low).number;
    let committed = committed.last().copied().unwrap_or_default();
    assert!(low == committed || low == committed + 1, "{case}: {low} after {committed}");
    let held = Held { key: partition("s"), group: "g".into(), fence: 0 };
    let last = held.value(store, "last").map_or(0, |last| last.parse().unwrap());
    assert_eq!(last, low, "{case}: what is kept is of another commit");
    let owed = if low == 0 { vec![] } else { vec![(low, low)] };
    assert_eq!(held.owed(store, 0, 100), owed, "{case}");
}

#[test]
fn nothing_acknowledged_is_lost_by_death_at_any_fault_point() {
    for point in fault::POINTS {
        let dir = tempfile::tempdir().unwrap();
        for count in [1, 4, 3] {
            let status = run_child(dir.path(), &format!("{point}:{count}"));
            let died = status.signal() == Some(6);
            assert!(died, "{point}:{count} was not reached: {status}");
            check(dir.path(), &format!("{point}:{count}"));
        }
    }
}

fn run_child(dir: &Path, fault: &str) -> std::process::ExitStatus {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "kill::the_child_of_the_kill_test"]);
    child.env(CHILD_DIR, dir).env("WEIR_FAULT", fault);
    child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    child.status().unwrap()
}

/// Everything put and not being acknowledged is there, in order; nothing acknowledged has come back.
fn check(dir: &Path, case: &str) {
    let notes = std::fs::read_to_string(dir.join("notes")).unwrap_or_default();
    let noted = |word: &str| -> Vec<u64> {
        let numbers = notes.lines().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok());
        numbers.collect()
    };
    let (store, recovery) = try_open(&small_log(), &dir.join("data")).unwrap();
    assert_eq!((&recovery.lost, &recovery.harmless), (&vec![], &vec![]), "{case}");
    let rows = texts(&*store, &client("a"));
    let (put, acking, acked) = (noted("put "), noted("acking "), noted("acked "));
    for number in put.iter().filter(|number| !acking.contains(number)) {
        assert!(rows.contains(&(*number, number.to_string())), "{case}: {number} is lost: {rows:?}");
    }
    for (number, text) in &rows {
        assert_eq!(number.to_string(), *text, "{case}");
        assert!(!acked.contains(number), "{case}: {number} is back");
    }
    assert!(rows.is_sorted_by_key(|(number, _)| *number), "{case}: order");
    check_stream(&*store, &noted("appended "), &noted("committed "), case);
}
