//! Events: pairs of a publisher and a subscriber, one publisher for many, and across protocols.

use std::rc::Rc;

use super::Setup;
use super::link::{Link, Place};
use super::load::{self, Flow, Measured, Tally};
use super::router::Router;
use super::speech::{Protocol, Template};
use crate::Error;

/// Who publishes what to whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Events {
    pub(super) from: Protocol,
    pub(super) to: Protocol,
    pub(super) publishers: usize,
    /// Of each publisher.
    pub(super) subscribers: usize,
    /// Events that a publisher may be ahead.
    pub(super) window: u64,
    pub(super) is_acknowledged: bool,
    /// Events a second of all publishers together; `None` = as fast as the window lets them.
    pub(super) rate: Option<f64>,
}

impl Events {
    /// Pairs, each with a topic of its own.
    pub(super) fn pairs(from: Protocol, to: Protocol) -> Events {
        let (publishers, subscribers, window) = (10, 1, 256);
        Events { from, to, publishers, subscribers, window, is_acknowledged: false, rate: None }
    }
}

/// Runs it against a router.
pub(super) fn run(setup: &Setup, router: &Router, events: Events) -> Result<Measured, Error> {
    load::run(setup.times(), &router.processes, events.rate.is_some(), async |tally| {
        let mut flows = Vec::new();
        for at in 0..events.publishers {
            flows.push(begin(setup, router, events, at, tally).await?);
        }
        Ok(flows)
    })
}

/// One publisher and its subscribers.
async fn begin(
    setup: &Setup,
    router: &Router,
    events: Events,
    at: usize,
    tally: &Rc<Tally>,
) -> Result<Rc<Flow>, Error> {
    let topic = format!("bench.{at}");
    // What was acknowledged has not arrived: each is waited for.
    let copies = if events.is_acknowledged { 1 } else { events.subscribers as u64 };
    let flow = Flow::new(events.window, copies);
    for subscriber in 0..events.subscribers {
        let name = at * events.subscribers + subscriber;
        let link = subscribed(router, events.to, &topic, name).await?;
        let ear = link.split();
        let (tally_too, flow_too) = (Rc::clone(tally), Rc::clone(&flow));
        tally.spawn(async move {
            // Dropped, the other side would say that it has closed.
            let (ear, _mouth) = ear;
            load::subscribe(tally_too, flow_too, ear, events.to, !events.is_acknowledged).await
        });
    }
    let (ear, mouth) = joined(router, events.from, 1_000_000 + at).await?.split();
    let template = Template::event(events.from, &topic, events.is_acknowledged, setup.size);
    tally.spawn(load::hear_answers(Rc::clone(&flow), ear));
    let (tally_too, flow_too) = (Rc::clone(tally), Rc::clone(&flow));
    match events.rate {
        None => tally.spawn(load::publish(tally_too, flow_too, mouth, template)),
        Some(rate) => {
            let each = rate / events.publishers as f64;
            tally.spawn(load::publish_paced(tally_too, flow_too, mouth, template, each));
        }
    }
    Ok(flow)
}

/// A client that has said hello.
pub(super) async fn joined(router: &Router, protocol: Protocol, name: usize) -> Result<Link, Error> {
    let place: &Place = match protocol {
        Protocol::Wamp => &router.wamp,
        Protocol::Mqtt => &router.mqtt,
    };
    let mut link = Link::connect(place, protocol).await?;
    let (hello, answer) = protocol.hello(router.realm, name);
    link.say(protocol.kind(), &hello).await?;
    link.hear(answer).await?;
    Ok(link)
}

/// A client that has subscribed.
pub(super) async fn subscribed(
    router: &Router,
    protocol: Protocol,
    topic: &str,
    name: usize,
) -> Result<Link, Error> {
    let mut link = joined(router, protocol, name).await?;
    let (subscribe, answer) = protocol.subscribe(topic);
    link.say(protocol.kind(), &subscribe).await?;
    link.hear(answer).await?;
    Ok(link)
}
