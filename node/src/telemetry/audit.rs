//! The audit log: events of the target `weir::audit`, bounded per second, to the log and to a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use metrics::counter;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// What all audit events have as their target.
pub const TARGET: &str = "weir::audit";

/// Lines on their way to the file. Full, because the disk is slow: further ones are left out and counted.
const LINES_WAITING_MAX: usize = 1024;

/// How long the end of the process waits for lines on their way.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The layer that bounds audit events for all layers of the log, and writes them to the file if there is one.
pub struct Audit {
    gate: Mutex<Gate>,
    file: Option<SyncSender<Say>>,
}

/// Held as long as the process logs; what is on its way to the file is written when it is dropped.
#[must_use]
pub struct Guard(Option<SyncSender<Say>>);

/// So many events a second; 0 = all.
struct Gate {
    per_second_max: u32,
    second: Instant,
    let_through: u32,
    suppressed: u64,
}

enum Say {
    Line(String),
    Flush(SyncSender<()>),
}

/// The open file, opened anew when somebody moved it away.
struct Output {
    path: PathBuf,
    file: File,
}

impl Audit {
    /// # Errors
    /// The file cannot be opened.
    pub fn open(per_second_max: u32, path: Option<&Path>) -> anyhow::Result<(Audit, Guard)> {
        let file = path.map(start_writer).transpose()?;
        let gate = Gate { per_second_max, second: Instant::now(), let_through: 0, suppressed: 0 };
        Ok((Audit { gate: Mutex::new(gate), file: file.clone() }, Guard(file)))
    }

    fn say(&self, line: String) {
        let Some(file) = &self.file else { return };
        if let Err(TrySendError::Full(_)) = file.try_send(Say::Line(line)) {
            counter!("weir_node_audit_suppressed_total").increment(1);
        }
    }
}

impl<S: Subscriber> Layer<S> for Audit {
    /// Decides for every layer: an event beyond the bound is in no log.
    fn event_enabled(&self, _: &Event<'_>, _: Context<'_, S>) -> bool {
        let taken = self.gate.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        match taken {
            Some(0) => true,
            Some(suppressed) => {
                self.say(format!(
                    "{{\"event\":\"events left out\",\"count\":{suppressed},\"time\":\"{}\"}}",
                    now()
                ));
                true
            }
            None => {
                counter!("weir_node_audit_suppressed_total").increment(1);
                false
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if self.file.is_none() {
            return;
        }
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        fields.0.insert("time".to_owned(), now().into());
        self.say(Value::Object(fields.0).to_string());
    }
}

impl Gate {
    /// Lets an event through and says how many were left out before it; `None` = this one is, too.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.let_through) = (now, 0);
        }
        if self.per_second_max > 0 && self.let_through >= self.per_second_max {
            self.suppressed += 1;
            return None;
        }
        self.let_through += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// The fields of an event; its message is the field `event`.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        let name = if field.name() == "message" { "event" } else { field.name() };
        self.0.insert(name.to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

/// A thread of its own writes, so that a slow disk holds up nobody.
fn start_writer(path: &Path) -> anyhow::Result<SyncSender<Say>> {
    let output = Output::open(path)
        .with_context(|| format!("the audit log (node.audit_file) {} cannot be opened", path.display()))?;
    let (sender, lines) = sync_channel(LINES_WAITING_MAX);
    std::thread::Builder::new()
        .name("audit".to_owned())
        .spawn(move || write(output, &lines))
        .context("no thread for the audit log")?;
    Ok(sender)
}

fn write(mut output: Output, lines: &Receiver<Say>) {
    let mut failing = false;
    for say in lines {
        match say {
            Say::Line(line) => {
                let written = output.write(line);
                if let Err(error) = &written {
                    counter!("weir_node_audit_write_failures_total").increment(1);
                    if !failing {
                        tracing::error!(path = %output.path.display(), %error, "the audit log cannot be written");
                    }
                }
                failing = written.is_err();
            }
            Say::Flush(done) => drop(done.send(())),
        }
    }
}

impl Output {
    fn open(path: &Path) -> io::Result<Output> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        Ok(Output { path: path.to_owned(), file })
    }

    /// One line, in one write, so that lines of two processes do not mix.
    fn write(&mut self, mut line: String) -> io::Result<()> {
        if !self.is_in_place() {
            *self = Output::open(&self.path)?;
        }
        line.push('\n');
        self.file.write_all(line.as_bytes())
    }

    /// Whether the path still names the open file: logs are rotated by moving them away.
    fn is_in_place(&self) -> bool {
        let (Ok(named), Ok(open)) = (std::fs::metadata(&self.path), self.file.metadata()) else {
            return false;
        };
        (named.dev(), named.ino()) == (open.dev(), open.ino())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(file) = &self.0 else { return };
        let (done, written) = sync_channel(1);
        if file.try_send(Say::Flush(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::layer::SubscriberExt as _;

    /// Logs with this bound to a file and returns its lines.
    fn logged(path: &Path, per_second_max: u32, events: impl FnOnce()) -> Vec<Value> {
        let (audit, guard) = Audit::open(per_second_max, Some(path)).unwrap();
        let layer = audit.with_filter(Targets::new().with_target(TARGET, tracing::Level::INFO));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), events);
        drop(guard);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn events_are_lines_of_json_and_others_are_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let lines = logged(&path, 0, || {
            tracing::info!(target: "weir::audit", client_id = "a\"\n", port = 7, "connection refused");
            tracing::info!("something else");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["event"], "connection refused");
        assert_eq!((&lines[0]["client_id"], &lines[0]["port"]), (&"a\"\n".into(), &7.into()));
        assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_flood_is_cut_and_told_of_later() {
        let mut gate = Gate { per_second_max: 2, second: Instant::now(), let_through: 0, suppressed: 0 };
        let start = gate.second;
        let taken: Vec<_> = (0..5).map(|_| gate.take(start)).collect();
        assert_eq!(taken, [Some(0), Some(0), None, None, None]);
        assert_eq!(gate.take(start + Duration::from_secs(1)), Some(3));
        let dir = tempfile::tempdir().unwrap();
        let lines = logged(&dir.path().join("audit.log"), 3, || {
            (0..100).for_each(|n| tracing::info!(target: "weir::audit", n, "flood"));
        });
        assert!(lines.len() < 20, "{}", lines.len());
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("audit.log"), dir.path().join("audit.log.1"));
        let mut output = Output::open(&path).unwrap();
        output.write("one".to_owned()).unwrap();
        std::fs::rename(&path, &old).unwrap();
        output.write("two".to_owned()).unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
    }
}
