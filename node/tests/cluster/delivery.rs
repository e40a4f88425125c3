//! What enters at one node arrives at receivers of every node.

use weir_model::Qos;

use super::scene::{EVERY_QOS, Scene, clean, kept, next, next_many, publish, retain, subscribe};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_a_subscriber_of_another_node_at_every_qos() {
    let scene = Scene::start();
    let mut publisher = scene.client(0, "publisher").await;
    for (kind, options) in [("clean", clean("clean")), ("kept", kept("kept"))] {
        let mut subscriber = scene.connect(1, &options).await;
        for qos in EVERY_QOS {
            let topic = format!("{kind}/{}", qos as u8);
            subscribe(&mut subscriber, &topic, qos).await;
            publish(&mut publisher, &topic, "hello", qos).await;
            let message = subscriber.next().await.expect("a message");
            assert_eq!((message.topic, message.qos, message.payload), (topic, qos, b"hello".to_vec()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_publisher_is_heard_in_order_on_every_node() {
    let scene = Scene::start();
    let mut publisher = scene.client(0, "publisher").await;
    for (options, qos) in
        [(clean("a"), Qos::AtLeastOnce), (clean("b"), Qos::ExactlyOnce), (kept("c"), Qos::AtLeastOnce)]
    {
        let mut near = scene.connect(0, &options).await;
        let topic = format!("order/{}", options.client_id);
        subscribe(&mut near, &topic, qos).await;
        let mut far = scene.client(2, &format!("far-{}", options.client_id)).await;
        subscribe(&mut far, &topic, qos).await;
        let payloads: Vec<String> = (0..200).map(|number| number.to_string()).collect();
        for payload in &payloads {
            publish(&mut publisher, &topic, payload, qos).await;
        }
        assert_eq!(next_many(&mut near, payloads.len()).await, payloads);
        assert_eq!(next_many(&mut far, payloads.len()).await, payloads);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_value_set_on_one_node_is_there_for_a_new_subscriber_of_another() {
    let scene = Scene::start();
    let mut publisher = scene.client(0, "publisher").await;
    for qos in EVERY_QOS {
        let topic = format!("state/{}", qos as u8);
        retain(&mut publisher, &topic, "old", qos).await;
        retain(&mut publisher, &topic, "new", qos).await;
        if qos == Qos::AtMostOnce {
            // Nothing says when it is stored but its coming back.
            publisher.ping().await.expect("an answer");
        }
        let mut subscriber = scene.client(1, "subscriber").await;
        subscribe(&mut subscriber, &topic, qos).await;
        let mut last = next(&mut subscriber).await;
        if qos == Qos::AtMostOnce && last == "old" {
            last = next(&mut subscriber).await;
        }
        assert_eq!(last, "new", "{qos:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_subscription_has_its_members_on_all_nodes_and_each_message_goes_to_one() {
    let scene = Scene::start();
    let mut members = Vec::new();
    for node in 0..3 {
        let mut member = scene.client(node, &format!("member-{node}")).await;
        subscribe(&mut member, "$share/group/work/#", Qos::AtLeastOnce).await;
        members.push(member);
    }
    let mut all = scene.client(1, "all").await;
    subscribe(&mut all, "done", Qos::AtLeastOnce).await;
    let mut publisher = scene.client(0, "publisher").await;
    let payloads: Vec<String> = (10..100).map(|number| number.to_string()).collect();
    for payload in &payloads {
        publish(&mut publisher, "work/a", payload, Qos::AtLeastOnce).await;
    }
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    for (number, mut member) in members.into_iter().enumerate() {
        let sender = sender.clone();
        tokio::spawn(async move {
            while let Ok(message) = member.next().await {
                let _ = sender.send((number, String::from_utf8_lossy(&message.payload).into_owned()));
            }
        });
    }
    let mut received = Vec::new();
    while received.len() < payloads.len() {
        received.push(receiver.recv().await.expect("a member receives"));
    }
    let busy: std::collections::BTreeSet<usize> = received.iter().map(|(member, _)| *member).collect();
    assert!(busy.len() > 1, "only {busy:?} of three members had work");
    let mut work: Vec<String> = received.into_iter().map(|(_, payload)| payload).collect();
    work.sort();
    assert_eq!(work, payloads);
}
