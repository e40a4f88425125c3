//! Streams read by clients nobody here wrote: paho-mqtt and mqtt.js.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use weir_broker::stream::Spec;

use crate::scene::Running;
use crate::tools;

fn directory() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streams")
}

fn paho() -> Command {
    let mut command = Command::new(tools::brought("python/bin/python"));
    command.arg(directory().join("paho/streams.py")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn mqttjs() -> Command {
    tools::brought("node/node_modules/mqtt");
    let mut command = Command::new(tools::program("node"));
    command.arg(directory().join("mqttjs/run.mjs"));
    command
}

fn check(mut command: Command, address: SocketAddr, name: &str) {
    command
        .arg("--url")
        .arg(format!("tcp=mqtt://{address}"))
        .arg("--pid")
        .arg(std::process::id().to_string());
    command.arg(name).env("WEIR_TOOLS", tools::directory().canonicalize().unwrap_or_default());
    print!("{}", tools::Running::start(&mut command, None).success());
}

async fn on_a_node(command: Command, name: &str) {
    let node = Running::start().await;
    node.stream("plant", Spec::default()).await;
    check(command, node.address, name);
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_reads_a_stream_and_goes_on_from_a_position() {
    on_a_node(paho(), "a_stream_is_read_from_its_beginning_and_on_from_a_position").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_goes_on_in_a_kept_session() {
    on_a_node(paho(), "a_kept_session_goes_on_where_it_was").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_reads_a_stream_by_mqtt_311() {
    on_a_node(paho(), "an_old_client_reads_a_stream").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mqttjs_reads_a_stream_and_goes_on_from_a_position() {
    on_a_node(mqttjs(), "a_stream_is_read_from_its_beginning_and_on_from_a_position").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mqttjs_goes_on_in_a_kept_session() {
    on_a_node(mqttjs(), "a_kept_session_goes_on_where_it_was").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mqttjs_is_told_that_there_is_no_such_stream() {
    on_a_node(mqttjs(), "what_is_no_stream_is_refused").await;
}
