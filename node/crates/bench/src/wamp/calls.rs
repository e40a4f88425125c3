//! Calls: callers and callees in pairs, each pair with a procedure of its own.

use std::rc::Rc;

use super::Setup;
use super::events::joined;
use super::load::{self, Flow, Measured};
use super::router::Router;
use super::speech::{self, Protocol, Template};
use crate::Error;

/// Who calls how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calls {
    pub(super) pairs: usize,
    /// Calls of a caller that are under way.
    pub(super) window: u64,
}

/// Runs it against a router. `window` 1 measures round trips: the thread never naps then.
pub(super) fn run(setup: &Setup, router: &Router, calls: Calls) -> Result<Measured, Error> {
    load::run(setup.times(), &router.processes, calls.window == 1, async |tally| {
        let mut flows = Vec::new();
        for at in 0..calls.pairs {
            let procedure = format!("bench.echo.{at}");
            let mut callee = joined(router, Protocol::Wamp, at).await?;
            let (register, answer) = speech::register(&procedure);
            callee.say(Protocol::Wamp.kind(), &register).await?;
            callee.hear(answer).await?;
            let (ear, mouth) = callee.split();
            tally.spawn(load::answer(Rc::clone(tally), ear, mouth));
            let flow = Flow::new(calls.window, 1);
            let (ear, mouth) = joined(router, Protocol::Wamp, at).await?.split();
            let template = Template::call(&procedure, setup.size);
            tally.spawn(load::call(Rc::clone(tally), Rc::clone(&flow), ear, mouth, template));
            flows.push(flow);
        }
        Ok(flows)
    })
}
