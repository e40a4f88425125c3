//! The `weir` command: what can be said to it, and what its exit codes mean.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod account;
mod admin;
mod bench;
mod client;
mod cluster;
mod completion;
mod config;
mod context;
mod dev_cluster;
mod doctor;
mod drain;
mod explain;
mod flags;
mod handler;
mod node;
mod payload;
mod publish;
mod serve;
mod session;
mod store;
mod stream;
mod subscribe;
mod token;
mod top;
mod topic;
mod wamp;
mod watch;

/// A real-time broker: MQTT over TCP, TLS, WebSocket and QUIC, durable, in one program.
///
/// Without a command it serves, with the same flags as `weir serve`.
///
/// Exit codes: 0 done, 1 something failed, 2 the command or the configuration is wrong, 3 nobody could be
/// reached, 4 the broker said no, 5 waited too long, 6 there is no such thing.
#[derive(Debug, Parser)]
#[command(name = "weir", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node (also what `weir` alone does).
    Serve(Box<serve::Args>),
    /// Publish to any MQTT broker.
    #[command(name = "pub")]
    Publish(Box<publish::Args>),
    /// Subscribe at any MQTT broker and print what arrives.
    #[command(name = "sub")]
    Subscribe(Box<subscribe::Args>),
    /// Call, register, publish and subscribe at any WAMP router.
    Wamp(Box<wamp::Args>),
    /// Measure any MQTT broker, or this machine's store.
    Bench(Box<bench::Args>),
    /// Say who may connect with a password.
    Account(Box<account::Args>),
    /// See who is connected or away, and end that.
    Session(Box<session::Args>),
    /// See what is retained and who subscribes.
    Topic(Box<topic::Args>),
    /// Make, read and consume streams: topics captured durably.
    Stream(Box<stream::Args>),
    /// Write, try, upload and bind handlers: programs that turn messages into events.
    Handler(Box<handler::Args>),
    /// See the nodes, and drain one.
    Node(Box<node::Args>),
    /// Say who may administer.
    Token(Box<token::Args>),
    /// See, check and reload the configuration of a running node.
    Config(Box<config::Args>),
    /// Print what happens at a node, as it happens.
    Watch(Box<watch::Args>),
    /// Show rates, latencies and slow subscribers of a node, live.
    Top(Box<top::Args>),
    /// Name nodes and credentials for the commands that administer.
    Context(Box<context::Args>),
    /// Print what makes a shell complete this command.
    Completion(completion::Args),
    /// Make the certificates by which the nodes of a cluster know each other.
    Cluster(cluster::Args),
    /// Copy a store into another, or count what it holds, while no node works on it.
    Store(store::Args),
    /// Have a node of this machine send its clients to other nodes, and end.
    Drain(drain::Args),
    /// Run several nodes and the Redis they share on this machine, until ctrl-C.
    DevCluster(dev_cluster::Args),
    /// Ask a running node who would get what, by which rule.
    Explain(Box<explain::Args>),
    /// See whether this machine and this configuration are fit to serve.
    Doctor(Box<doctor::Args>),
}

/// Why a command ended without doing its work. The exit code is part of the contract with scripts.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{}", in_one_line(.0))]
    Failed(anyhow::Error),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    TimedOut(String),
    #[error("{0}")]
    NotFound(String),
    /// Everything that is to be said has been printed.
    #[error("")]
    Said,
}

impl Failure {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Said => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Refused(_) => 4,
            Self::TimedOut(_) => 5,
            Self::NotFound(_) => 6,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<crate::config::Error> for Failure {
    fn from(error: crate::config::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

impl Cli {
    /// Does what was said; failures go to stderr in one line.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            None => serve::run(&self.serve),
            Some(Command::Serve(args)) => serve::run(&args),
            Some(Command::Publish(args)) => publish::run(&args),
            Some(Command::Subscribe(args)) => subscribe::run(&args),
            Some(Command::Wamp(args)) => wamp::run(&args),
            Some(Command::Bench(args)) => bench::run(*args),
            Some(Command::Account(args)) => account::run(&args),
            Some(Command::Session(args)) => session::run(&args),
            Some(Command::Topic(args)) => topic::run(&args),
            Some(Command::Stream(args)) => stream::run(&args),
            Some(Command::Handler(args)) => handler::run(&args),
            Some(Command::Node(args)) => node::run(&args),
            Some(Command::Token(args)) => token::run(&args),
            Some(Command::Config(args)) => config::run(&args),
            Some(Command::Watch(args)) => watch::run(&args),
            Some(Command::Top(args)) => top::run(&args),
            Some(Command::Context(args)) => context::run(&args),
            Some(Command::Completion(args)) => completion::run(&args),
            Some(Command::Cluster(args)) => cluster::run(&args),
            Some(Command::Store(args)) => store::run(&args),
            Some(Command::Drain(args)) => drain::run(&args),
            Some(Command::DevCluster(args)) => dev_cluster::run(&args),
            Some(Command::Doctor(args)) => doctor::run(&args),
            Some(Command::Explain(args)) => explain::run(&args),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                if !matches!(failure, Failure::Said) {
                    eprintln!("weir: {failure}");
                }
                ExitCode::from(failure.exit_code())
            }
        }
    }
}

/// What was tried and each cause once: some errors already say their cause themselves.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_is_already_said_is_not_said_twice() {
        let error = anyhow::anyhow!("in use").context("cannot listen: in use").context("no clients");
        assert_eq!(Failure::Failed(error).to_string(), "no clients: cannot listen: in use");
    }
}
