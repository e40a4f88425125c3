//! How soon a program answers: uploaded, and compiled before.

use std::time::Instant;

use super::node::Node;
use super::{Figure, Setup, Unit};
use crate::Error;

/// What is wanted, in seconds: of an upload of 100 KB, and after a restart.
const UPLOADED_MAX: f64 = 0.15;
const RESTARTED_MAX: f64 = 0.02;

pub(super) fn run(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let node = Node::start(setup, "embedded")?;
    let begun = Instant::now();
    node.upload(&setup.common)?;
    node.call()?;
    let uploaded = begun.elapsed().as_secs_f64();
    let node = node.restart(setup, "embedded")?;
    // The connection is made, and the node looks at what it has.
    node.look()?;
    let begun = Instant::now();
    node.call()?;
    let restarted = begun.elapsed().as_secs_f64();
    Ok(vec![
        Figure::new("program", Unit::Bytes, setup.common.len() as f64),
        Figure::new("upload and first answer", Unit::Seconds, uploaded).at_most(UPLOADED_MAX),
        Figure::new("first answer after a restart", Unit::Seconds, restarted).at_most(RESTARTED_MAX),
    ])
}
