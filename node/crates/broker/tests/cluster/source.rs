//! A publishing client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use weir_broker::form::Publish;
use weir_broker::publish::{Answering, Publisher, Verdict};
use weir_model::{Principal, Qos};

use super::bed::{Node, PATIENCE};
use super::client::{CLEAN, open, request};

pub struct Source {
    publisher: Publisher,
    last_id: u16,
    /// What was answered, by packet id.
    answers: HashMap<u16, Verdict>,
}

impl Source {
    /// With a session that ends with its connection.
    pub async fn on(node: &Arc<Node>, id: &str) -> Source {
        let opened = open(node, request(node, id, CLEAN)).await.expect("a session");
        let (broker, principal) = (node.broker.clone(), Arc::new(Principal::default()));
        let publisher = Publisher::new(broker, node.realm(), opened.session, principal, None);
        Source { publisher, last_id: 0, answers: HashMap::new() }
    }

    /// Publishes without waiting for the answer; returns the packet id.
    pub async fn send(&mut self, topic: &str, payload: &str, qos: Qos, retain: bool) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let id = self.last_id;
        let answering = match qos {
            Qos::AtMostOnce => Answering::Nothing,
            Qos::AtLeastOnce => Answering::Puback(id),
            Qos::ExactlyOnce => Answering::Pubrec(id),
        };
        loop {
            let payload = payload.as_bytes();
            let publish = Publish {
                topic,
                payload,
                is_json: false,
                qos,
                retain,
                expiry_seconds: None,
                properties: None,
                conditions: None,
            };
            match self.publisher.publish(publish, answering) {
                Verdict::Hold => {
                    self.flush();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Verdict::Waiting => break,
                verdict => {
                    self.answers.insert(id, verdict);
                    break;
                }
            }
        }
        self.flush();
        id
    }

    /// Pushes what was sent and hears what was answered.
    pub fn flush(&mut self) {
        self.publisher.push();
        while let Some((answering, verdict)) = self.publisher.completed() {
            if let Answering::Puback(id) | Answering::Pubrec(id) = answering {
                self.answers.insert(id, verdict);
            }
        }
        self.publisher.settle();
    }

    /// What became of a publish, if it is decided; once.
    pub fn answer(&mut self, id: u16) -> Option<Verdict> {
        self.flush();
        let verdict = self.answers.remove(&id)?;
        self.publisher.release(id);
        Some(verdict)
    }

    /// Publishes and waits until nothing of it waits for the store; returns its answer.
    pub async fn publish_as(&mut self, topic: &str, payload: &str, qos: Qos, retain: bool) -> Verdict {
        let id = self.send(topic, payload, qos, retain).await;
        let through = async {
            self.flush();
            while self.publisher.waiting() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                self.flush();
            }
        };
        tokio::time::timeout(PATIENCE, through).await.expect("the store answers");
        self.answers.get(&id).copied().unwrap_or(Verdict::Accepted { matched: false })
    }

    /// How many wait for the store.
    pub fn waiting(&self) -> usize {
        self.publisher.waiting()
    }

    /// Publishes something that is accepted.
    pub async fn publish(&mut self, topic: &str, payload: &str, qos: Qos) {
        let verdict = self.publish_as(topic, payload, qos, false).await;
        assert!(matches!(verdict, Verdict::Accepted { .. }), "{payload}: {verdict:?}");
    }

    /// The same, and the topic keeps it.
    pub async fn retain(&mut self, topic: &str, payload: &str, qos: Qos) {
        let verdict = self.publish_as(topic, payload, qos, true).await;
        assert!(matches!(verdict, Verdict::Accepted { .. }), "{payload}: {verdict:?}");
    }
}
