//! `weir handler`: programs that turn messages into events: written, tried, uploaded, bound and watched.

use clap::Subcommand;

use super::Failure;
use super::admin::{Ask, block_on};

mod binding;
mod deploy;
mod fresh;
mod local;
mod logs;
mod manage;
mod middleware;
mod secret;

/// What `weir handler` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write a crate with a handler that builds and passes its test.
    New(fresh::New),
    /// Run a handler on messages from a file, on this machine, under a server's limits.
    Test(Box<local::Test>),
    /// Upload a handler, and bind it if topics, a stream or middleware's hooks are said.
    Deploy(Box<deploy::Deploy>),
    /// List handlers, their versions and aliases.
    List(Box<manage::List>),
    /// Show a handler with its versions and aliases.
    Show(Box<manage::Show>),
    /// Point an alias at a version.
    Promote(Box<manage::Promote>),
    /// Set an alias back to what it was before.
    Rollback(Box<manage::Rollback>),
    /// End a handler that nothing is bound to, or one version of it.
    Delete(Box<manage::Delete>),
    /// Tie a handler to topics, to a stream, or as middleware to connections and messages.
    Bind(Box<binding::Bind>),
    /// List bindings.
    Bindings(Box<binding::List>),
    /// Show a binding and what has become of its messages.
    Binding(Box<binding::Show>),
    /// End a binding.
    Unbind(Box<binding::Named>),
    /// Have nothing handled until it is resumed.
    Pause(Box<binding::Named>),
    /// Go on with a paused binding.
    Resume(Box<binding::Named>),
    /// Have records of a binding's stream handled again, or leave some out.
    Replay(Box<binding::Replay>),
    /// Print what a binding's handler writes.
    Logs(Box<logs::Logs>),
    /// Set, list and delete what handlers are given and nobody can read back.
    #[command(subcommand)]
    Secret(Box<secret::Action>),
}

/// Asks the node, and prints what it says.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.action {
        Action::New(args) => return fresh::new(args),
        Action::Test(args) => return local::test(args),
        _ => {}
    }
    block_on(async {
        match &args.action {
            Action::Deploy(args) => deploy::deploy(args).await,
            Action::List(args) => manage::list(args).await,
            Action::Show(args) => manage::show(args).await,
            Action::Promote(args) => manage::promote(args).await,
            Action::Rollback(args) => manage::rollback(args).await,
            Action::Delete(args) => manage::delete(args).await,
            Action::Bind(args) => binding::bind(args).await,
            Action::Bindings(args) => binding::list(args).await,
            Action::Binding(args) => binding::show(args).await,
            Action::Unbind(args) => binding::unbind(args).await,
            Action::Pause(args) => binding::pause(args, true).await,
            Action::Resume(args) => binding::pause(args, false).await,
            Action::Replay(args) => binding::replay(args).await,
            Action::Logs(args) => logs::logs(args).await,
            Action::Secret(action) => secret::run(action).await,
            Action::New(_) | Action::Test(_) => Ok(()),
        }
    })
}
