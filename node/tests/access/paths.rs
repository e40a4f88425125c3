//! Every way a message takes to its receiver asks whether the receiver may have it, when it arrives there.

mod restarted;
mod waiting;

use std::num::NonZeroU16;

use weir_bench::Client;
use weir_bench::client::{Message, Options, Will};
use weir_model::Qos;
use weir_testkit::{Node, eventually};

use crate::scene::{
    Files, ask_for, connect, denied, kept, message, next, publish, subscribe, text, until, with_policy,
    with_role,
};

const WIDE: &str = "[[rule]]\nallow = [\"publish\", \"subscribe\"]\nfilters = [\"#\"]\n";

/// Devices may not have anything to do with secrets any more.
const DENIAL: &str = "\n[[rule]]\nroles = [\"device\"]\ndeny = [\"publish\", \"subscribe\"]\n\
                      filters = [\"secret/#\", \"probe\"]\n";

/// A node with rules that allow everything, until they are narrowed.
struct Scene {
    node: Node,
    files: Files,
}

impl Scene {
    fn start() -> Scene {
        let files = Files::new();
        let policy = files.write("policy.toml", WIDE);
        let node = with_policy(&policy).start();
        Scene { node, files }
    }

    /// Devices lose their right to secrets; returns when that holds.
    async fn narrow(&self) {
        self.files.write("policy.toml", &format!("{WIDE}{DENIAL}"));
        let mut probe = connect(&self.node, &device("probe")).await;
        until(0x87, async || ask_for(&mut probe, "probe", Qos::AtMostOnce).await).await;
        probe.disconnect().await.expect("goodbye");
    }

    /// And have it again.
    async fn widen(&self) {
        self.files.write("policy.toml", WIDE);
        let mut probe = connect(&self.node, &device("probe")).await;
        until(0, async || ask_for(&mut probe, "probe", Qos::AtMostOnce).await).await;
        probe.disconnect().await.expect("goodbye");
    }

    /// The node is killed and started again, and devices have lost their right to secrets by then.
    fn restart_narrowed(self) -> Scene {
        self.files.write("policy.toml", &format!("{WIDE}{DENIAL}"));
        let Scene { node, files } = self;
        Scene { node: node.restart(), files }
    }

    async fn operator(&self) -> Client {
        connect(&self.node, &operator("olga")).await
    }

    /// So many copies were denied, and the ledger balances.
    fn has_denied(&self, copies: u32) {
        let wanted = f64::from(copies);
        eventually("the copies that were denied", || (denied(&self.node) >= wanted).then_some(()));
        assert_eq!(denied(&self.node), wanted);
        self.node.balanced();
    }
}

fn device(name: &str) -> Options {
    with_role(name, "device")
}

fn operator(name: &str) -> Options {
    with_role(name, "operator")
}

/// Takes one message at a time and acknowledges by hand.
fn one_by_one(options: Options) -> Options {
    Options { receive_maximum: NonZeroU16::new(1), manual_acks: true, ..options }
}

async fn says(publisher: &mut Client, topics: &[&str]) {
    for topic in topics {
        publish(publisher, &message(topic, topic)).await.expect("taken");
    }
}

#[tokio::test]
async fn a_live_message_is_not_for_who_lost_the_right_to_it() {
    let scene = Scene::start();
    let (mut ann, mut olga) = (connect(&scene.node, &device("ann")).await, scene.operator().await);
    subscribe(&mut ann, "secret/#").await;
    subscribe(&mut ann, "open/#").await;
    says(&mut olga, &["secret/1", "open/1"]).await;
    scene.narrow().await;
    says(&mut olga, &["secret/2", "secret/3", "open/2"]).await;
    assert_eq!(publish(&mut ann, &message("secret/a", "")).await, Err(0x87));
    scene.widen().await;
    // What she subscribed to she has again, without a word.
    says(&mut olga, &["secret/4"]).await;
    says(&mut ann, &["secret/5"]).await;
    for topic in ["secret/1", "open/1", "open/2", "secret/4", "secret/5"] {
        assert_eq!(text(&mut ann).await, topic);
    }
    scene.has_denied(2);
}

