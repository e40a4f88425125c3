//! `weir completion`: what makes a shell complete this command.

use clap::CommandFactory as _;
use clap::ValueEnum;
use clap_complete::{Shell, generate};

use super::admin::say;
use super::{Cli, Failure};

/// What `weir completion` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    shell: Which,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script.
pub fn run(args: &Args) -> Result<(), Failure> {
    let shell = match args.shell {
        Which::Bash => Shell::Bash,
        Which::Zsh => Shell::Zsh,
        Which::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "weir", &mut script);
    say(&String::from_utf8_lossy(&script))
}
