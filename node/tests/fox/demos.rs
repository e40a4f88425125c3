//! fox-wamp's demo programs, unmodified. They are told where to connect by their argument; `foxcli.js` knows one port
//! only, which is changed on its way to the socket.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::scene::{Scene, demo, script};

/// How long is waited for a line before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that runs, and what it says.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("node starts");
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Running { child, lines }
    }

    fn demo(scene: &Scene, name: &str) -> Running {
        Running::start(script(&demo(name)).args(["-s", &scene.url()]))
    }

    /// Waits for a line that holds this text.
    #[track_caller]
    fn says(&self, text: &str) {
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return,
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("it does not say `{text}` but:\n{}", said.join("\n"));
                }
            }
        }
    }

    /// Whether it has said nothing of this kind by now.
    fn has_not_said(&self, text: &str) -> bool {
        !self.lines.try_iter().any(|line| line.contains(text))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn its_frontend_calls_its_backend() {
    let scene = Scene::new();
    let backend = Running::demo(&scene, "backend.js");
    for line in ["Procedure registered", "Procedure echo registered", "subscription successfull"] {
        backend.says(line);
    }
    let frontend = Running::demo(&scene, "frontend.js");
    backend.says("Event args [ 'Arg1', 'Arg2' ] kwargs { kwarg1: 'kwarg1', kwarg2: 'kwarg2' }");
    backend.says("Event args [ 'arg-one' ]");
    for line in ["Call progress", "Call com.timeservice.now completed", "disconnected"] {
        frontend.says(line);
    }
}

#[test]
fn its_resource_lock_is_given_to_one_and_then_to_the_next() {
    let scene = Scene::new();
    let first = Running::demo(&scene, "resource-lock.js");
    first.says("Master Resource Locked");
    let second = Running::demo(&scene, "resource-lock.js");
    second.says("waiting for lock...");
    assert!(second.has_not_said("Master Resource Locked"));
    drop(first);
    second.says("Master Resource Locked");
}

#[test]
fn its_meta_program_counts_sessions() {
    let scene = Scene::new();
    let meta = Running::demo(&scene, "metatest.js");
    for line in ["subscription successfull", "count =", "list ="] {
        meta.says(line);
    }
    let _another = Running::demo(&scene, "backend.js");
    meta.says("Event wamp.session.on_join received args []");
}

#[test]
fn its_mass_publisher_is_answered_every_time() {
    let scene = Scene::new();
    Running::demo(&scene, "mass-publish.js").says("total rec/sec:");
}

#[test]
fn its_hyper_program_logs_in_subscribes_and_publishes() {
    let scene = Scene::new();
    let home = tempfile::tempdir().expect("a directory");
    let port = preload(home.path(), scene.node.address("hyper").port());
    let program = demo("foxcli.js");
    let client = Running::start(script(Path::new("-r")).arg(port).arg(program));
    for line in
        ["login successful", "Subscribed to com.myapp.topic1", "Published message to com.myapp.topic1"]
    {
        client.says(line);
    }
}

/// What a program loads first that knows no port but 1735.
fn preload(home: &Path, port: u16) -> std::path::PathBuf {
    let path = home.join("port.cjs");
    let code = format!(
        "const {{ Socket }} = require('net');
         const {{ connect }} = Socket.prototype;
         Socket.prototype.connect = function (port, host) {{
           return connect.call(this, port === 1735 ? {port} : port, host === 'localhost' ? '127.0.0.1' : host);
         }};"
    );
    std::fs::write(&path, code).expect("it can be written");
    path
}
