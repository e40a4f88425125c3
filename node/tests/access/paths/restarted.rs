//! A will that fires after its node was killed is judged by who left it, and by what holds then.

use weir_bench::client::Options;
use weir_testkit::{Node, eventually};

use super::{Scene, device, operator, says, will};
use crate::scene::{Files, account, connect, denied, kept, node, subscribe, text};

fn refused(node: &Node, messages: f64) {
    let series = "weir_broker_messages_refused_total{reason=\"denied\"}";
    eventually("the wills to be refused", || (node.metrics().value(series) == messages).then_some(()));
}

/// Leaves a will of this topic, in a session that is kept if the will is late.
async fn leaves(node: &Node, topic: &str, delay_seconds: u32, options: Options) -> weir_bench::Client {
    let options = if delay_seconds > 0 { kept(options) } else { options };
    connect(node, &Options { will: will(topic, delay_seconds), ..options }).await
}

#[tokio::test]
async fn a_will_that_fires_after_a_restart_is_published_only_if_its_client_still_may() {
    let scene = Scene::start();
    let mut olga = connect(&scene.node, &kept(operator("olga"))).await;
    subscribe(&mut olga, "#").await;
    let _left = [
        leaves(&scene.node, "secret/ann", 0, device("ann")).await,
        leaves(&scene.node, "secret/bob", 1, device("bob")).await,
        leaves(&scene.node, "open/carl", 0, device("carl")).await,
        leaves(&scene.node, "secret/dora", 1, operator("dora")).await,
    ];
    let scene = scene.restart_narrowed();
    refused(&scene.node, 2.0);
    let mut olga = connect(&scene.node, &kept(operator("olga"))).await;
    let mut got = vec![text(&mut olga).await, text(&mut olga).await];
    got.sort();
    assert_eq!(got, ["open/carl", "secret/dora"]);
    says(&mut connect(&scene.node, &operator("otto")).await, &["open/end"]).await;
    assert_eq!(text(&mut olga).await, "open/end");
    refused(&scene.node, 2.0);
    scene.has_denied(0);
}

const SENSORS_SPEAK: &str = "[[rule]]\nallow = [\"subscribe\"]\nfilters = [\"#\"]\n\
                             [[rule]]\nroles = [\"sensor\"]\nallow = [\"publish\"]\nfilters = [\"#\"]\n";

#[tokio::test]
async fn a_will_counts_by_what_its_account_is_when_it_fires() {
    let files = Files::new();
    let policy = files.write("policy.toml", SENSORS_SPEAK);
    let sensor = |name| files.account(&["add", name, "--role", "sensor", "--password-stdin"], "apple");
    ["ann", "bob", "carl", "dora"].into_iter().for_each(sensor);
    let accounts = files.path("accounts.toml");
    let node = node().set("access.accounts.file", accounts.display()).set("access.policy", policy.display());
    let mut node = node.start();
    let mut olga = connect(&node, &kept(account("dora", "apple", "olga"))).await;
    subscribe(&mut olga, "#").await;
    let _left = [
        leaves(&node, "ann", 1, account("ann", "apple", "a")).await,
        leaves(&node, "bob", 0, account("bob", "apple", "b")).await,
        leaves(&node, "carl", 1, account("carl", "apple", "c")).await,
    ];
    node.kill9();
    files.account(&["remove", "ann"], "");
    files.account(&["remove", "bob"], "");
    files.account(&["add", "bob", "--password-stdin"], "apple");
    // Another password makes nobody another.
    files.account(&["passwd", "carl", "--password-stdin"], "pear");
    let node = node.restart();
    refused(&node, 2.0);
    let mut olga = connect(&node, &kept(account("dora", "apple", "olga"))).await;
    assert_eq!(text(&mut olga).await, "carl");
    refused(&node, 2.0);
    assert_eq!(denied(&node), 0.0);
    node.balanced();
}
