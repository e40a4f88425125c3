//! `weir dev-cluster`: a cluster on this machine in one command, gone with it.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use weir_testkit::{PATIENCE, eventually};

use super::scene::PROGRAM;

struct DevCluster {
    child: Child,
    lines: Receiver<String>,
    base: u16,
}

impl DevCluster {
    fn start(words: &[&str]) -> DevCluster {
        let base = free_ports();
        let mut command = Command::new(PROGRAM);
        command.args(["dev-cluster", "--nodes", "3", "--base-port", &base.to_string()]).args(words);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("dev-cluster");
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        DevCluster { child, lines, base }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    /// The processes it names, by what they are, up to `ready`.
    fn processes(&self) -> Vec<(String, Pid)> {
        let lines = std::iter::from_fn(|| Some(self.line()).filter(|line| line != "ready"));
        lines.map(|line| process(&line)).collect()
    }

    fn mqtt(&self, node: u16) -> String {
        (self.base + 10 * node).to_string()
    }

    /// One message from one node to another, by foreign clients.
    fn carries_a_message(&self, from: u16, to: u16) {
        // It writes whole buffers into a pipe; line by line is asked for.
        let mut subscriber = Command::new("stdbuf");
        subscriber.args([
            "-oL",
            "mosquitto_sub",
            "-V",
            "5",
            "-p",
            &self.mqtt(to),
            "-t",
            "t",
            "-C",
            "1",
            "-q",
            "1",
            "-d",
        ]);
        let mut subscriber = subscriber.stdout(Stdio::piped()).spawn().expect("mosquitto_sub");
        let mut lines =
            BufReader::new(subscriber.stdout.take().expect("piped")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.starts_with("Subscribed")), "it never subscribed");
        let mut publisher = Command::new("mosquitto_pub");
        let sent = publisher.args(["-p", &self.mqtt(from), "-t", "t", "-m", "hello", "-q", "1"]).status();
        assert!(sent.expect("mosquitto_pub").success());
        assert!(lines.any(|line| line == "hello"), "it never came");
        assert!(subscriber.wait().expect("a child").success());
    }

    fn interrupt(&self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
    }
}

impl Drop for DevCluster {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

fn process(line: &str) -> (String, Pid) {
    let (what, pid) = line.split_once(" pid ").unwrap_or_else(|| panic!("`{line}` names no process"));
    (what.to_owned(), Pid::from_raw(pid.parse().expect("a number")).expect("a process"))
}

/// A base port of thirty that are free, below those that the system gives away; no two tests look at the same first.
fn free_ports() -> u16 {
    static CLUSTERS: AtomicU32 = AtomicU32::new(0);
    let number = std::process::id() * 2 + CLUSTERS.fetch_add(1, Ordering::Relaxed);
    let first = 10_000 + u16::try_from(number % 600).expect("small") * 30;
    let bases = (first..28_000).step_by(30);
    let is_free = |base: u16| {
        (base..base + 30).all(|port| {
            let address = (Ipv4Addr::LOCALHOST, port);
            TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
        })
    };
    bases.into_iter().find(|base| is_free(*base)).expect("free ports")
}

fn runs(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
}

#[test]
fn one_command_is_a_cluster_and_ctrl_c_is_its_end() {
    let mut cluster = DevCluster::start(&[]);
    let processes = cluster.processes();
    let nodes: Vec<&str> = processes.iter().map(|(what, _)| what.as_str()).skip(1).collect();
    assert!(processes[0].0.starts_with("redis redis://"), "{processes:?}");
    assert_eq!(nodes, ["node 0", "node 1", "node 2"]);
    cluster.carries_a_message(0, 2);

    kill_process(processes[1].1, Signal::KILL).expect("a node");
    eventually("the killed node to be gone", || (!runs(processes[1].1)).then_some(()));
    cluster.carries_a_message(1, 2);

    cluster.interrupt();
    assert!(cluster.child.wait().expect("a child").success());
    assert!(processes.iter().all(|(_, pid)| !runs(*pid)), "something still runs of {processes:?}");
}

#[test]
fn a_killed_node_comes_back_when_that_was_asked_for() {
    let cluster = DevCluster::start(&["--restart"]);
    let processes = cluster.processes();
    let (name, pid) = processes.last().expect("a node");
    kill_process(*pid, Signal::KILL).expect("a node");
    let (again, new) = process(&cluster.line());
    assert_eq!(&again, name);
    assert_ne!(new, *pid);
}
