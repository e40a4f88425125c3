//! Clients nobody here wrote contend for a lock on three nodes, and the node of its holder is killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

use weir_testkit::{Cluster, Node, PATIENCE, Redis, eventually};

const PROGRAM: &str = env!("CARGO_BIN_EXE_weir");

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// autobahn-js.
    Wamp,
    /// paho, MQTT 5.
    Mqtt,
}

/// A process that asks for the lock; killed when dropped.
struct Contender {
    name: String,
    child: Child,
    input: ChildStdin,
}

/// Who says what.
struct Stage {
    sender: Sender<(String, String)>,
    said: Receiver<(String, String)>,
}

fn tools() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    let tools = std::env::var_os("WEIR_TOOLS").map_or_else(built, PathBuf::from);
    assert!(tools.join("wamp/node_modules").is_dir(), "clients are missing: run `cargo xtask tools`");
    tools
}

impl Stage {
    fn new() -> Stage {
        let (sender, said) = channel();
        Stage { sender, said }
    }

    fn enter(&self, kind: Kind, node: &Node, name: &str) -> Contender {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sync/clients");
        let mut command = match kind {
            Kind::Wamp => {
                let mut command = Command::new("node");
                command.arg(clients.join("mutex.mjs")).arg(format!("ws://{}/wamp", node.address("http")));
                command
            }
            Kind::Mqtt => {
                let mut command = Command::new(tools().join("python/bin/python"));
                let address = node.address("mqtt");
                command.arg(clients.join("mutex.py")).arg(address.ip().to_string());
                command.arg(address.port().to_string());
                command
            }
        };
        command.arg(name).env("WEIR_TOOLS", tools().canonicalize().expect("a directory"));
        command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it can be started");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (sender, name) = (self.sender.clone(), name.to_owned());
        let who = name.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send((who.clone(), line));
            }
        });
        let contender = Contender { name, child, input };
        self.hears(&contender, "ready");
        contender
    }

    /// The next word of all of them is this one.
    fn hears(&self, contender: &Contender, word: &str) -> String {
        let (who, said) = self.next();
        assert!(
            who == contender.name && said.starts_with(word),
            "{} was to say {word}: {who} said {said}",
            contender.name
        );
        said
    }

    /// The next so many words, by who says them.
    fn hears_all(&self, count: usize) -> Vec<(String, String)> {
        let mut words: Vec<_> = (0..count).map(|_| self.next()).collect();
        words.sort();
        words
    }

    fn next(&self) -> (String, String) {
        self.said.recv_timeout(PATIENCE).expect("nobody waits for ever")
    }
}

impl Contender {
    fn does(&mut self, step: &str) {
        writeln!(self.input, "{step}").expect("it listens");
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The holder and one who waits are at the node that is killed; the others get the lock in the order in which they asked.
fn contest(kinds: [Kind; 6]) {
    let redis = Redis::start();
    let mut cluster = Cluster::of(PROGRAM, &redis.url()).start();
    let stage = Stage::new();
    let places = [2, 0, 1, 2, 0, 1];
    let enter = |at: usize| stage.enter(kinds[at], cluster.node(places[at]), &format!("c{at}"));
    let mut all: Vec<Contender> = (0..6).map(enter).collect();
    let waiters = |count: usize, cluster: &Cluster| {
        let seen = || cluster.node(0).metrics().sum("weir_broker_waiters") == count as f64;
        eventually("they wait", || seen().then_some(()));
    };
    all[0].does("ask");
    stage.hears(&all[0], "granted");
    for (before, contender) in all.iter_mut().skip(1).enumerate() {
        contender.does("ask");
        waiters(before + 1, &cluster);
    }
    cluster.kill9(2);
    // Those of the dead node say so, and nobody else anything but the first in line.
    let words = stage.hears_all(3);
    let starts: Vec<_> = words.iter().map(|(who, word)| (who.as_str(), &word[..4])).collect();
    assert_eq!(starts, [("c0", "lost"), ("c1", "gran"), ("c3", "lost")]);
    let mut tokens = tokens_of(&words);
    let survivors = [1, 2, 4, 5];
    for (turn, at) in survivors.into_iter().enumerate() {
        if matches!(kinds[at], Kind::Mqtt) {
            // What it sends again does not wait behind itself, and is answered as before.
            all[at].does("ask");
            let again = stage.hears(&all[at], "granted");
            assert_eq!(again.split_once(' ').map(|(_, token)| token), tokens.last().map(String::as_str));
        }
        all[at].does("release");
        // Its successor may hear of it first.
        let next = survivors.get(turn + 1);
        let words = stage.hears_all(1 + usize::from(next.is_some()));
        let starts: Vec<_> = words.iter().map(|(who, word)| (who.clone(), &word[..4])).collect();
        let mut expected = vec![(format!("c{at}"), "rele")];
        expected.extend(next.map(|next| (format!("c{next}"), "gran")));
        assert_eq!(starts, expected);
        tokens.extend(tokens_of(&words));
    }
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
    waiters(0, &cluster);
}

/// Of grants that told one.
fn tokens_of(words: &[(String, String)]) -> Vec<String> {
    words.iter().filter_map(|(_, word)| word.strip_prefix("granted ")).map(str::to_owned).collect()
}

#[test]
fn autobahn_js_and_paho_pass_a_lock_on_in_order_when_the_node_of_its_holder_is_killed() {
    contest([Kind::Mqtt, Kind::Wamp, Kind::Mqtt, Kind::Wamp, Kind::Mqtt, Kind::Wamp]);
}

#[test]
fn a_wamp_session_that_is_killed_with_its_node_gives_its_lock_up() {
    contest([Kind::Wamp, Kind::Mqtt, Kind::Wamp, Kind::Mqtt, Kind::Wamp, Kind::Mqtt]);
}

#[test]
fn paho_alone_passes_a_lock_on_in_order_when_the_node_of_its_holder_is_killed() {
    contest([Kind::Mqtt; 6]);
}
