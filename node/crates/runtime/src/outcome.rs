//! What a call leaves: its result, its writes, its log.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use weir_model::{Properties, Qos};

/// One call, done.
pub struct Invocation<T> {
    pub result: Result<T, Failure>,
    /// What the call set (`None` = forgot) in kv, by name; empty when it failed.
    pub writes: Vec<(Box<str>, Option<Bytes>)>,
    pub log: Vec<LogLine>,
    /// Lines beyond what the binding allows.
    pub log_dropped: u32,
    /// By the clock on the wall, waiting for an instance not included.
    pub took: Duration,
}

impl<T> Invocation<T> {
    /// An answer that nobody had to be asked for.
    pub fn of(answer: T) -> Invocation<T> {
        let (writes, log) = (Vec::new(), Vec::new());
        Invocation { result: Ok(answer), writes, log, log_dropped: 0, took: Duration::ZERO }
    }

    /// The same with another answer.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Invocation<U> {
        let Invocation { result, writes, log, log_dropped, took } = self;
        Invocation { result: result.map(change), writes, log, log_dropped, took }
    }
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The handler says that it never will be one.
    #[error("rejected: {0}")]
    Rejected(String),
    /// The handler asks for another attempt, after so long or after the binding's own backoff.
    #[error("to be tried again")]
    Retry(Option<Duration>),
    /// The handler broke off; its instance is gone.
    #[error("trapped ({}): {text}", kind.as_str())]
    Trapped { kind: Trap, text: String },
    /// More outputs, or more bytes of them, than the binding allows. 0 bytes = so many that they were not counted.
    #[error("{outputs} outputs of {bytes} bytes are more than the binding allows")]
    TooMuchOutput { outputs: usize, bytes: usize },
    /// An output that the contract does not know.
    #[error("bad output: {0}")]
    BadOutput(String),
    /// No instance became free in time; the handler was not called.
    #[error("no instance is free")]
    Busy,
}

impl Failure {
    /// The failure as a metric label.
    pub fn as_str(&self) -> &'static str {
        match self {
            Failure::Rejected(_) => "rejected",
            Failure::Retry(_) => "retry",
            Failure::Trapped { .. } => "trapped",
            Failure::TooMuchOutput { .. } => "too_much_output",
            Failure::BadOutput(_) => "bad_output",
            Failure::Busy => "busy",
        }
    }
}

/// How a handler broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trap {
    /// Its own doing: a panic, an assertion.
    Unreachable,
    /// It took longer than it may.
    Time,
    /// It wanted more memory than it may have, and could not go on without.
    Memory,
    /// It called itself too often.
    Stack,
    /// A division by zero, an access out of bounds, a misused import, an exit.
    Other,
}

impl Trap {
    pub const ALL: [Trap; 5] = [Trap::Unreachable, Trap::Time, Trap::Memory, Trap::Stack, Trap::Other];

    /// The kind as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Trap::Unreachable => "unreachable",
            Trap::Time => "time",
            Trap::Memory => "memory",
            Trap::Stack => "stack",
            Trap::Other => "other",
        }
    }
}

/// A message that a handler wants published. Its topic is not checked yet.
#[derive(Clone, PartialEq)]
pub struct Event {
    pub topic: Box<str>,
    pub payload: Bytes,
    pub qos: Qos,
    pub retain: bool,
    /// `None` when it has none.
    pub properties: Option<Box<Properties>>,
    /// Seconds after which it is not worth delivering; none = never.
    pub expiry_seconds: Option<u32>,
}

/// What a message contributes to a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Keyed {
    /// At most 1024 bytes.
    pub key: Box<str>,
    pub value: Bytes,
}

/// What becomes of a connection or of what a client wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// Not allowed, for this reason.
    Refuse(String),
}

/// What becomes of a message.
#[derive(Debug)]
pub enum Passage {
    Pass,
    /// This one instead.
    Change(Box<Changed>),
    /// It ends here, for this reason.
    Refuse(String),
}

/// A message that middleware has changed. Its topic is not checked yet.
pub struct Changed {
    pub topic: Box<str>,
    pub payload: Bytes,
    pub qos: Qos,
    pub retain: bool,
    pub content_type: Option<Box<str>>,
    pub user: Vec<(Box<str>, Box<str>)>,
}

/// A line for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub level: Level,
    pub text: String,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// Payloads and values are in no log, whoever prints what.
impl<T: fmt::Debug> fmt::Debug for Invocation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invocation")
            .field("result", &self.result)
            .field("writes", &self.writes.len())
            .field("log", &self.log.len())
            .field("log_dropped", &self.log_dropped)
            .field("took", &self.took)
            .finish()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("topic", &self.topic)
            .field("payload_bytes", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").field("key", &self.key).field("value_bytes", &self.value.len()).finish()
    }
}

impl fmt::Debug for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changed")
            .field("topic", &self.topic)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}
