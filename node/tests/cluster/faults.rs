//! Promise: whatever fails, nothing acknowledged is lost, QoS 2 comes once, order holds, a client id lives once.

mod canary;
mod links;
mod nodes;
mod random;
mod redis;
mod rolling;
mod unkept;

use weir_testkit::node::Builder;
use weir_testkit::{Cluster, Redis};

use super::scene::{PROGRAM, Scene};

/// Messages acknowledged before and after each failure.
const SOME: usize = 300;

/// Three nodes on a Redis that syncs every write.
fn scene() -> Scene {
    scene_with(|node| node)
}

/// The same, each node set up differently.
fn scene_with(change: impl Fn(Builder) -> Builder + 'static) -> Scene {
    let redis = Redis::build().set("appendfsync", "always").start();
    let cluster = Cluster::of(PROGRAM, &redis.url()).each(move |_, node| change(roomy(node))).start();
    Scene { cluster, redis }
}

/// Room for all that waits for sessions that are away, and for clients that come again and again.
fn roomy(node: Builder) -> Builder {
    node.set("gateway.flapping_connects_max", 0)
        .set("store.queue_messages_max", 1_000_000)
        .set("store.queue_bytes_max", 1 << 30)
        // Soon, but not before a write that Redis was away for is given up.
        .set("broker.queue_look_ms", 1000)
        .set("broker.retained_settle_ms", 12_000)
}
