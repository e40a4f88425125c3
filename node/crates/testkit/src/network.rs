//! A network of a test's own, in which it may cut nodes off each other: a network namespace and its routing rules.

use std::net::IpAddr;
use std::process::{Command, Stdio};

/// Set in the process that runs inside.
const INSIDE: &str = "WEIR_TEST_NETWORK";

/// Two addresses that do not reach each other by UDP, until this is dropped.
#[derive(Debug)]
pub struct Cut {
    between: [IpAddr; 2],
}

/// Where a test finds itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    /// In a network of its own.
    Inside,
    /// It has run inside, and passed.
    Done,
    /// Such a network cannot be made here: it takes root, or user namespaces.
    Outside,
}

/// Runs the test of this name once more in a network of its own.
///
/// # Panics
/// The test failed inside.
#[must_use]
pub fn enter(test: &str) -> Whereabouts {
    if std::env::var_os(INSIDE).is_some() {
        prepare();
        return Whereabouts::Inside;
    }
    let possible = |flags: &[&str]| {
        let mut probe = Command::new("unshare");
        probe.args(flags).args(["ip", "link", "set", "lo", "up"]).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    let ways: [&[&str]; 2] = [&["--net"], &["--net", "--map-root-user"]];
    let Some(flags) = ways.into_iter().find(|flags| possible(flags)) else {
        eprintln!("no network namespace can be made here for {test}: no link is cut");
        return Whereabouts::Outside;
    };
    let this = std::env::current_exe().expect("a test knows its binary");
    let mut inside = Command::new("unshare");
    inside.args(flags).arg(this).args(["--exact", test, "--include-ignored", "--nocapture"]);
    let status = inside.env(INSIDE, "1").status().expect("unshare ran a moment ago");
    assert!(status.success(), "inside its own network {test} failed: {status}");
    Whereabouts::Done
}

impl Cut {
    /// Cuts both ways.
    ///
    /// # Panics
    /// This is no network of one's own.
    #[must_use]
    pub fn between(one: IpAddr, other: IpAddr) -> Cut {
        assert!(std::env::var_os(INSIDE).is_some(), "only in a network of its own");
        let cut = Cut { between: [one, other] };
        cut.rules("add");
        cut
    }

    fn rules(&self, verb: &str) {
        let [one, other] = self.between.map(|address| address.to_string());
        for (from, to) in [(&one, &other), (&other, &one)] {
            ip(&["rule", verb, "pref", "50", "from", from, "to", to, "ipproto", "udp", "unreachable"]);
        }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.rules("del");
    }
}

/// Loopback up, and the rule for local addresses behind those that cut.
fn prepare() {
    ip(&["link", "set", "lo", "up"]);
    ip(&["rule", "add", "pref", "100", "lookup", "local"]);
    ip(&["rule", "del", "pref", "0"]);
}

fn ip(words: &[&str]) {
    let status = Command::new("ip").args(words).status().expect("`ip` can be started");
    assert!(status.success(), "ip {}: {status}", words.join(" "));
}
