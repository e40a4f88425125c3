//! Where the foreign clients are, and running them to an end that comes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

/// The longest a client may run: its own waits end long before.
const PATIENCE: Duration = Duration::from_secs(90);

/// What `cargo xtask tools` brought.
pub fn directory() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    std::env::var_os("WEIR_TOOLS").map_or_else(built, PathBuf::from)
}

/// A program of the PATH.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = places.map(|place| place.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: run `cargo xtask tools`"))
}

/// A file below [`directory`].
pub fn brought(name: &str) -> PathBuf {
    let file = directory().join(name);
    assert!(file.exists(), "{} is missing: run `cargo xtask tools`", file.display());
    file
}

/// A client that runs until it ends or is dropped. Its stdin is empty, its output goes to files.
#[derive(Debug)]
pub struct Running {
    child: Child,
    said: String,
    output: NamedTempFile,
    errors: NamedTempFile,
}

impl Running {
    /// Starts it, with stdin as given (`None` = empty).
    pub fn start(command: &mut Command, stdin: Option<&Path>) -> Running {
        let open = |path: &Path| std::fs::File::open(path).expect("the client's input").into();
        let (output, errors) = (file(), file());
        let said = format!("{command:?}");
        let child = command
            .stdin(stdin.map_or_else(Stdio::null, open))
            .stdout(output.reopen().expect("a file for the client's output"))
            .stderr(errors.reopen().expect("a file for the client's errors"))
            .spawn()
            .unwrap_or_else(|error| panic!("{said} cannot be started: {error}"));
        Running { child, said, output, errors }
    }

    /// What it wrote to stdout until now.
    pub fn output(&self) -> String {
        read(&self.output)
    }

    /// Waits until a line of its stdout begins so.
    pub fn says(&mut self, start: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.output().lines().any(|line| line.starts_with(start)) {
            let ended = self.child.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "{} ended before it said {start:?}\n{self}", self.said);
            assert!(Instant::now() < deadline, "{} never said {start:?}\n{self}", self.said);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end, however it ends.
    pub fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "{} did not end\n{self}", self.said);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end, which must be a success; returns its stdout.
    pub fn success(mut self) -> String {
        let status = self.end();
        assert!(status.success(), "{}: {status}\n{self}", self.said);
        self.output()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl std::fmt::Display for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--- stdout:\n{}--- stderr:\n{}", self.output(), read(&self.errors))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn file() -> NamedTempFile {
    NamedTempFile::with_prefix("weir-client-").expect("a file for what a client says")
}

fn read(file: &NamedTempFile) -> String {
    String::from_utf8_lossy(&std::fs::read(file.path()).expect("what a client said")).into_owned()
}
