//! Why a measurement could not be made.

use std::path::PathBuf;

use crate::client;

/// What stood in the way.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error("cannot read the CPU time or memory of process {pid}: {source}")]
    Process { pid: String, source: std::io::Error },
    #[error("process {pid} has no {field} to read")]
    ProcessField { pid: String, field: &'static str },
    #[error("idle connections are measured in the broker's memory: give its process id with --pid")]
    NeedsPid,
    #[error("a paced run keeps the time in the first 8 bytes of the payload, and --size is {size}")]
    PayloadTooSmall { size: usize },
    #[error("cannot start a thread of the generator: {source}")]
    Thread { source: std::io::Error },
    #[error("a thread of the generator died")]
    ThreadDied,
    #[error("there is no address to connect to: give one with --url")]
    NoAddress,
    #[error("{program} is not installed on this machine, and this is measured against it")]
    NotInstalled { program: &'static str },
    #[error("node {node} does not tell its metrics: {source}")]
    Metrics { node: String, source: std::io::Error },
    #[error("{what} did not happen within {seconds} s")]
    NotSeen { what: &'static str, seconds: u64 },
    #[error("the answer of {program} has no {field}")]
    NoFigure { program: &'static str, field: &'static str },
    #[error(transparent)]
    Admin(#[from] weir_admin::client::Error),
    #[error("{doing} was refused: {reason}")]
    Call { doing: &'static str, reason: String },
    #[error("{seen} of {records} records were seen")]
    NotAllConsumed { seen: u64, records: u64 },
    #[error("the NATS server at {address} does not do its part: {reason}")]
    Nats { address: std::net::SocketAddr, reason: String },
    #[error("the WAMP router at {address} does not do its part: {reason}")]
    Router { address: std::net::SocketAddr, reason: String },
    #[error("the run lost too much to be a result: {figures}")]
    NotAResult { figures: String },
    #[error("none of the brokers asked for was found; install one of them or name others with --peers")]
    NoPeers,
    #[error("cannot read the handler {path}: {source}; `cargo xtask handlers` builds it")]
    Handler { path: PathBuf, source: std::io::Error },
    #[error("cannot prepare {path}: {source}")]
    Files { path: PathBuf, source: std::io::Error },
    #[error("cannot start {program}: {source}")]
    Start { program: PathBuf, source: std::io::Error },
    #[error("no port of loopback is free: {source}")]
    NoPort { source: std::io::Error },
    #[error("{program} failed; its last words: {output}")]
    Failed { program: PathBuf, output: String },
    #[error("{name} did not take connections within {seconds} s; its last words: {output}")]
    NotUp { name: String, seconds: u64, output: String },
}
