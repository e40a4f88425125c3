//! Callers and callees as processes of `weir wamp`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;
use weir_testkit::Node;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_weir");

/// A `weir wamp register` that is registered; killed when dropped.
pub struct Callee {
    child: Child,
    calls: BufReader<ChildStdout>,
}

/// How a call ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub output: String,
    pub errors: String,
}

pub fn url(node: &Node) -> String {
    format!("ws://{}/wamp", node.address("http"))
}

fn wamp(node: &Node, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("wamp").args(arguments).arg("--url").arg(url(node)).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Callee {
    /// Registers, and returns when that is done.
    pub fn register(node: &Node, arguments: &[&str]) -> Callee {
        let arguments: Vec<_> = ["register"].iter().chain(arguments).copied().collect();
        let mut child = wamp(node, &arguments).spawn().expect("weir can be started");
        let errors = child.stderr.take().expect("its stderr");
        let mut line = String::new();
        BufReader::new(errors).read_line(&mut line).expect("what it says");
        assert!(line.contains("is registered"), "{line}");
        let calls = BufReader::new(child.stdout.take().expect("its stdout"));
        Callee { child, calls }
    }

    /// The next call it was given.
    pub fn called(&mut self) -> Value {
        let mut line = String::new();
        self.calls.read_line(&mut line).expect("a line for each call");
        serde_json::from_str(&line).expect("a line of JSON")
    }
}

impl Drop for Callee {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls and waits for the end.
pub fn call(node: &Node, arguments: &[&str]) -> Ended {
    calling(node, arguments).end()
}

/// A call that is under way.
pub struct Calling(Child);

pub fn calling(node: &Node, arguments: &[&str]) -> Calling {
    let arguments: Vec<_> = ["call"].iter().chain(arguments).copied().collect();
    Calling(wamp(node, &arguments).spawn().expect("weir can be started"))
}

impl Calling {
    pub fn end(mut self) -> Ended {
        let (mut output, mut errors) = (String::new(), String::new());
        self.0.stdout.take().expect("its stdout").read_to_string(&mut output).expect("text");
        self.0.stderr.take().expect("its stderr").read_to_string(&mut errors).expect("text");
        let code = self.0.wait().expect("it ends").code();
        Ended { code, output, errors }
    }
}

impl Callee {
    /// SIGSTOP: it is given calls and never answers.
    pub fn stop(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it can be stopped");
    }
}
