//! Middleware is the same on every node, and a receiver's is asked where the receiver is.

use weir_model::Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use weir_testkit::{Cluster, Redis};

use super::{
    CLEAN, Client, HandlerHook, NO_PASSWORD, NOTHING, NotAuthorized, SECRET, asked, redacting, stands,
};
use crate::scene::{PROGRAM, admin, calls, example, upload};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_node_publishes_is_changed_there_and_what_is_delivered_here() {
    let redis = Redis::start();
    let cluster = Cluster::of(PROGRAM, &redis.url()).nodes(2).each(|_, node| node.listen("admin")).start();
    let admins = [admin(cluster.node(0)).await, admin(cluster.node(1)).await];
    redacting(&admins[0], &[HandlerHook::Publish, HandlerHook::Deliver]).await;
    upload(&admins[0], "gate", example("gatekeeper")).await.expect("kept");
    let config = [("connect.deny", "spy"), ("publish.deny", "no")];
    stands(&admins[0], "gate", asked("gate", &[HandlerHook::Connect, HandlerHook::Authorize], &config)).await;
    crate::scene::until("the other node to hear of it", async || {
        (Client::try_connect(cluster.node(1), "spy", CLEAN).err()?.0 == NotAuthorized).then_some(())
    })
    .await;
    let mut receivers = [("ann", AtMostOnce), ("ann1", AtLeastOnce)]
        .map(|(who, qos)| (qos, Client::subscribed(cluster.node(1), who, CLEAN, "login", qos)));
    let mut auditor = Client::subscribed(cluster.node(1), "auditor", CLEAN, "login", AtMostOnce);
    let mut publisher = Client::connect(cluster.node(0), "p", CLEAN);
    assert_eq!(publisher.publish("no", "x", AtLeastOnce).0, NotAuthorized);
    let asked_there = calls(&admins[0], "redact", "done").await;
    for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        publisher.publish("login", SECRET, qos);
        assert_eq!(auditor.payload(), NO_PASSWORD);
        for (mine, receiver) in &mut receivers {
            let got = receiver.next();
            assert_eq!((got.payload.as_str(), got.qos), (NOTHING, qos.min(*mine)));
        }
    }
    assert_eq!(calls(&admins[0], "redact", "done").await - asked_there, 3);
    assert_eq!(calls(&admins[1], "redact", "done").await, 9);
    (0..2).for_each(|number| cluster.node(number).balanced());
}
