//! Calls from node to node: wherever caller, callee and home are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_broker::calls::{
    Answer, CallOptions, CallSession, CancelMode, Delivery, Invocation, Invoke, Payload, Procedure,
    RegisterOptions, Why,
};
use weir_broker::{Config, calls};

use super::bed::{Bed, Node, PATIENCE, Setup};
use super::client::{CLEAN, Client};

/// Procedures enough that every node is the home of some.
const PROCEDURES: usize = 12;

/// A client that calls and is called.
struct Party {
    client: Client,
    calls: CallSession,
    requests: u64,
}

impl Party {
    async fn at(node: &Arc<Node>, id: &str) -> Party {
        let client = Client::connect(node, id, CLEAN).await;
        let session = client.opened.session.clone();
        let calls = CallSession::open(&node.broker, &session, client.connection, true, None).unwrap();
        Party { client, calls, requests: 0 }
    }

    /// The next that comes.
    async fn next(&self) -> Delivery {
        let next = async {
            loop {
                if let Some(delivery) = self.calls.take() {
                    return delivery;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, next).await;
        waited.unwrap_or_else(|_| panic!("nothing comes for {}", self.client.id))
    }

    async fn register(&mut self, procedure: Procedure, options: RegisterOptions) {
        self.requests += 1;
        self.calls.register(self.requests, procedure, options);
        let next = self.next().await;
        assert!(matches!(next, Delivery::Registered { .. }), "{next:?}");
    }

    fn call(&mut self, topic: &str, payload: &str) -> u64 {
        self.requests += 1;
        let options = CallOptions { receive_progress: true, ..CallOptions::default() };
        self.calls.call(self.requests, topic.into(), of(payload), options).unwrap();
        self.requests
    }

    async fn invoked(&self) -> Box<Invocation> {
        match self.next().await {
            Delivery::Invocation(invocation) => invocation,
            other => panic!("{} was not called: {other:?}", self.client.id),
        }
    }

    fn result(&self, invocation: &Invocation, text: &str) {
        self.calls.answer(invocation.number, Answer::Result(of(text))).unwrap();
    }
}

fn of(text: &str) -> Payload {
    Payload { args: Some(text.to_owned().into()), ..Payload::default() }
}

fn exact(topic: &str) -> Procedure {
    Procedure::Exact(topic.into())
}

fn done(request: u64, text: &str) -> Delivery {
    Delivery::Result { request, progress: false, payload: of(text) }
}

fn failed(request: u64, why: Why) -> Delivery {
    Delivery::Failed { request, why, payload: Payload::default() }
}

fn shared(concurrency: u32) -> RegisterOptions {
    RegisterOptions { invoke: Invoke::RoundRobin, concurrency, ..RegisterOptions::default() }
}

/// Three nodes, a caller on the first and callees on all.
async fn scene(options: RegisterOptions, procedure: Procedure) -> (Bed, Party, Vec<Party>) {
    let bed = Bed::of(&["a", "b", "c"]).await;
    let caller = Party::at(&bed.node("a"), "caller").await;
    let mut callees = Vec::new();
    for name in ["a", "b", "c"] {
        let mut callee = Party::at(&bed.node(name), &format!("callee-{name}")).await;
        callee.register(procedure.clone(), options).await;
        callees.push(callee);
    }
    (bed, caller, callees)
}

#[tokio::test]
async fn a_procedure_of_one_node_is_called_from_another_wherever_its_home_is() {
    let bed = Bed::of(&["a", "b", "c"]).await;
    let mut caller = Party::at(&bed.node("a"), "caller").await;
    let mut callee = Party::at(&bed.node("b"), "callee").await;
    for topic in (0..PROCEDURES).map(|number| format!("p/{number}")) {
        callee.register(exact(&topic), RegisterOptions::default()).await;
        let request = caller.call(&topic, "in");
        let invocation = callee.invoked().await;
        assert_eq!((&invocation.payload, invocation.receive_progress), (&of("in"), true));
        callee.calls.answer(invocation.number, Answer::Progress(of("half"))).unwrap();
        callee.result(&invocation, "out");
        let half = Delivery::Result { request, progress: true, payload: of("half") };
        assert_eq!((caller.next().await, caller.next().await), (half, done(request, "out")));
    }
    let request = caller.call("nobody/has/it", "in");
    assert_eq!(caller.next().await, failed(request, Why::NoSuchProcedure));
}

#[tokio::test]
async fn patterns_are_found_from_every_node() {
    let bed = Bed::of(&["a", "b", "c"]).await;
    let mut callee = Party::at(&bed.node("b"), "callee").await;
    callee.register(Procedure::Prefix("app/".into()), RegisterOptions::default()).await;
    for name in ["a", "b", "c"] {
        let mut caller = Party::at(&bed.node(name), &format!("caller-{name}")).await;
        for number in 0..PROCEDURES {
            let request = caller.call(&format!("app/{number}"), "in");
            let invocation = callee.invoked().await;
            assert_eq!(invocation.procedure.as_deref(), Some(&*format!("app/{number}")));
            callee.result(&invocation, "out");
            assert_eq!(caller.next().await, done(request, "out"));
        }
    }
}

#[tokio::test]
async fn a_large_call_and_a_large_result_cross_the_link() {
    let bed = Bed::of(&["a", "b"]).await;
    let (mut caller, mut callee) =
        (Party::at(&bed.node("a"), "caller").await, Party::at(&bed.node("b"), "callee").await);
    callee.register(exact("p"), RegisterOptions::default()).await;
    let large = "x".repeat(1 << 20);
    let request = caller.call("p", &large);
    let invocation = callee.invoked().await;
    assert!(invocation.payload == of(&large));
    callee.result(&invocation, &large);
    assert!(caller.next().await == done(request, &large));
}

#[tokio::test]
async fn canceling_reaches_the_callee_on_another_node() {
    let (_bed, mut caller, callees) = scene(shared(0), exact("p")).await;
    for mode in [CancelMode::Kill, CancelMode::KillNoWait, CancelMode::Skip] {
        let request = caller.call("p", "in");
        let (callee, invocation) = who_is_called(&callees).await;
        caller.calls.cancel(request, mode);
        if mode != CancelMode::Skip {
            let told = callee.next().await;
            assert!(matches!(told, Delivery::Interrupt { .. }), "{told:?}");
        }
        if mode != CancelMode::Kill {
            assert_eq!(caller.next().await, failed(request, Why::Canceled));
        }
        callee.result(&invocation, "late");
        if mode == CancelMode::Kill {
            assert_eq!(caller.next().await, done(request, "late"));
        }
    }
}

async fn who_is_called(callees: &[Party]) -> (&Party, Box<Invocation>) {
    loop {
        for callee in callees {
            if let Some(Delivery::Invocation(invocation)) = callee.calls.take() {
                return (callee, invocation);
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn callees_of_all_nodes_have_their_turns() {
    let (_bed, mut caller, callees) = scene(shared(0), exact("p")).await;
    let mut turns = BTreeMap::new();
    for _ in 0..30 {
        let request = caller.call("p", "in");
        let (callee, invocation) = who_is_called(&callees).await;
        *turns.entry(callee.client.id.clone()).or_insert(0) += 1;
        callee.result(&invocation, "out");
        assert_eq!(caller.next().await, done(request, "out"));
    }
    assert!(turns.len() == 3 && turns.values().all(|count| *count == 10), "{turns:?}");
}

#[tokio::test]
async fn limits_hold_in_the_whole_cluster_and_what_is_beyond_waits_in_order() {
    let (bed, mut caller, callees) = scene(shared(2), exact("p")).await;
    let mut other = Party::at(&bed.node("c"), "other").await;
    let (mut at_work, mut at_the_end) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        caller.call("p", "in");
        at_work.push(who_is_called(&callees).await);
    }
    let waiting: Vec<_> = (0..3).map(|number| other.call("p", &format!("more-{number}"))).collect();
    // Behind them, and refused by nobody: the home has them all.
    other.call("nobody/has/it", "in");
    assert!(matches!(other.next().await, Delivery::Failed { .. }));
    assert!(callees.iter().all(|callee| callee.calls.take().is_none()), "nobody is called beyond the limit");
    for ((number, request), (callee, invocation)) in waiting.into_iter().enumerate().zip(at_work) {
        callee.result(&invocation, "out");
        let (next, invocation) = who_is_called(&callees).await;
        assert_eq!(next.client.id, callee.client.id);
        assert_eq!(invocation.payload, of(&format!("more-{number}")));
        at_the_end.push((next, invocation, request));
    }
    for (callee, invocation, request) in at_the_end {
        callee.result(&invocation, "then");
        assert_eq!(other.next().await, done(request, "then"));
    }
}

#[tokio::test]
async fn the_death_of_a_node_ends_its_calls_and_the_others_go_on() {
    let (mut bed, mut caller, mut callees) = scene(shared(1), exact("p")).await;
    let mut others = Vec::new();
    for topic in (0..PROCEDURES).map(|number| format!("q/{number}")) {
        callees[1].register(exact(&topic), RegisterOptions::default()).await;
        others.push(topic);
    }
    let mut waiting = BTreeMap::new();
    let mut at_c = 0;
    for _ in 0..3 {
        let request = caller.call("p", "in");
        let (callee, invocation) = who_is_called(&callees).await;
        match callee.client.id == "callee-c" {
            true => at_c = request,
            false => drop(waiting.insert(request, (callee.client.id.clone(), invocation))),
        }
    }
    bed.kill("c").await;
    assert!(at_c > 0);
    // Those whose home was there have ended too.
    let mut ended = vec![caller.next().await];
    for topic in others {
        let request = caller.call(&topic, "in");
        let asked = loop {
            match callees[1].next().await {
                Delivery::Invocation(invocation) => break invocation,
                Delivery::Interrupt { .. } => {}
                other => panic!("{other:?}"),
            }
        };
        callees[1].result(&asked, "out");
        loop {
            match caller.next().await {
                answer if answer == done(request, "out") => break,
                other => ended.push(other),
            }
        }
    }
    assert!(ended.contains(&failed(at_c, Why::Canceled)), "{ended:?}");
    assert!(ended.iter().all(|answer| matches!(answer, Delivery::Failed { why: Why::Canceled, .. })));
}

#[tokio::test]
async fn every_call_is_answered_once_however_often_links_are_cut() {
    let bed = Bed::of(&["a", "b", "c"]).await;
    let mut caller = Party::at(&bed.node("a"), "caller").await;
    let mut callee = Party::at(&bed.node("b"), "callee").await;
    for number in 0..PROCEDURES {
        callee.register(exact(&format!("p/{number}")), RegisterOptions::default()).await;
    }
    let mut answers: BTreeMap<u64, u32> = BTreeMap::new();
    for round in 0..20 {
        for number in 0..PROCEDURES {
            answers.insert(caller.call(&format!("p/{number}"), "in"), 0);
        }
        let (one, other) = [("a", "b"), ("b", "c"), ("a", "c")][round % 3];
        bed.cut_link(one, other);
        for _ in 0..PROCEDURES {
            let invocation = callee.invoked().await;
            callee.result(&invocation, "out");
        }
        bed.introduce().await;
    }
    for _ in 0..answers.len() {
        match caller.next().await {
            Delivery::Result { request, .. } => *answers.entry(request).or_default() += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(answers.values().all(|count| *count == 1) && caller.calls.take().is_none());
}

#[tokio::test]
async fn a_node_that_joins_becomes_a_home_and_no_call_is_lost() {
    let mut bed = Bed::of(&["a", "b"]).await;
    let mut caller = Party::at(&bed.node("a"), "caller").await;
    let mut callee = Party::at(&bed.node("b"), "callee").await;
    let topics: Vec<_> = (0..PROCEDURES).map(|number| format!("p/{number}")).collect();
    for topic in &topics {
        callee.register(exact(topic), RegisterOptions::default()).await;
    }
    let newcomer = bed.add("c").await;
    bed.introduce().await;
    let mut at_c = Party::at(&newcomer, "at-c").await;
    for caller in [&mut caller, &mut at_c] {
        for topic in &topics {
            let request = caller.call(topic, "in");
            let invocation = callee.invoked().await;
            callee.result(&invocation, "out");
            assert_eq!(caller.next().await, done(request, "out"), "{topic}");
        }
    }
}

#[tokio::test]
async fn a_peer_that_one_side_took_for_dead_gets_all_registrations_again() {
    let bed = Bed::of(&["a", "b"]).await;
    let mut caller = Party::at(&bed.node("a"), "caller").await;
    let mut callee = Party::at(&bed.node("b"), "callee").await;
    let topics: Vec<_> = (0..PROCEDURES).map(|number| format!("p/{number}")).collect();
    for topic in &topics {
        callee.register(exact(topic), RegisterOptions::default()).await;
    }
    let under_way = caller.call(&topics[0], "in");
    callee.invoked().await;
    bed.node("a").links.update(&[]);
    assert_eq!(caller.next().await, failed(under_way, Why::Canceled));
    bed.introduce().await;
    for topic in &topics {
        let request = caller.call(topic, "in");
        let invocation = loop {
            if let Delivery::Invocation(invocation) = callee.next().await {
                break invocation;
            }
        };
        callee.result(&invocation, "out");
        assert_eq!(caller.next().await, done(request, "out"), "{topic}");
    }
}

#[tokio::test]
async fn a_full_link_refuses_calls_with_an_error() {
    let mut setup = Setup::default();
    setup.link.calls_bytes_max = 64 << 10;
    let calls = calls::Config { settle_ms: 100, ..calls::Config::default() };
    setup.broker = Config { calls, ..setup.broker };
    let bed = Bed::with(setup, &["a", "b"]).await;
    let mut caller = Party::at(&bed.node("a"), "caller").await;
    bed.introduce_a_stranger();
    let payload = "x".repeat(20 << 10);
    let mut refused = 0;
    // Some of these have the node that never answers for their home.
    for number in 0..PROCEDURES * 4 {
        caller.call(&format!("p/{number}"), &payload);
    }
    for _ in 0..PROCEDURES {
        match caller.next().await {
            Delivery::Failed { why: Why::Unavailable, .. } => refused += 1,
            Delivery::Failed { why: Why::NoSuchProcedure, .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 0);
}
