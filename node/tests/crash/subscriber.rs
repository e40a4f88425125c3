//! A persistent subscriber: notes what it is given, and keeps its half of QoS 2 over all connections.

use std::collections::{BTreeSet, HashSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use weir_model::Qos;
use weir_testkit::{Line, eventually};
use weir_wire::mqtt::{Ack, Packet, Publish, ReasonCode};

use super::client::{Client, Gone, parse};
use super::traffic::{self, FILTER, PUBLISHERS, Shared};

/// Publishes taken between two naps.
const NAP_AFTER: usize = 40;

/// How it treats its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    Stays,
    /// Leaves without a word, with messages unanswered, and comes back.
    Naps,
}

pub struct Subscriber {
    shared: Arc<Shared>,
    name: &'static str,
    habit: Habit,
    /// QoS 2 packet ids between PUBLISH and PUBREL (MQTT-4.3.3-10).
    unreleased: HashSet<NonZeroU16>,
    /// Lines whose last message has come.
    ended: BTreeSet<Line>,
}

impl Subscriber {
    /// Subscribes, once for its whole life, and goes offline.
    pub fn subscribe(shared: Arc<Shared>, name: &'static str, habit: Habit) -> Subscriber {
        let subscribed = || Client::connect(shared.address, name)?.subscribe(FILTER).ok();
        eventually("a subscription", subscribed);
        shared.checker().expect(name);
        Subscriber { shared, name, habit, unreleased: HashSet::new(), ended: BTreeSet::new() }
    }

    /// Reads, over as many connections as it takes, until each line has come to its last message.
    pub fn read_to_the_last(&mut self) {
        while !self.is_done() {
            let mut client = self.shared.connect(self.name);
            assert!(client.session_present, "the session of {} is lost", self.name);
            // The next connection goes on where this one ended.
            let _ = self.read(&mut client);
        }
    }

    fn is_done(&self) -> bool {
        self.ended.len() == 2 * PUBLISHERS as usize
    }

    fn read(&mut self, client: &mut Client) -> Result<(), Gone> {
        let mut taken = 0;
        while !self.is_done() {
            if self.habit == Habit::Naps && taken == NAP_AFTER {
                return Ok(());
            }
            let frame = client.receive()?;
            match parse(&frame) {
                Packet::Publish(publish) => {
                    taken += 1;
                    self.take(client, &publish)?;
                }
                Packet::Pubrel(ack) => {
                    self.unreleased.remove(&ack.packet_id);
                    client.send(&Packet::Pubcomp(Ack::new(ack.packet_id, ReasonCode::Success)))?;
                }
                Packet::Disconnect(_) => return Err(Gone),
                other => panic!("{} was sent {other:?}", self.name),
            }
        }
        Ok(())
    }

    fn take(&mut self, client: &mut Client, publish: &Publish<'_>) -> Result<(), Gone> {
        let id = publish.packet_id.expect("QoS 1 or 2");
        let is_new = publish.qos == Qos::AtLeastOnce || self.unreleased.insert(id);
        if is_new {
            let (line, number, is_last) = traffic::read(publish.topic, publish.payload);
            self.shared.checker().receive(self.name, line, number);
            if is_last {
                self.ended.insert(line);
            }
        }
        let ack = Ack::new(id, ReasonCode::Success);
        client.send(&match publish.qos {
            Qos::ExactlyOnce => Packet::Pubrec(ack),
            _ => Packet::Puback(ack),
        })
    }
}
