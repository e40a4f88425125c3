//! How fast links are: prints, promises nothing. `cargo nextest run -p weir-cluster --release
//! --run-ignored only --no-capture speed`.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use weir_cluster::link::Config;
use weir_cluster::{Barrier, Full, Outgoing, Run};
use weir_model::{Filter, Qos};

use crate::testbed::{Authority, Node, REALM, hash, introduce, pair, until};

const RUN: u32 = 128;
const LASTS: Duration = Duration::from_secs(3);

/// CPU time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn run_of(topic: &str, qos: Qos, payload: &[u8], messages: u32, out: &mut Vec<u8>) {
    out.clear();
    let mut run = Run::default();
    let message = Outgoing {
        realm: REALM,
        topic,
        payload,
        qos,
        retain: false,
        expiry_ms_left: None,
        properties: None,
        position: None,
        numbered: &[],
        share: None,
        only_named: false,
    };
    (0..messages).for_each(|_| run.push(out, &message));
}

async fn measure(a: &Node, b: &Node, qos: Qos, messages: u32) {
    b.inbox.counts_only.store(true, Ordering::Relaxed);
    let link = a.link_to(b);
    let topics = ["one", "two/three", "four", "five/six/seven"];
    let (payload, mut out) = ([7; 64], Vec::new());
    let before = b.link_to(a).counts().received;
    let (begun, cpu_before) = (Instant::now(), cpu());
    while begun.elapsed() < LASTS {
        for topic in topics {
            run_of(topic, qos, &payload, messages, &mut out);
            if qos == Qos::AtMostOnce {
                while link.presses(hash(topic)) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                link.push_frames(hash(topic), &out, messages);
            } else {
                while let Err(Full) = link.push_sure(hash(topic), &out, messages) {
                    link.room(hash(topic)).await;
                }
            }
        }
        tokio::task::yield_now().await;
    }
    until("all has arrived", || link.counts().waiting() == 0).await;
    let (took, used) = (begun.elapsed(), cpu() - cpu_before);
    let arrived = b.link_to(a).counts().received - before;
    println!(
        "{qos:?}, 64 bytes, runs of {messages}: {:.2} M/s, {:.0} ns of CPU a message for both ends, {} dropped",
        arrived as f64 / took.as_secs_f64() / 1e6,
        used.as_nanos() as f64 / arrived as f64,
        link.counts().dropped,
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn speed_of_records() {
    let config = Config { ping_interval_ms: 10, ..Config::default() };
    let (a, b) = pair(config).await;
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        for messages in [RUN, 1] {
            measure(&a, &b, qos, messages).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn speed_of_a_million_filters_and_of_barriers() {
    let authority = Authority::new();
    let (a, b) = (authority.node("a"), authority.node("b"));
    let realm = REALM.into();
    let adding = Instant::now();
    for n in 0..1_000_000 {
        a.links.interest().add(&realm, &Filter::new(&format!("devices/{n}/state")).unwrap());
    }
    println!("a million filters wanted in {:?}", adding.elapsed());
    let (begun, cpu_before) = (Instant::now(), cpu());
    introduce(&[&a, &b]).await;
    until("all are known", || b.inbox.wanted_by("a") == 1_000_000).await;
    println!("and known to a peer {:?} later, {:?} of CPU", begun.elapsed(), cpu() - cpu_before);
    let (begun, calls) = (Instant::now(), 2000_u32);
    for _ in 0..calls {
        assert!(a.links.barrier(Barrier::Interest, LASTS).await.all_passed());
    }
    println!("a barrier takes {:?}", begun.elapsed() / calls);
}
