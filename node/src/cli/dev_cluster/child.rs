//! A process of the development cluster: its words go on with its name before them, its end is ours to bring.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

/// How long a node may take to answer what is asked over loopback.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

pub struct Child {
    process: std::process::Child,
    started: Instant,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Starts it in a process group of its own, so that ctrl-C comes to us alone; it is told to end should we die.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut command: Command, name: &str) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        die_with_us(&mut command);
        let mut process = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        if let Some(stderr) = process.stderr.take() {
            let name = name.to_owned();
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    let _ = writeln!(std::io::stderr(), "{name}: {line}");
                }
            });
        }
        Ok(Self { process, started: Instant::now(), ended: None })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// How it ended; every end is told once.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_some() {
            return None;
        }
        self.ended = self.process.try_wait().ok().flatten();
        self.ended
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.ended.is_none() && self.has_ended().is_none()
    }

    /// SIGTERM, if it still runs.
    pub fn tell_to_end(&mut self) {
        if self.is_running() {
            let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[allow(unsafe_code)]
fn die_with_us(command: &mut Command) {
    // SAFETY: one system call, which may be made between fork and exec; it allocates nothing.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
    }
}

/// How many members the node with this HTTP port sees; `None` = it does not answer yet.
pub fn members_seen_at(http: u16) -> Option<u64> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, http));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_PATIENCE).ok()?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE)).ok()?;
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let line = answer.lines().find_map(|line| line.strip_prefix("weir_cluster_members "))?;
    line.trim().parse().ok()
}
