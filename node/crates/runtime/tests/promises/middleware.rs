//! Middleware: asked on the thread of the connection, answered in its time.

use std::time::Duration;

use weir_model::{Properties, Qos, UnixMillis};
use weir_runtime::{Action, Client, Failure, Limits, Passage, Passing, Trap, Verdict};

use crate::guests;
use crate::node::pool;

const NOW: UnixMillis = UnixMillis(1);

fn client(client_id: &str) -> Client<'_> {
    Client { client_id, user: Some("ann"), realm: "default", protocol: "mqtt", address: "127.0.0.1" }
}

fn passing(properties: Option<&Properties>) -> Passing<'_> {
    Passing { topic: "t", payload: b"hello", qos: Qos::AtLeastOnce, retain: true, properties }
}

#[tokio::test]
async fn what_middleware_does_not_mind_passes() {
    let (_runtime, pool) = pool(guests::middleware(), Limits::default()).await;
    assert_eq!(pool.on_connect(&client("good"), NOW).result, Ok(Verdict::Pass));
    assert_eq!(pool.on_authorize(&client("good"), Action::Subscribe, "t", NOW).result, Ok(Verdict::Pass));
    assert!(matches!(pool.on_publish(&client("good"), &passing(None), NOW).result, Ok(Passage::Pass)));
    assert!(matches!(pool.on_deliver(&client("good"), &passing(None), NOW).result, Ok(Passage::Pass)));
}

#[tokio::test]
async fn what_middleware_refuses_has_its_reason() {
    let (_runtime, pool) = pool(guests::middleware(), Limits::default()).await;
    let refused = Ok(Verdict::Refuse("bad".into()));
    assert_eq!(pool.on_connect(&client("bad"), NOW).result, refused);
    assert_eq!(pool.on_authorize(&client("bad"), Action::Publish, "t", NOW).result, refused);
    for passage in [
        pool.on_publish(&client("bad"), &passing(None), NOW),
        pool.on_deliver(&client("bad"), &passing(None), NOW),
    ] {
        assert!(matches!(passage.result, Ok(Passage::Refuse(reason)) if reason == "bad"));
    }
}

#[tokio::test]
async fn a_changed_message_keeps_what_was_not_changed() {
    let (_runtime, pool) = pool(guests::middleware(), Limits::default()).await;
    let properties = Properties {
        content_type: Some("text/plain".into()),
        user: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
        ..Properties::default()
    };
    let passage = pool.on_publish(&client("new"), &passing(Some(&properties)), NOW).result.unwrap();
    let Passage::Change(changed) = passage else { panic!("{passage:?}") };
    assert_eq!((&*changed.topic, &changed.payload[..]), ("t", &b"out"[..]));
    assert_eq!((changed.qos, changed.retain), (Qos::AtLeastOnce, true));
    assert_eq!(changed.content_type.as_deref(), Some("text/plain"));
    assert_eq!(changed.user, properties.user);
}

#[tokio::test]
async fn middleware_that_loops_is_cut_off_and_the_next_one_asks_a_fresh_instance() {
    let limits = Limits { time: Duration::from_millis(5), ..Limits::default() };
    let (_runtime, pool) = pool(guests::middleware(), limits).await;
    let looping = pool.on_publish(&client("loop"), &passing(None), NOW);
    assert!(matches!(looping.result, Err(Failure::Trapped { kind: Trap::Time, .. })));
    assert_eq!(pool.instances(), 0);
    assert_eq!(pool.on_connect(&client("good"), NOW).result, Ok(Verdict::Pass));
    assert_eq!(pool.instances(), 1);
}

#[test]
fn middleware_needs_no_asynchronous_runtime_to_be_asked() {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (_runtime, pool) = tokio.block_on(pool(guests::middleware(), Limits::default()));
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..100 {
                    assert_eq!(pool.on_connect(&client("good"), NOW).result, Ok(Verdict::Pass));
                }
            });
        }
    });
    assert!(pool.instances() <= 4);
}
