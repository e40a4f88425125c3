//! Promise: whatever fails, a group's members finish every record of a stream; what was finished never comes again.

mod book;
mod makers;
mod nodes;
mod redis;
mod work;

use weir_admin::client::{Client as Admin, Target};
use weir_admin::proto::{
    GroupSpec, GroupState, StreamSpec, StreamsCreateGroupRequest, StreamsCreateRequest, StreamsGetRequest,
    StreamsPublishRequest,
};
use weir_testkit::node::Builder;
use weir_testkit::{Cluster, Node, PATIENCE, Redis};

use super::scene::{PROGRAM, Scene};

pub const STREAM: &str = "work";
pub const GROUP: &str = "workers";

/// Partitions of the stream: more than there are nodes, so that each has some.
const PARTITIONS: u32 = 6;

/// Three nodes that can be administered, on a Redis that syncs every write.
fn scene() -> Scene {
    let redis = Redis::build().set("appendfsync", "always").start();
    let cluster = Cluster::of(PROGRAM, &redis.url()).each(|_, node| administered(node)).start();
    Scene { cluster, redis }
}

fn administered(node: Builder) -> Builder {
    node.listen("admin").set("broker.sys_interval_seconds", 0)
}

fn target(node: &Node) -> Target {
    let server = format!("http://{}", node.address("admin"));
    Target { server, timeout: PATIENCE, calls_end: false, ..Target::default() }
}

async fn admin(node: &Node) -> Admin {
    Admin::connect(&target(node)).await.expect("the node is administered")
}

fn wanted(partitions: u32) -> StreamsCreateRequest {
    let spec = StreamSpec { filters: vec!["work/#".to_owned()], partitions, ..Default::default() };
    StreamsCreateRequest { name: STREAM.to_owned(), spec: Some(spec), ..Default::default() }
}

/// A record that nobody answers for stays with its member until that, or its node, is gone.
fn group() -> StreamsCreateGroupRequest {
    let spec = GroupSpec { ack_wait_ms: Some(600_000), lag_stall_ms: Some(0), ..Default::default() };
    let (stream, group) = (STREAM.to_owned(), GROUP.to_owned());
    StreamsCreateGroupRequest { stream, group, spec: Some(spec), ..Default::default() }
}

/// Makes the stream and the group.
async fn make(admin: &Admin, partitions: u32) {
    admin.streams().create(wanted(partitions)).await.expect("a stream");
    admin.streams().create_group(group()).await.expect("a group");
}

/// A message whose repeats are known as such.
fn message(topic: &str, number: u64) -> StreamsPublishRequest {
    StreamsPublishRequest {
        topic: topic.to_owned(),
        payload: number.to_string().into_bytes().into(),
        idempotency_key: number.to_string(),
        ..Default::default()
    }
}

/// How far the group is, as this node knows it.
async fn state(admin: &Admin) -> GroupState {
    let get = StreamsGetRequest { name: STREAM.to_owned(), ..Default::default() };
    let found = admin.streams().get(get).await.expect("the stream").into_inner();
    found.groups.into_iter().next().expect("the group")
}
