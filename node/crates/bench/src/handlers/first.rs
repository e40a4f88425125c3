//! How soon a program answers: uploaded, and compiled before.

use std::time::Instant;

use super::node::Node;
use super::{Figure, Setup, Unit};
use crate::Error;

/// What is wanted, in seconds: for each 100 KB of an upload, and after a restart.
const UPLOADED_MAX: f64 = 0.15;
const RESTARTED_MAX: f64 = 0.02;

pub(super) fn run(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let node = Node::start(setup, "embedded")?;
    let begun = Instant::now();
    node.upload(setup)?;
    node.call()?;
    let uploaded = begun.elapsed().as_secs_f64();
    let node = node.restart(setup, "embedded")?;
    // The connection is made, and the node looks at what it has.
    node.look()?;
    let begun = Instant::now();
    node.call()?;
    let restarted = begun.elapsed().as_secs_f64();
    let bytes = setup.handler.len() as f64;
    Ok(vec![
        Figure::new("program", Unit::Bytes, bytes),
        Figure::new("upload and first answer", Unit::Seconds, uploaded),
        Figure::new("of 100 KB", Unit::Seconds, uploaded * 100_000.0 / bytes).at_most(UPLOADED_MAX),
        Figure::new("first answer after a restart", Unit::Seconds, restarted).at_most(RESTARTED_MAX),
    ])
}
