//! What the sources of all crates measure, read from their text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Crates whose metrics are not a node's.
const OTHERS: [&str; 2] = ["bench", "testkit"];

/// A metric by its name: what kind it is, and its labels.
pub type Measured = BTreeMap<String, (&'static str, BTreeSet<String>)>;

/// Every metric that a macro of some crate counts or sets.
pub fn measured() -> Measured {
    let mut measured = Measured::new();
    for file in files() {
        let text = std::fs::read_to_string(&file).expect("a source");
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().expect("a first part");
        for kind in ["counter", "gauge", "histogram"] {
            for call in calls(code, kind) {
                let mut texts = literals(call);
                let name = texts.next().unwrap_or_else(|| panic!("{}: {kind}!({call})", file.display()));
                assert!(call.trim_start().starts_with('"'), "{}: a name that is no text", file.display());
                let entry = measured.entry(name.0.to_owned()).or_insert((kind, BTreeSet::new()));
                assert_eq!(entry.0, kind, "{} is two kinds of metric", name.0);
                let labels = texts.filter(|(_, rest)| rest.trim_start().starts_with("=>"));
                entry.1.extend(labels.map(|(label, _)| label.to_owned()));
            }
        }
    }
    measured
}

fn files() -> Vec<PathBuf> {
    let node = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&node.join("src"), &mut found);
    for entry in std::fs::read_dir(node.join("crates")).expect("crates") {
        let path = entry.expect("an entry").path();
        if !OTHERS.iter().any(|other| path.ends_with(other)) {
            walk(&path.join("src"), &mut found);
        }
    }
    assert!(found.len() > 100, "{} sources", found.len());
    found
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// What stands between the brackets of each use of a macro.
fn calls<'a>(code: &'a str, name: &str) -> Vec<&'a str> {
    let opening = format!("{name}!(");
    let begins = code.match_indices(&opening).filter(|(at, _)| !code[..*at].ends_with('_'));
    begins.map(|(at, _)| inside(&code[at + opening.len()..])).collect()
}

/// Up to the bracket that closes what was opened before.
fn inside(code: &str) -> &str {
    let mut depth = 1;
    for (at, c) in code.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &code[..at];
        }
    }
    code
}

/// The texts in quotes, each with what follows it.
fn literals(call: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = call;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once('"')?;
        let (text, after) = after.split_once('"')?;
        rest = after;
        Some((text, after))
    })
}