#[tokio::test]
async fn a_retained_message_is_not_shown_to_who_lost_the_right_to_it() {
    let scene = Scene::start();
    let mut olga = scene.operator().await;
    for topic in ["secret/1", "secret/2", "secret/3"] {
        publish(&mut olga, &Message { retain: true, ..message(topic, topic) }).await.expect("taken");
    }
    let mut ann = connect(&scene.node, &one_by_one(device("ann"))).await;
    subscribe(&mut ann, "secret/#").await;
    assert_eq!(ask_for(&mut ann, "open/#", Qos::AtMostOnce).await, 0);
    let first = next(&mut ann).await;
    scene.narrow().await;
    ann.acknowledge(&first).await.expect("acknowledged");
    eventually("the rest to be denied", || (denied(&scene.node) == 2.0).then_some(()));
    says(&mut olga, &["open/1"]).await;
    assert_eq!(text(&mut ann).await, "open/1");
    scene.has_denied(2);
}

#[tokio::test]
async fn what_was_queued_is_not_for_who_lost_the_right_to_it_meanwhile() {
    let scene = Scene::start();
    let (mut ann, mut olga) = (connect(&scene.node, &kept(device("ann"))).await, scene.operator().await);
    assert_eq!(ask_for(&mut ann, "secret/#", Qos::ExactlyOnce).await, 2);
    assert_eq!(ask_for(&mut ann, "open/#", Qos::ExactlyOnce).await, 2);
    ann.disconnect().await.expect("goodbye");
    says(&mut olga, &["secret/1", "open/1", "secret/2"]).await;
    publish(&mut olga, &Message::new("secret/3", "", Qos::ExactlyOnce)).await.expect("taken");
    scene.narrow().await;
    says(&mut olga, &["secret/4", "open/2"]).await;
    let mut ann = connect(&scene.node, &kept(device("ann"))).await;
    assert!(ann.session_present());
    assert_eq!((text(&mut ann).await, text(&mut ann).await), ("open/1".into(), "open/2".into()));
    scene.has_denied(4);
    // What was denied is gone, not kept for later.
    ann.disconnect().await.expect("goodbye");
    scene.widen().await;
    let mut ann = connect(&scene.node, &kept(device("ann"))).await;
    says(&mut olga, &["secret/5"]).await;
    assert_eq!(text(&mut ann).await, "secret/5");
    scene.has_denied(4);
}

#[tokio::test]
async fn a_right_that_is_lost_over_a_restart_is_lost_for_what_was_queued() {
    let scene = Scene::start();
    let mut ann = connect(&scene.node, &kept(device("ann"))).await;
    subscribe(&mut ann, "secret/#").await;
    subscribe(&mut ann, "open/#").await;
    ann.disconnect().await.expect("goodbye");
    says(&mut scene.operator().await, &["secret/1"]).await;
    let scene = scene.restart_narrowed();
    // Whose session it is is known, though she has not come back.
    says(&mut scene.operator().await, &["secret/2", "open/1"]).await;
    scene.has_denied(1);
    let mut ann = connect(&scene.node, &kept(device("ann"))).await;
    assert_eq!(text(&mut ann).await, "open/1");
    scene.has_denied(2);
}

