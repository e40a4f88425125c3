//! A node that is killed in the middle loses no record, and none brings anything about twice.

use weir_testkit::{Cluster, Redis};

use crate::scene::{
    PROGRAM, admin, bind, example, from_stream, node, publish, read, records, stream, text, upload,
};

/// What every key was answered: each once, in order.
fn assert_each_once(found: &[weir_admin::proto::StreamRecord], keys: usize, count: usize) {
    for who in 0..keys {
        let topic = format!("{who}/pong");
        let mine: Vec<_> =
            found.iter().filter(|record| record.topic == topic).map(|record| text(record).1).collect();
        let expected: Vec<_> =
            (0..count / keys).map(|nth| format!(r#"{{"seq":{}}}"#, nth * keys + who)).collect();
        assert_eq!(mine, expected, "of {topic}");
    }
}

#[tokio::test]
async fn a_node_that_is_killed_again_and_again_answers_each_record_once() {
    const COUNT: usize = 3000;
    let mut node = node().start();
    let before = admin(&node).await;
    upload(&before, "pp", example("ping-pong")).await.expect("kept");
    stream(&before, "pings", "+/ping", 2).await;
    stream(&before, "pongs", "+/pong", 2).await;
    for seq in 0..COUNT {
        publish(&before, &format!("{}/ping", seq % 10), &format!(r#"{{"seq": {seq}}}"#)).await;
    }
    bind(&before, "pp", from_stream("pp", "pings", &["+/pong"])).await.expect("bound");
    let mut wanted = 1;
    for _ in 0..4 {
        let now = admin(&node).await;
        wanted = records(&now, "pongs", wanted).await.len() + 1;
        node.kill9();
        node = node.restart();
        wanted = wanted.min(COUNT);
    }
    let after = admin(&node).await;
    let found = records(&after, "pongs", COUNT).await;
    assert_eq!(found.len(), COUNT);
    assert_each_once(&found, 10, COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_goes_on_where_a_killed_one_was_and_answers_nothing_twice() {
    const COUNT: usize = 1000;
    let redis = Redis::start();
    let mut cluster =
        Cluster::of(PROGRAM, &redis.url()).nodes(2).each(|_, node| node.listen("admin")).start();
    let near = admin(cluster.node(0)).await;
    upload(&near, "pp", example("ping-pong")).await.expect("kept");
    stream(&near, "pings", "+/ping", 4).await;
    stream(&near, "pongs", "+/pong", 4).await;
    bind(&near, "pp", from_stream("pp", "pings", &["+/pong"])).await.expect("bound");
    let far = admin(cluster.node(1)).await;
    for seq in 0..COUNT {
        publish(&far, &format!("{}/ping", seq % 10), &format!(r#"{{"seq": {seq}}}"#)).await;
        if seq == COUNT / 2 {
            cluster.kill9(0);
        }
    }
    let found = records(&far, "pongs", COUNT).await;
    assert_eq!(read(&far, "pongs").await.len(), COUNT);
    assert_each_once(&found, 10, COUNT);
}
