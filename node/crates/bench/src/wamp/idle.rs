//! What an idle session with one subscription of its own costs in memory.

use super::events::subscribed;
use super::link::Link;
use super::router::Router;
use super::speech::Protocol;
use crate::Error;
use crate::{node, scenario};

/// Sessions made first and not counted, so that what a router sets up once is not counted either.
const FIRST: usize = 100;

/// Bytes of resident memory for each session.
pub(super) fn run(router: &Router, sessions: usize) -> Result<f64, Error> {
    node::runtime()?.block_on(async {
        let first = open(router, 0..FIRST).await?;
        let before = scenario::at_rest(&router.processes).await?;
        let rest = open(router, FIRST..FIRST + sessions).await?;
        let after = scenario::at_rest(&router.processes).await?;
        drop((first, rest));
        Ok(after.saturating_sub(before) as f64 / sessions as f64)
    })
}

async fn open(router: &Router, names: std::ops::Range<usize>) -> Result<Vec<Link>, Error> {
    let mut links = Vec::with_capacity(names.len());
    for name in names {
        links.push(subscribed(router, Protocol::Wamp, &format!("bench.idle.{name}"), name).await?);
    }
    Ok(links)
}
