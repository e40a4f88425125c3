//! `weir stream`: topics captured durably: made, published to, read and consumed in groups.

use clap::Subcommand;

use super::Failure;
use super::admin::{Ask, block_on};

mod consume;
mod group;
mod info;
mod manage;
mod publish;
mod read;
pub mod start;
mod told;

/// What `weir stream` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a stream. Making one that is there as asked does nothing.
    Create(Box<manage::Create>),
    /// Change what a stream captures and keeps; what is not said stays.
    Alter(Box<manage::Alter>),
    /// End a stream, with its records and groups.
    Delete(Box<manage::Delete>),
    /// List streams, in the order of their names.
    List(Box<manage::List>),
    /// Show what lies in a stream, how far its groups are, and where redis-cli finds its records.
    Info(Box<info::Info>),
    /// Publish with QoS 1 and print where it is kept.
    Publish(Box<publish::Publish>),
    /// Print records, to the end or on and on.
    Read(Box<read::Read>),
    /// Print records as a member of a group, and acknowledge them.
    Consume(Box<consume::Consume>),
    /// Make, show, move and end groups of consumers.
    #[command(subcommand)]
    Group(Box<group::Action>),
}

/// Asks the node, and prints what it says.
pub fn run(args: &Args) -> Result<(), Failure> {
    block_on(async {
        match &args.action {
            Action::Create(args) => manage::create(args).await,
            Action::Alter(args) => manage::alter(args).await,
            Action::Delete(args) => manage::delete(args).await,
            Action::List(args) => manage::list(args).await,
            Action::Info(args) => info::info(args).await,
            Action::Publish(args) => publish::publish(args).await,
            Action::Read(args) => read::read(args).await,
            Action::Consume(args) => consume::consume(args).await,
            Action::Group(action) => group::run(action).await,
        }
    })
}
