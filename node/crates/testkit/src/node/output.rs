//! What a node says: its start lines on stdout, its log on stderr, read by a thread each.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// Lines of stderr kept, the newest; a node that logs more is described well enough by these.
const LOG_LINES_MAX: usize = 50_000;

#[derive(Debug)]
pub struct Output {
    said: Arc<Said>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Said {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    stdout: Vec<String>,
    stderr: std::collections::VecDeque<String>,
    is_over: bool,
}

impl Output {
    pub fn of(child: &mut Child) -> Output {
        let said = Arc::new(Said::default());
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let out = read(&said, stdout, |lines, line| lines.stdout.push(line), true);
        let err = read(
            &said,
            stderr,
            |lines, line| {
                if lines.stderr.len() == LOG_LINES_MAX {
                    lines.stderr.pop_front();
                }
                lines.stderr.push_back(line);
            },
            false,
        );
        Output { said, readers: vec![out, err] }
    }

    /// Whether this line came before the deadline and before stdout's end.
    pub fn wait_for_line(&self, wanted: &str, deadline: Instant) -> bool {
        let mut lines = self.said.lock();
        loop {
            if lines.stdout.iter().any(|line| line == wanted) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.is_over || left.is_zero() {
                return false;
            }
            lines = self.said.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether stdout was closed, which a node does by ending.
    pub fn is_over(&self) -> bool {
        self.said.lock().is_over
    }

    /// The `listening NAME ADDR` lines.
    pub fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        let of_line = |line: &String| {
            let (name, address) = line.strip_prefix("listening ")?.split_once(' ')?;
            Some((name.to_owned(), address.parse().ok()?))
        };
        self.said.lock().stdout.iter().filter_map(of_line).collect()
    }

    pub fn stderr(&self) -> String {
        let lines = self.said.lock();
        lines.stderr.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Waits until all that the ended process said is here.
    pub fn join(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Said {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(
    said: &Arc<Said>,
    from: impl Read + Send + 'static,
    take: impl Fn(&mut Lines, String) + Send + 'static,
    is_stdout: bool,
) -> JoinHandle<()> {
    let said = said.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            take(&mut said.lock(), line);
            said.more.notify_all();
        }
        said.lock().is_over |= is_stdout;
        said.more.notify_all();
    })
}
