//! Where a published message comes from: the command line, a file, or the lines of stdin.

use std::path::PathBuf;

use anyhow::Context;

use super::Failure;

/// One of these, and only one.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Payload {
    /// The message.
    #[arg(long, short = 'm', value_name = "TEXT")]
    message: Option<String>,
    /// An empty message; with --retain it clears the topic.
    #[arg(long, short = 'n')]
    empty: bool,
    /// The content of this file.
    #[arg(long, short = 'f')]
    file: Option<PathBuf>,
    /// Each line of stdin is a message.
    #[arg(long, short = 'l')]
    stdin: bool,
}

impl Payload {
    /// The one message, or `None` when the lines of stdin are many.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self) -> Result<Option<Vec<u8>>, Failure> {
        if let Some(path) = &self.file {
            let read = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            return Ok(Some(read));
        }
        Ok((!self.stdin).then(|| self.message.clone().unwrap_or_default().into_bytes()))
    }
}
