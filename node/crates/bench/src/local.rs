//! Programs started on this machine for a measurement, and gone with it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Error;

/// Queues of offline sessions without a practical limit, as other brokers have them: a full one drops what the
/// measurement would then call lost.
pub(crate) const WEIR_ENVIRONMENT: [(&str, &str); 2] =
    [("WEIR__STORE__QUEUE_MESSAGES_MAX", "10000000"), ("WEIR__STORE__QUEUE_BYTES_MAX", "1073741824")];

/// The environment variable with a directory of programs to be found before those on the PATH.
const TOOLS: &str = "WEIR_TOOLS";

/// Where programs are that are not on everybody's PATH.
const MORE_DIRECTORIES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// How often a program is looked at that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A running program. Killed when dropped.
pub(crate) struct Program {
    name: String,
    child: Child,
    started: Instant,
    /// By whoever started it.
    was_ended: bool,
    stdout: PathBuf,
    stderr: PathBuf,
    /// Kept as long as somebody writes to it.
    _directory: Arc<Directory>,
}

impl Program {
    /// Starts it; what it says goes to files of the directory.
    pub(crate) fn start(
        name: &str,
        mut command: Command,
        directory: &Arc<Directory>,
    ) -> Result<Program, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Relaxed);
        let path = |kind: &str| directory.path().join(format!("{number}.{kind}"));
        let (stdout, stderr) = (path("stdout"), path("stderr"));
        let output = |path: &Path| std::fs::File::create(path).map_err(files(path));
        command.stdin(Stdio::null()).stdout(output(&stdout)?).stderr(output(&stderr)?);
        let program = PathBuf::from(command.get_program());
        let started = Instant::now();
        let child = command.spawn().map_err(|source| Error::Start { program, source })?;
        Ok(Program {
            name: name.to_owned(),
            child,
            started,
            was_ended: false,
            stdout,
            stderr,
            _directory: Arc::clone(directory),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When it was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// All it has said so far.
    pub(crate) fn stdout(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// Waits until `is_up`.
    ///
    /// # Errors
    ///
    /// It has ended instead, or is not after so long; its last words are told.
    pub(crate) fn wait(
        &mut self,
        patience: Duration,
        mut is_up: impl FnMut(&Program) -> bool,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        while !is_up(self) {
            let has_ended = matches!(self.child.try_wait(), Ok(Some(_)) | Err(_));
            if has_ended || Instant::now() > deadline {
                return Err(self.is_not_up(patience));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// SIGKILL, and waits until it is dead.
    pub(crate) fn kill(&mut self) {
        self.was_ended = true;
        // Both fail only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM; does not wait.
    pub(crate) fn tell_to_end(&mut self) {
        self.was_ended = true;
        // Fails only when the process has ended already.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }

    fn is_not_up(&self, patience: Duration) -> Error {
        Error::NotUp { name: self.name.clone(), seconds: patience.as_secs(), output: self.last_words() }
    }

    fn last_words(&self) -> String {
        let said = std::fs::read_to_string(&self.stderr).unwrap_or_default();
        said.lines().last().unwrap_or("none").to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(status)) if !status.success()) && !self.was_ended {
            eprintln!("  {} had ended by itself; its last words: {}", self.name, self.last_words());
        }
        self.kill();
    }
}

/// Runs a program to its end, and returns what it has said.
///
/// # Errors
///
/// It cannot be started, or does not succeed.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    let program = PathBuf::from(command.get_program());
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|source| Error::Start { program: program.clone(), source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let output = said.lines().last().unwrap_or("none").to_owned();
        return Err(Error::Failed { program, output });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The lines `listening mqtt 127.0.0.1:1883` of a node's output, once `ready` follows them.
pub(crate) fn listening(output: &str) -> Vec<(String, String)> {
    if !output.lines().any(|line| line == "ready") {
        return Vec::new();
    }
    let address = |line: &str| {
        let (name, address) = line.strip_prefix("listening ")?.split_once(' ')?;
        Some((name.to_owned(), address.trim().to_owned()))
    };
    output.lines().filter_map(address).collect()
}

/// A port of loopback nobody listens on at this moment.
pub(crate) fn free_port() -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address: SocketAddr| address.port())
        .map_err(|source| Error::NoPort { source })
}

/// A program of this machine.
pub(crate) fn on_path(file: &str) -> Option<PathBuf> {
    let tools = std::env::var_os(TOOLS).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = MORE_DIRECTORIES.iter().map(PathBuf::from);
    let mut all = tools.into_iter().chain(std::env::split_paths(&path)).chain(more);
    all.find_map(|directory| Some(directory.join(file)).filter(|path| path.is_file()))
}

/// The program that is running, which is weir.
pub(crate) fn this_program() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(files(Path::new("/proc/self/exe")))
}

fn files(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Files { path, source }
}

/// A directory of one run, removed when dropped.
pub(crate) struct Directory {
    path: PathBuf,
}

impl Directory {
    pub(crate) fn new() -> Result<Directory, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("weir-bench-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).map_err(files(&path))?;
        Ok(Directory { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the temporary directory.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_from_weirs_first_lines_once_it_is_ready() {
        let lines = "listening mqtt 127.0.0.1:4001\nlistening http 127.0.0.1:4002\n";
        assert!(listening(lines).is_empty());
        let ready = listening(&format!("{lines}ready\n"));
        assert_eq!(ready[1], ("http".to_owned(), "127.0.0.1:4002".to_owned()));
    }

    #[test]
    fn a_program_that_ends_too_early_is_told_with_its_last_words() {
        let directory = Arc::new(Directory::new().expect("a directory"));
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such luck >&2"]);
        let mut program = Program::start("sh", command, &directory).expect("there is a shell");
        let error = program.wait(Duration::from_secs(30), |_| false).expect_err("it has ended");
        assert!(error.to_string().contains("no such luck"), "{error}");
    }

    #[test]
    fn a_command_that_fails_is_an_error_with_what_it_said() {
        let error =
            output(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).expect_err("it failed");
        assert!(error.to_string().contains("broken"), "{error}");
        assert_eq!(output(Command::new("echo").arg("well")).expect("it succeeds"), "well\n");
    }
}
