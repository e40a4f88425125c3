//! `cargo xtask bench`: the table of `node/docs/performance.md`, measured here and now.

use anyhow::Result;

use crate::command::{cargo, command, must, target};

/// Builds what is shipped and lets it compare itself with the peers found on the PATH.
pub fn run(runs: u32) -> Result<()> {
    must(cargo().args(["build", "--release", "--package", "weir"]))?;
    let mut weir = command(target().join("release/weir"));
    weir.args(["bench", "compare", "--runs", &runs.to_string()]);
    must(&mut weir)
}
