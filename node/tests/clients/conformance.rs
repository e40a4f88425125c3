//! `node/docs/conformance.md` is complete and true: it names these tests, and no others.

use std::collections::BTreeSet;
use std::process::Command;

use crate::tools::Running;

const PROGRAMS: [&str; 5] = ["paho::", "mqttjs::", "mosquitto::", "bridge::", "quic::"];

/// Tests by foreign clients; not the two that compare lists of names.
fn is_check(name: &str) -> bool {
    PROGRAMS.iter().any(|program| name.starts_with(program)) && !name.ends_with("has_a_test")
}

/// What stands in backticks in the rows of the tables.
fn named() -> BTreeSet<String> {
    let rows = include_str!("../../docs/conformance.md").lines().filter(|line| line.starts_with("| "));
    let names = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    names.filter(|name| is_check(name)).map(str::to_owned).collect()
}

fn tests() -> BTreeSet<String> {
    let this = std::env::current_exe().expect("the program of these tests");
    let listed = Running::start(Command::new(this).arg("--list"), None).success();
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    names.filter(|name| is_check(name)).map(str::to_owned).collect()
}

#[test]
fn the_table_names_every_test_and_no_other() {
    assert_eq!(named(), tests());
}
