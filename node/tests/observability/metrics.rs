//! Every metric has a good name and a help text, and stands in the docs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use weir_bench::client::Message;
use weir_model::Qos;
use weir_testkit::http;

use crate::clients::{brought, connect, next, node, options, subscribe};
use crate::sources;

/// The crates that may measure; a name begins with one of them.
const CRATES: [&str; 9] =
    ["net", "store", "cluster", "access", "runtime", "admin", "broker", "gateway", "node"];

/// Units that a name must say.
const UNITS: [(Unit, &str); 2] = [(Unit::Bytes, "_bytes"), (Unit::Seconds, "_seconds")];

/// What crates say of their metrics.
#[derive(Debug, Clone, PartialEq)]
struct Described {
    kind: &'static str,
    unit: Option<Unit>,
    help: String,
}

#[derive(Default)]
struct Listener(Mutex<BTreeMap<String, Described>>);

impl Listener {
    fn note(&self, kind: &'static str, name: KeyName, unit: Option<Unit>, help: SharedString) {
        let described = Described { kind, unit, help: help.into_owned() };
        let before = self.0.lock().expect("nobody panicked").insert(name.as_str().to_owned(), described);
        assert!(before.is_none(), "{} is described twice", name.as_str());
    }
}

impl Recorder for Listener {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.note("counter", name, unit, help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.note("gauge", name, unit, help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.note("histogram", name, unit, help);
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn described() -> BTreeMap<String, Described> {
    let listener = Listener::default();
    metrics::with_local_recorder(&listener, weir::telemetry::describe);
    listener.0.into_inner().expect("nobody panicked")
}

#[test]
fn every_metric_is_described_as_what_it_is_and_nothing_else_is() {
    let (described, measured) = (described(), sources::measured());
    for (name, (kind, _)) in &measured {
        let found = described.get(name).unwrap_or_else(|| panic!("{name} has no help text"));
        assert_eq!(found.kind, *kind, "{name}");
    }
    for name in described.keys() {
        assert!(measured.contains_key(name), "{name} is described, and nobody measures it");
    }
}

#[test]
fn every_name_says_whose_it_is_and_in_which_unit() {
    for (name, Described { kind, unit, help }) in described() {
        let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let of_a_crate = CRATES.iter().any(|own| name.starts_with(&format!("weir_{own}_")));
        assert!(plain && of_a_crate, "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        let unit = unit.unwrap_or_else(|| panic!("{name} has no unit"));
        for (known, suffix) in UNITS {
            let said = name.trim_end_matches("_total").ends_with(suffix);
            assert_eq!(said, unit == known, "{name} is in {}", unit.as_str());
        }
        assert!(help.len() > 10 && help.ends_with('.'), "{name}: {help:?}");
    }
}

/// Labels are words of ours: none that tells a topic, a client, a user or an address.
#[test]
fn no_label_is_as_many_as_clients_are() {
    let known = [
        // What operators have made: bindings, and the versions of their handlers.
        "binding",
        "class",
        "code",
        "direction",
        "event",
        "hook",
        "kind",
        "limit",
        "listener",
        "method",
        "outcome",
        "reason",
        "request",
        "result",
        "service",
        "source",
        "version",
        "what",
    ];
    for (name, (_, labels)) in sources::measured() {
        for label in labels {
            assert!(known.contains(&&*label), "{name} has a label {label}: are its values few and fixed?");
        }
    }
}

/// `WEIR_WRITE_DOCS=1` writes it anew.
#[test]
fn the_docs_name_every_metric() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let wanted = docs();
    if std::env::var_os("WEIR_WRITE_DOCS").is_some() {
        std::fs::write(&path, &wanted).expect("the docs are written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/metrics.md is not what it should be; WEIR_WRITE_DOCS=1 writes it\n{wanted}"
    );
}

fn docs() -> String {
    let measured = sources::measured();
    let mut out = String::from(
        "# Metrics\n\nWhat `/metrics` tells, in the text format of Prometheus. Names are \
         `weir_<crate>_<what>_<unit>[_total]`; labels come from small fixed sets, never from a topic, a client or \
         an address. This page is written from the descriptions in the sources (`metrics.rs` of each crate) and \
         checked by a test.\n",
    );
    let mut section = String::new();
    for (name, Described { kind, help, .. }) in described() {
        let of = name.split('_').nth(1).unwrap_or_default().to_owned();
        if of != section {
            let _ = write!(out, "\n## {of}\n\n| metric | kind | what |\n|---|---|---|\n");
            section = of;
        }
        let labels = measured.get(&name).map(|(_, labels)| labels.iter().cloned().collect::<Vec<_>>());
        let labels = labels
            .filter(|labels| !labels.is_empty())
            .map_or(String::new(), |l| format!("{{{}}}", l.join(",")));
        let _ = writeln!(out, "| `{name}{labels}` | {kind} | {help} |");
    }
    out
}

#[tokio::test]
async fn promtool_finds_nothing_to_say_about_a_node_with_traffic() {
    let node = node().start();
    let kept = weir_bench::client::Options {
        clean_start: false,
        session_expiry_seconds: Some(3600),
        ..options("kept")
    };
    let mut subscriber = connect(&node, &kept).await;
    subscribe(&mut subscriber, "t/#", Qos::ExactlyOnce).await;
    subscribe(&mut subscriber, "$share/g/t/#", Qos::AtLeastOnce).await;
    let mut publisher = connect(&node, &options("publisher")).await;
    for (number, qos) in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce].into_iter().enumerate() {
        let message = Message { retain: number == 2, ..Message::new(format!("t/{number}"), "x", qos) };
        publisher.publish(&message).await.expect("taken");
        next(&mut subscriber).await;
    }
    publisher.publish(&Message::new("$SYS/no", "x", Qos::AtLeastOnce)).await.expect_err("refused");

    let answer = http::get(node.address("http"), "/metrics");
    assert_eq!(answer.status, 200);
    for name in answer.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = name.split(' ').next().unwrap_or_default();
        assert!(answer.body.contains(&format!("# HELP {name} ")), "{name} has no help text");
    }
    let mut promtool = Command::new(brought("prometheus/promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    promtool.stdin.take().expect("piped").write_all(answer.body.as_bytes()).expect("it reads");
    let said = promtool.wait_with_output().expect("it ends");
    let told = [said.stdout, said.stderr].concat();
    assert!(said.status.success() && told.is_empty(), "{}", String::from_utf8_lossy(&told));
}
