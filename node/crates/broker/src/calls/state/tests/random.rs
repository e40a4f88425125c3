//! Any order of events, on any number of nodes, and some of them die: every call gets one final answer, and nobody more
//! calls at a time than it takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::world::{World, payload, result};
use crate::calls::mailbox::{Delivery, Endpoint};
use crate::calls::{Answer, CancelMode, Config, Invoke, RegisterOptions};

const TOPICS: [&str; 3] = ["p", "q/r", "s"];

#[derive(Debug, Clone)]
enum Step {
    Join(u64),
    Register { session: usize, topic: usize, limit: u32 },
    Call { session: usize, topic: usize },
    Answer { session: usize, last: bool },
    Cancel { session: usize, mode: CancelMode },
    Leave(usize),
    Deliver(usize),
    Kill(u64),
}

fn step(nodes: u64) -> impl Strategy<Value = Step> {
    let modes = [CancelMode::Skip, CancelMode::Kill, CancelMode::KillNoWait];
    let session = 0..12_usize;
    prop_oneof![
        2 => (1..=nodes).prop_map(Step::Join),
        3 => (session.clone(), 0..3_usize, 0..3_u32).prop_map(|(session, topic, limit)| Step::Register { session, topic, limit }),
        8 => (session.clone(), 0..3_usize).prop_map(|(session, topic)| Step::Call { session, topic }),
        8 => (session.clone(), any::<bool>()).prop_map(|(session, last)| Step::Answer { session, last }),
        2 => (session.clone(), prop::sample::select(modes.to_vec())).prop_map(|(session, mode)| Step::Cancel { session, mode }),
        1 => session.prop_map(Step::Leave),
        20 => (0..100_usize).prop_map(Step::Deliver),
        1 => (1..=nodes).prop_map(Step::Kill),
    ]
}

struct Client {
    node: u64,
    endpoint: Arc<Endpoint>,
    live: bool,
    /// Final answers of each of its calls.
    calls: BTreeMap<u64, u32>,
    /// Invocations not answered, with their registrations.
    work: BTreeMap<u64, u64>,
    limits: BTreeMap<u64, u32>,
}

struct Play {
    world: World,
    clients: Vec<Client>,
    requests: u64,
}

impl Play {
    fn client(&mut self, session: usize) -> Option<usize> {
        let live: Vec<_> = (0..self.clients.len()).filter(|at| self.clients[*at].live).collect();
        (!live.is_empty()).then(|| live[session % live.len()])
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Join(node) if self.clients.len() < 12 && self.world.live().contains(&node) => {
                let endpoint = self.world.join(node);
                let (calls, work, limits) = Default::default();
                self.clients.push(Client { node, endpoint, live: true, calls, work, limits });
            }
            Step::Register { session, topic, limit } => self.register(session, topic, limit),
            Step::Call { session, topic } => {
                let Some(at) = self.client(session) else { return };
                self.requests += 1;
                let (node, endpoint) = (self.clients[at].node, self.clients[at].endpoint.clone());
                self.clients[at].calls.insert(self.requests, 0);
                self.world.call(node, &endpoint, self.requests, TOPICS[topic]);
            }
            Step::Answer { session, last } => self.answer(session, last),
            Step::Cancel { session, mode } => {
                let Some(at) = self.client(session) else { return };
                let client = &self.clients[at];
                let Some(request) = client.calls.keys().next_back().copied() else { return };
                let (node, endpoint) = (client.node, client.endpoint.id());
                self.world.at(node, |state| state.cancel(endpoint, request, mode));
            }
            Step::Leave(session) => {
                let Some(at) = self.client(session) else { return };
                self.clients[at].live = false;
                let (node, endpoint) = (self.clients[at].node, self.clients[at].endpoint.id());
                self.world.at(node, |state| state.leave(endpoint));
            }
            Step::Deliver(pick) => drop(self.world.deliver(pick)),
            Step::Kill(node) if self.world.live().len() > 1 && self.world.live().contains(&node) => {
                self.world.kill(node);
                self.clients
                    .iter_mut()
                    .filter(|client| client.node == node)
                    .for_each(|client| client.live = false);
            }
            Step::Join(_) | Step::Kill(_) => {}
        }
        self.read();
    }

    fn register(&mut self, session: usize, topic: usize, limit: u32) {
        let Some(at) = self.client(session) else { return };
        let (node, endpoint) = (self.clients[at].node, self.clients[at].endpoint.clone());
        let id = super::world::exact(TOPICS[topic]).id("r");
        self.clients[at].limits.entry(id).or_insert(limit);
        let options =
            RegisterOptions { invoke: Invoke::RoundRobin, concurrency: limit, ..RegisterOptions::default() };
        self.world.register(node, &endpoint, TOPICS[topic], options);
    }

    fn answer(&mut self, session: usize, last: bool) {
        let Some(at) = self.client(session) else { return };
        let client = &mut self.clients[at];
        let Some(invocation) = client.work.keys().next().copied() else { return };
        if last {
            client.work.remove(&invocation);
        }
        let (node, endpoint) = (client.node, client.endpoint.clone());
        let answer = if last { result("ok") } else { Answer::Progress(payload("part")) };
        self.world.answer(node, &endpoint, invocation, answer);
    }

    /// Every session reads what has come for it.
    fn read(&mut self) {
        for client in &mut self.clients {
            while let Some(delivery) = client.endpoint.take() {
                match delivery {
                    Delivery::Invocation(invocation) => {
                        client.work.insert(invocation.number, invocation.registration);
                        let limit = client.limits.get(&invocation.registration).copied().unwrap_or(0);
                        let busy = client.work.values().filter(|id| **id == invocation.registration).count();
                        assert!(limit == 0 || busy <= limit as usize, "{busy} calls where {limit} may be");
                    }
                    Delivery::Result { request, progress: false, .. } | Delivery::Failed { request, .. } => {
                        let answers = client.calls.entry(request).or_default();
                        *answers += 1;
                        assert_eq!(*answers, 1, "a second final answer");
                    }
                    Delivery::Result { request, .. } => {
                        assert_eq!(client.calls.get(&request), Some(&0), "progress behind the end");
                    }
                    Delivery::NotRegistered { .. } | Delivery::Revoked { .. } => {}
                    _ => {}
                }
            }
        }
    }

    /// All messages arrive, and all callees answer what they have.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            self.world.deliver_all();
            self.read();
            let works = |client: &Client| client.live && !client.work.is_empty();
            if !self.clients.iter().any(works) {
                return;
            }
            (0..self.clients.len()).for_each(|session| self.answer(session, true));
        }
        panic!("calls go round for ever");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_call_gets_one_final_answer_and_no_limit_is_passed(
        nodes in 1..=4_u64,
        steps in prop::collection::vec(step(4), 1..200),
    ) {
        let mut play = Play { world: World::new(nodes, &Config::default()), clients: Vec::new(), requests: 0 };
        steps.into_iter().for_each(|step| play.take(step));
        play.finish();
        for client in play.clients.iter().filter(|client| client.live) {
            for (request, answers) in &client.calls {
                prop_assert_eq!(*answers, 1, "call {} of a session at node {}", request, client.node);
            }
        }
    }
}
