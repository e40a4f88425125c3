//! Several states, and between each two of them a queue of messages that is delivered when the test says so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::calls::config::Config;
use crate::calls::mailbox::{Delivery, Endpoint};
use crate::calls::message::Said;
use crate::calls::state::State;
use crate::calls::view::View;
use crate::calls::{Answer, CallOptions, Payload, Procedure, RegisterOptions};

pub enum Letter {
    Said(Said),
    Settled(u64),
}

struct Node {
    state: State,
    settled: BTreeMap<u64, u64>,
}

/// The nodes that live, by their numbers.
pub struct World {
    nodes: BTreeMap<u64, Node>,
    wires: BTreeMap<(u64, u64), VecDeque<Letter>>,
}

pub fn payload(text: &str) -> Payload {
    Payload { args: Some(text.to_owned().into()), ..Payload::default() }
}

pub fn result(text: &str) -> Answer {
    Answer::Result(payload(text))
}

pub fn exact(topic: &str) -> Procedure {
    Procedure::Exact(topic.into())
}

impl World {
    pub fn new(nodes: u64, config: &Config) -> World {
        let view = |me| View::new(me, 1..=nodes);
        let node = |me| {
            let state = State::new("r".into(), config.clone(), view(me), 1);
            (me, Node { state, settled: BTreeMap::new() })
        };
        World { nodes: (1..=nodes).map(node).collect(), wires: BTreeMap::new() }
    }

    pub fn live(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// Does one thing at a node; nothing if it is dead.
    pub fn at<R>(&mut self, node: u64, act: impl FnOnce(&mut State) -> R) -> Option<R> {
        let state = &mut self.nodes.get_mut(&node)?.state;
        let done = act(state);
        loop {
            let others = state.run();
            if others.is_empty() {
                return Some(done);
            }
            for (to, said) in others {
                match state.view.has(to) {
                    true => self.wires.entry((node, to)).or_default().push_back(Letter::Said(said)),
                    false => state.unsent(to, said),
                }
            }
        }
    }

    pub fn join(&mut self, node: u64) -> Arc<Endpoint> {
        let endpoint = Endpoint::new(node * 1000, true, 1 << 20, || {});
        self.at(node, |state| state.join(endpoint.clone()));
        endpoint
    }

    pub fn register(&mut self, node: u64, endpoint: &Endpoint, topic: &str, options: RegisterOptions) {
        self.at(node, |state| state.register(endpoint.id(), 1, exact(topic), options));
    }

    pub fn call(&mut self, node: u64, endpoint: &Endpoint, request: u64, topic: &str) {
        let call = (Arc::from(topic), payload("args"));
        let options = CallOptions { receive_progress: true, ..CallOptions::default() };
        self.at(node, |state| state.call(endpoint.id(), request, call, options, (None, None), 0))
            .into_iter()
            .for_each(|called| called.expect("a number of its own"));
    }

    pub fn answer(&mut self, node: u64, endpoint: &Endpoint, invocation: u64, answer: Answer) -> bool {
        let answered = self.at(node, |state| state.answer_invocation(endpoint.id(), invocation, answer));
        answered.is_some_and(|answered| answered.is_ok())
    }

    /// Delivers the oldest message of one of the wires; false: there is none.
    pub fn deliver(&mut self, pick: usize) -> bool {
        let full: Vec<_> =
            self.wires.iter().filter(|(_, wire)| !wire.is_empty()).map(|(ends, _)| *ends).collect();
        if full.is_empty() {
            return false;
        }
        let (from, to) = full[pick % full.len()];
        match self.wires.get_mut(&(from, to)).and_then(VecDeque::pop_front) {
            Some(Letter::Said(said)) => {
                self.at(to, |state| state.hear(from, said));
            }
            Some(Letter::Settled(view)) => {
                if let Some(node) = self.nodes.get_mut(&to) {
                    node.settled.insert(from, view);
                }
                self.look_settled(to);
            }
            None => {}
        }
        true
    }

    pub fn deliver_all(&mut self) {
        while self.deliver(0) {}
    }

    /// A node dies; the others see it at once.
    pub fn kill(&mut self, dead: u64) {
        self.nodes.remove(&dead);
        self.wires.retain(|(from, to), _| *from != dead && *to != dead);
        let live = self.live();
        for me in &live {
            let view = View::new(*me, live.iter().copied());
            let digest = view.digest();
            self.at(*me, |state| {
                state.set_view(view);
                state.lose(dead);
                state.set_settled(live.len() == 1);
            });
            for other in live.iter().filter(|other| *other != me) {
                self.wires.entry((*me, *other)).or_default().push_back(Letter::Settled(digest));
            }
        }
    }

    fn look_settled(&mut self, node: u64) {
        let live = self.live();
        let Some(known) = self.nodes.get(&node) else { return };
        let digest = known.state.view.digest();
        let told = live.iter().filter(|other| **other != node);
        if told.clone().all(|other| known.settled.get(other) == Some(&digest)) {
            self.at(node, |state| state.set_settled(true));
        }
    }
}

pub fn take_all(endpoint: &Endpoint) -> Vec<Delivery> {
    std::iter::from_fn(|| endpoint.take()).collect()
}
