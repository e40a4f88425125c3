//! Nodes come, tell facts, leave, die and come back.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::watch;
use weir_cluster::Resolve;

use crate::nodes::{Authority, Options, id};

#[test]
fn three_nodes_see_each_other_and_their_listeners() {
    let authority = Authority::new();
    let begun = Instant::now();
    let mut nodes = vec![authority.start("n1", Options::alone())];
    let mut options = Options::joining(&nodes[0]);
    options.listeners = [("mqtt".to_owned(), "10.0.0.2:1883".to_owned())].into();
    nodes.push(authority.start("n2", options));
    let third = Instant::now();
    nodes.push(authority.start("n3", Options::joining(&nodes[0])));
    for node in &nodes {
        node.wait_until(|members| members.count() == 3);
        let members = node.members();
        let listener = members.get(&id("n2")).and_then(|member| member.facts.listeners.get("mqtt"));
        assert_eq!(listener.map(String::as_str), Some("10.0.0.2:1883"));
    }
    println!("the third is seen by all after {:?}, all three after {:?}", third.elapsed(), begun.elapsed());
}

#[test]
fn a_fact_is_seen_by_all_and_can_be_taken_back() {
    let nodes = Authority::new().start_many(3);
    let load = |value: Option<&'static str>| {
        move |members: &weir_cluster::Members| {
            let member = members.get(&id("n1")).expect("a member");
            member.facts.others.get("load").map(String::as_str) == value
        }
    };
    nodes[0].run(nodes[0].cluster.set_fact("load", "17")).expect("set");
    println!("a fact is seen after {:?}", nodes[1].wait_until(load(Some("17"))));
    nodes[2].wait_until(load(Some("17")));
    nodes[0].run(nodes[0].cluster.remove_fact("load"));
    nodes[1].wait_until(load(None));
    nodes[2].wait_until(load(None));
}

#[test]
fn a_node_that_dies_without_a_word_is_noticed_and_its_return_too() {
    let authority = Authority::new();
    let mut nodes = authority.start_many(3);
    let before = nodes[0].members().get(&id("n3")).expect("a member").incarnation;
    let dead = nodes.pop().expect("three nodes");

    dead.kill();
    let killed = Instant::now();
    for node in &nodes {
        node.wait_until(|members| members.count() == 2);
        assert!(node.members().lost().contains(&id("n3")));
    }
    println!("a death is noticed by all after {:?}", killed.elapsed());

    let again = Instant::now();
    let _third = authority.start("n3", Options::joining(&nodes[0]));
    for node in &nodes {
        node.wait_until(|members| members.get(&id("n3")).is_some_and(|member| member.incarnation > before));
        assert!(node.members().lost().is_empty());
    }
    println!("a return is noticed by all after {:?}", again.elapsed());
}

#[test]
fn a_node_started_anew_at_once_is_one_member_with_the_newer_incarnation() {
    let authority = Authority::new();
    let mut nodes = authority.start_many(2);
    let before = nodes[0].members().get(&id("n2")).expect("a member").incarnation;
    nodes.pop().expect("two nodes").kill();
    let _second = authority.start("n2", Options::joining(&nodes[0]));
    nodes[0].wait_until(|members| members.get(&id("n2")).is_some_and(|member| member.incarnation > before));
    assert_eq!(nodes[0].members().count(), 2);
}

#[test]
fn a_node_that_leaves_is_gone_at_once_and_not_lost() {
    let nodes = Authority::new().start_many(3);
    std::thread::scope(|scope| {
        let begun = Instant::now();
        scope.spawn(|| nodes[2].run(nodes[2].cluster.leave()));
        for node in &nodes[..2] {
            node.wait_until(|members| members.count() == 2);
            assert!(node.members().lost().is_empty());
        }
        println!("a clean leave is noticed by all after {:?}", begun.elapsed());
    });
    assert_eq!(nodes[2].run(nodes[2].cluster.ended()), Ok(()));
}

#[test]
fn any_one_of_several_seeds_is_enough() {
    let authority = Authority::new();
    let first = authority.start("n1", Options::alone());
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut options = Options::joining(&first);
    options.config.join.insert(0, nobody.local_addr().expect("an address").to_string());
    let second = authority.start("n2", options);
    second.wait_until(|members| members.count() == 2);
    first.wait_until(|members| members.count() == 2);
}

#[test]
fn a_process_with_the_name_of_a_newer_one_learns_that_it_must_end() {
    let authority = Authority::new();
    let first = authority.start("n1", Options::alone());
    let old = authority.start("n2", Options::joining(&first));
    first.wait_until(|members| members.count() == 2);
    let new = authority.start("n2", Options::joining(&first));
    old.wait_until(weir_cluster::Members::superseded);
    first.wait_until(|members| {
        members.get(&id("n2")).map(|member| member.incarnation) == Some(new.cluster.local().incarnation)
    });
    assert!(!new.members().superseded());
}

/// Says one thing after another; the last for ever.
struct Script {
    answers: Mutex<VecDeque<Vec<SocketAddr>>>,
    asked: watch::Sender<u32>,
}

#[async_trait]
impl Resolve for Script {
    async fn resolve(&self, _: &str) -> io::Result<Vec<SocketAddr>> {
        self.asked.send_modify(|asked| *asked += 1);
        let mut answers = self.answers.lock().expect("answers");
        let answer = answers.front().cloned().unwrap_or_default();
        if answers.len() > 1 {
            answers.pop_front();
        }
        if answer.is_empty() { Err(io::Error::other("no such name")) } else { Ok(answer) }
    }
}

#[test]
fn a_name_is_resolved_again_until_somebody_is_there() {
    let authority = Authority::new();
    let first = authority.start("n1", Options::alone());
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let wrong = nobody.local_addr().expect("an address");
    let answers = [vec![], vec![wrong], vec![first.address()]].into();
    let (asked, mut looks) = watch::channel(0);
    let mut options = Options::alone();
    options.config.join = vec!["seeds.test:7946".to_owned()];
    options.config.join_interval_ms = 100;
    options.resolver = Arc::new(Script { answers: Mutex::new(answers), asked });
    let second = authority.start("n2", options);
    second.run(async { looks.wait_for(|looks| *looks >= 3).await.map(|_| ()) }).expect("asked again");
    second.wait_until(|members| members.count() == 2);
}
