//! The `weir` command.

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: a second provider slipping into the build would make every TLS builder panic.
    weir_net::tls::install_ring();
    weir::cli::Cli::parse().run()
}
