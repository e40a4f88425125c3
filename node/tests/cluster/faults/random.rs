//! Failures of every kind in an order that a seed decides: `WEIR_SEED=<n>` brings one back.

use std::time::{Duration, Instant};

use weir_testkit::{Dice, Traffic, eventually};

use super::scene;
use crate::scene::Scene;

/// Failures of one round; a round has a cluster, a Redis and a history of its own.
const BLOWS: usize = 8;

/// Where the long form writes what it found.
const REPORT: &str = "WEIR_SOAK_REPORT";

/// How long it goes on, in minutes.
const MINUTES: &str = "WEIR_SOAK_MINUTES";

const NODES: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Blow {
    Kill {
        node: usize,
    },
    Restart {
        node: usize,
    },
    Sleep {
        node: usize,
    },
    Nap {
        node: usize,
    },
    RedisDies,
    RedisSleeps,
    ClientKill,
    /// A node dies while Redis is away.
    Both {
        node: usize,
    },
}

impl Blow {
    fn throw(dice: &mut Dice) -> Blow {
        let node = dice.below(NODES);
        match dice.below(8) {
            0 => Blow::Kill { node },
            1 => Blow::Restart { node },
            2 => Blow::Sleep { node },
            3 => Blow::Nap { node },
            4 => Blow::RedisDies,
            5 => Blow::RedisSleeps,
            6 => Blow::ClientKill,
            _ => Blow::Both { node },
        }
    }

    /// Strikes, and mends it after some traffic.
    fn strike(self, scene: &mut Scene, traffic: &Traffic, some: usize) {
        match self {
            Blow::Kill { node } => {
                scene.cluster.kill9(node);
                traffic.wait_for(some);
                scene.cluster.restart(node);
            }
            Blow::Restart { node } => {
                scene.cluster.end(node);
                scene.cluster.restart(node);
            }
            Blow::Sleep { node } => {
                scene.cluster.stop(node);
                let witness = scene.cluster.node((node + 1) % NODES);
                eventually("the sleeper to be given up", || {
                    (witness.metrics().value("weir_cluster_members") < NODES as f64).then_some(())
                });
                traffic.wait_for(some);
                scene.cluster.cont(node);
            }
            Blow::Nap { node } => {
                scene.cluster.stop(node);
                std::thread::sleep(Duration::from_millis(700));
                scene.cluster.cont(node);
            }
            Blow::RedisDies => {
                scene.redis.kill9();
                scene.redis.restart();
            }
            Blow::RedisSleeps => {
                scene.redis.sigstop();
                std::thread::sleep(Duration::from_millis(1500));
                scene.redis.sigcont();
            }
            Blow::ClientKill => scene.redis.client_kill_all(),
            Blow::Both { node } => {
                scene.redis.kill9();
                scene.cluster.kill9(node);
                scene.redis.restart();
                traffic.wait_for(some);
                scene.cluster.restart(node);
            }
        }
    }
}

/// One round. Returns how many messages were acknowledged.
fn round(seed: u64) -> usize {
    println!("WEIR_SEED={seed}");
    let mut dice = Dice::of(seed);
    let mut scene = scene();
    let traffic = Traffic::of_all_kinds(&scene.cluster).start();
    for _ in 0..BLOWS {
        traffic.wait_for(50 + dice.below(300));
        let blow = Blow::throw(&mut dice);
        traffic.note(format!("{blow:?}"));
        blow.strike(&mut scene, &traffic, 50 + dice.below(200));
        traffic.note("mended");
    }
    traffic.wait_for(200);
    scene.cluster.wait_until_whole();
    let history = traffic.kept_every_promise(&scene.cluster);
    history.acknowledged()
}

#[test]
fn nothing_is_lost_whatever_fails_in_whatever_order() {
    round(Dice::seed());
}

#[test]
#[ignore = "takes as long as it is told: cargo xtask soak --cluster --minutes N"]
fn nothing_is_lost_for_as_long_as_it_is_told() {
    let minutes = std::env::var(MINUTES).ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let until = Instant::now() + Duration::from_secs(60 * minutes);
    let first = Dice::seed();
    let mut lines = vec![format!("# Soak of a cluster of {NODES} nodes, first seed {first}"), String::new()];
    let mut failed = 0;
    for seed in first.. {
        if Instant::now() >= until {
            break;
        }
        // One broken round is written down; the next may break another promise.
        lines.push(match std::panic::catch_unwind(|| round(seed)) {
            Ok(acknowledged) => {
                format!("- seed {seed}: {acknowledged} messages acknowledged, every promise kept")
            }
            Err(panic) => {
                failed += 1;
                let said = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "it failed".to_owned());
                format!("- seed {seed}: FAILED\n\n```\n{said}\n```\n")
            }
        });
        if let Some(path) = std::env::var_os(REPORT) {
            std::fs::write(path, lines.join("\n") + "\n").expect("the report can be written");
        }
    }
    assert_eq!(failed, 0, "rounds failed:\n{}", lines.join("\n"));
}
