//! Nodes that share a store.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use weir_testkit::{Cluster, Redis, eventually};

use crate::client::{Client, LOCK};

const PROGRAM: &str = env!("CARGO_BIN_EXE_weir");

fn sum(cluster: &Cluster, metric: &str) -> f64 {
    cluster.running().next().map_or(0.0, |node| node.metrics().sum(metric))
}

#[test]
fn a_lock_goes_from_node_to_node_in_the_order_in_which_it_was_asked_for() {
    let redis = Redis::start();
    let cluster = Cluster::of(PROGRAM, &redis.url()).start();
    let address = |n: usize| cluster.node(n % 3).address("mqtt");
    let mut clients: Vec<Client> = (0..6).map(|n| Client::clean(address(n), &format!("c{n}"))).collect();
    let mut watcher = Client::clean(address(2), "watcher");
    watcher.subscribe("lock");
    let mut token = clients[0].publish("lock", "c0", LOCK).token().to_owned();
    let mut asked = vec![0];
    for (n, client) in clients.iter_mut().enumerate().skip(1) {
        asked.push(client.send("lock", &format!("c{n}"), LOCK));
        eventually("it waits", || (sum(&cluster, "weir_broker_waiters") == n as f64).then_some(()));
    }
    for n in 1..6 {
        if n % 2 == 0 {
            assert!(clients[n - 1].publish("lock", "", &[]).is_accepted());
        } else {
            let holder = std::mem::replace(&mut clients[n - 1], Client::clean(address(n), "nobody"));
            holder.disconnect();
        }
        let granted = clients[n].answer_to(asked[n]);
        assert!(granted.token() > &*token, "{granted:?} after {token}");
        token = granted.token().to_owned();
    }
    let mut last = String::new();
    while last != "c5" {
        last = watcher.event().payload;
    }
}

/// Clients that take the lock again and again, each at one node, or at another when that is gone.
struct Contenders {
    stop: Arc<AtomicBool>,
    /// Who holds it with which token.
    granted: Arc<Mutex<BTreeMap<String, String>>>,
    turns: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Contenders {
    fn start(addresses: &[SocketAddr], count: usize) -> Contenders {
        let (stop, granted, turns) = (Arc::default(), Arc::default(), Arc::default());
        let mut contenders = Contenders { stop, granted, turns, threads: Vec::new() };
        for n in 0..count {
            let (stop, granted, turns) =
                (contenders.stop.clone(), contenders.granted.clone(), contenders.turns.clone());
            let addresses = addresses.to_vec();
            let contend = move || {
                let mut at = n;
                while !stop.load(Ordering::Relaxed) {
                    let name = format!("c{n}");
                    if contend(addresses[at % addresses.len()], &name, &stop, &granted, &turns).is_none() {
                        at += 1;
                    }
                }
            };
            contenders.threads.push(std::thread::spawn(contend));
        }
        contenders
    }

    fn wait_for(&self, more: usize) {
        let wanted = self.turns.load(Ordering::Relaxed) + more;
        eventually("turns", || (self.turns.load(Ordering::Relaxed) >= wanted).then_some(()));
    }

    fn stop(self) -> BTreeMap<String, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no contender panics"));
        std::mem::take(&mut *self.granted.lock().expect("no contender panics"))
    }
}

/// Takes the lock, notes its token and gives it back. `None` = the node is gone.
fn contend(
    address: SocketAddr,
    name: &str,
    stop: &AtomicBool,
    granted: &Mutex<BTreeMap<String, String>>,
    turns: &AtomicUsize,
) -> Option<()> {
    let mut client = Client::connect(address, name, false)?;
    let packet_id = client.try_ask_for("lock", name)?;
    let answer = loop {
        if let Some(answer) = client.try_answer_to(packet_id, Duration::from_millis(100)).ok()? {
            break answer;
        }
        if stop.load(Ordering::Relaxed) {
            return None;
        }
    };
    if !answer.is_accepted() {
        return None;
    }
    let before =
        granted.lock().expect("no contender panics").insert(answer.token().to_owned(), name.to_owned());
    assert_eq!(before, None, "two hold the lock under one token");
    turns.fetch_add(1, Ordering::Relaxed);
    drop(client);
    Some(())
}

#[test]
fn twenty_contend_for_a_lock_while_the_nodes_of_its_holders_die() {
    let redis = Redis::start();
    let mut cluster = Cluster::of(PROGRAM, &redis.url()).start();
    let addresses: Vec<SocketAddr> = (0..3).map(|n| cluster.node(n).address("mqtt")).collect();
    let contenders = Contenders::start(&addresses, 20);
    contenders.wait_for(20);
    // Whoever holds it at this node holds it no more.
    let mut holder = Client::clean(addresses[0], "holder");
    let held = holder.publish("lock", "holder", LOCK);
    assert!(held.is_accepted());
    cluster.kill9(0);
    contenders.wait_for(20);
    cluster.restart(0);
    contenders.wait_for(20);
    let granted = contenders.stop();
    let after = granted.range(held.token().to_owned()..).count();
    assert!(after >= 40 && !granted.contains_key(held.token()), "{after} turns after the holder's");
    eventually("nothing is left", || (sum(&cluster, "weir_broker_guards") == 0.0).then_some(()));
}

#[test]
fn a_kept_session_keeps_its_place_when_its_node_dies_and_it_comes_back_elsewhere() {
    let redis = Redis::start();
    let mut cluster = Cluster::of(PROGRAM, &redis.url()).start();
    let mut holder = Client::clean(cluster.node(1).address("mqtt"), "holder");
    assert!(holder.publish("lock", "holder", LOCK).is_accepted());
    let mut kept = Client::kept(cluster.node(0).address("mqtt"), "kept");
    kept.send_as(3, false, ("lock", "kept"), LOCK);
    eventually("it waits", || (sum(&cluster, "weir_broker_waiters") == 1.0).then_some(()));
    let mut behind = Client::clean(cluster.node(2).address("mqtt"), "behind");
    let last = behind.send("lock", "behind", LOCK);
    assert_eq!(behind.try_answer_to(last, Duration::from_millis(500)), Ok(None), "it waits");
    eventually("both wait", || (sum(&cluster, "weir_broker_waiters") == 2.0).then_some(()));
    cluster.kill9(0);
    let mut kept = eventually("the session is taken elsewhere", || {
        Client::connect(cluster.node(2).address("mqtt"), "kept", true)
    });
    assert!(kept.session_present);
    kept.send_as(3, true, ("lock", "kept"), LOCK);
    assert!(kept.has_no_answer());
    holder.disconnect();
    let granted = kept.answer_to(3);
    assert!(granted.is_accepted() && behind.has_no_answer());
    assert!(kept.publish("lock", "", &[]).is_accepted());
    assert!(behind.answer_to(last).token() > granted.token());
}