#[tokio::test]
async fn a_group_s_messages_go_to_the_members_that_may_have_them() {
    let scene = Scene::start();
    let (mut ann, mut olga) =
        (connect(&scene.node, &one_by_one(device("ann"))).await, scene.operator().await);
    subscribe(&mut ann, "$share/g/secret/#").await;
    says(&mut olga, &["secret/1", "secret/2", "secret/3"]).await;
    let first = next(&mut ann).await;
    let mut bob = connect(&scene.node, &operator("bob")).await;
    subscribe(&mut bob, "$share/g/secret/#").await;
    scene.narrow().await;
    ann.acknowledge(&first).await.expect("acknowledged");
    // What waited for her is his, and so is all that comes.
    let mut got = vec![text(&mut bob).await, text(&mut bob).await];
    got.sort();
    assert_eq!(got, ["secret/2", "secret/3"]);
    let topics: Vec<String> = (10..30).map(|n| format!("secret/{n}")).collect();
    says(&mut olga, &topics.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for topic in &topics {
        assert_eq!(text(&mut bob).await, *topic);
    }
    scene.has_denied(0);
}

#[tokio::test]
async fn a_group_s_queue_waits_for_a_member_that_may_have_it() {
    let scene = Scene::start();
    let (mut ann, mut olga) = (connect(&scene.node, &kept(device("ann"))).await, scene.operator().await);
    let mut bob = connect(&scene.node, &kept(operator("bob"))).await;
    for member in [&mut ann, &mut bob] {
        subscribe(member, "$share/g/secret/#").await;
    }
    bob.disconnect().await.expect("goodbye");
    scene.narrow().await;
    says(&mut olga, &["secret/1", "secret/2"]).await;
    let mut bob = connect(&scene.node, &kept(operator("bob"))).await;
    let mut got = vec![text(&mut bob).await, text(&mut bob).await];
    got.sort();
    assert_eq!(got, ["secret/1", "secret/2"]);
    scene.has_denied(0);
}

fn will(topic: &str, delay_seconds: u32) -> Option<Will> {
    let payload = topic.as_bytes().to_vec();
    Some(Will { topic: topic.to_owned(), payload, qos: Qos::AtLeastOnce, delay_seconds, ..Will::default() })
}

#[tokio::test]
async fn a_will_is_published_only_if_its_client_still_may() {
    let scene = Scene::start();
    let mut olga = scene.operator().await;
    subscribe(&mut olga, "#").await;
    let ann = connect(&scene.node, &Options { will: will("secret/ann", 0), ..device("ann") }).await;
    let bob = connect(&scene.node, &Options { will: will("secret/bob", 1), ..kept(device("bob")) }).await;
    let carl = connect(&scene.node, &Options { will: will("open/carl", 0), ..device("carl") }).await;
    scene.narrow().await;
    let refused = || scene.node.metrics().value("weir_broker_messages_refused_total{reason=\"denied\"}");
    let before = refused();
    drop((ann, bob));
    eventually("both wills to be refused", || (refused() == before + 2.0).then_some(()));
    drop(carl);
    assert_eq!(text(&mut olga).await, "open/carl");
    // Nor may one be left from now on.
    let late = Options { will: will("secret/late", 0), ..device("late") };
    let code = crate::scene::refusal(&scene.node, &late).await;
    assert_eq!(code, weir_wire::mqtt::ReasonCode::NotAuthorized);
    scene.has_denied(0);
}

#[tokio::test]
async fn a_will_reaches_only_those_who_may_have_it() {
    let scene = Scene::start();
    let mut olga = scene.operator().await;
    let mut ann = connect(&scene.node, &device("ann")).await;
    for receiver in [&mut olga, &mut ann] {
        subscribe(receiver, "secret/#").await;
    }
    let bob = connect(&scene.node, &Options { will: will("secret/bob", 0), ..operator("bob") }).await;
    scene.narrow().await;
    drop(bob);
    assert_eq!(text(&mut olga).await, "secret/bob");
    scene.has_denied(1);
}

#[tokio::test]
async fn a_delayed_message_is_judged_by_the_topic_it_is_for() {
    let scene = Scene::start();
    let (mut ann, mut olga) = (connect(&scene.node, &device("ann")).await, scene.operator().await);
    subscribe(&mut ann, "secret/#").await;
    subscribe(&mut ann, "open/#").await;
    says(&mut olga, &["$delayed/6/secret/1"]).await;
    scene.narrow().await;
    assert_eq!(publish(&mut ann, &message("$delayed/1/secret/2", "")).await, Err(0x87));
    says(&mut ann, &["$delayed/1/open/2"]).await;
    assert_eq!(next(&mut ann).await.topic, "open/2");
    scene.has_denied(1);
}
