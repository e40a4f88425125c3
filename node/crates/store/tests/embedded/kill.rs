//! Death at every fault point: a child process writes until it dies, its parent looks at what is left.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use weir_store::suite::{ask, client, enqueue, message, open, resuming, step, texts};
use weir_store::{Config, Outcome, SessionOp, fault};

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
    }
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
}
