//! The intake: QoS 1 and 2 messages a client has sent and that are not answered or released yet.

use std::collections::{BTreeMap, BTreeSet};

/// What is known of a packet id in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// An earlier connection received it; whether it was fanned out is not known here.
    Before,
    /// It waits for its commit.
    Waiting,
    /// PUBREC was sent.
    Received,
}

/// What a QoS 2 PUBLISH is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    New,
    /// Its packet id was taken by a connection before this one.
    Again,
    /// Its first copy still waits for its commit: the answer will follow.
    Waiting,
    /// PUBREC was sent before: send it again.
    Received,
}

/// Packet ids a client has in use towards the broker.
#[derive(Debug, Default)]
pub struct Intake {
    /// QoS 2, until PUBREL.
    received: BTreeMap<u16, Use>,
    /// QoS 1 that wait for their commit.
    waiting: u32,
    /// Came with DUP and are not answered yet: rare.
    repeated: Option<Box<BTreeSet<u16>>>,
}

impl Intake {
    /// What the stored session knows as received.
    pub fn resumed(received: Vec<u16>) -> Intake {
        let received = received.into_iter().map(|id| (id, Use::Before)).collect();
        Intake { received, waiting: 0, repeated: None }
    }

    /// A QoS 2 PUBLISH came (MQTT-4.3.3).
    pub fn receive(&mut self, packet_id: u16) -> Arrival {
        match self.received.insert(packet_id, Use::Waiting) {
            None => Arrival::New,
            Some(Use::Before) => Arrival::Again,
            Some(Use::Waiting) => Arrival::Waiting,
            Some(Use::Received) => {
                self.answered(packet_id);
                Arrival::Received
            }
        }
    }

    /// A copy of a message that another connection, or another node, has had: what became of that is not known here.
    pub fn repeats(&mut self, packet_id: u16) {
        self.repeated.get_or_insert_default().insert(packet_id);
    }

    /// The message gets its answer; whether it was a repeat.
    pub fn settle(&mut self, packet_id: u16) -> bool {
        let Some(repeated) = &mut self.repeated else { return false };
        let was_repeated = repeated.remove(&packet_id);
        if repeated.is_empty() {
            self.repeated = None;
        }
        was_repeated
    }

    /// PUBREC is on its way.
    pub fn answered(&mut self, packet_id: u16) {
        self.received.insert(packet_id, Use::Received);
    }

    /// A QoS 2 message was refused: its packet id is free again (MQTT-4.3.3).
    pub fn refuse(&mut self, packet_id: u16) {
        self.received.remove(&packet_id);
    }

    /// PUBREL came; false when the packet id is not known.
    pub fn release(&mut self, packet_id: u16) -> bool {
        self.received.remove(&packet_id).is_some()
    }

    /// A QoS 1 message waits for its commit, or no longer does.
    pub fn waits(&mut self, more: bool) {
        self.waiting = if more { self.waiting + 1 } else { self.waiting.saturating_sub(1) };
    }

    /// Messages not yet answered, against the receive maximum (MQTT-3.3.4-7).
    pub fn unanswered(&self) -> usize {
        self.received.len() + self.waiting as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_known_as_one_until_it_is_answered() {
        let mut intake = Intake::default();
        intake.repeats(7);
        assert!(!intake.settle(8));
        assert!(intake.settle(7));
        assert!(!intake.settle(7));
    }

    #[test]
    fn a_packet_id_is_free_again_after_its_release() {
        let mut intake = Intake::resumed(vec![7]);
        assert_eq!(intake.receive(7), Arrival::Again);
        assert_eq!(intake.receive(7), Arrival::Waiting);
        intake.answered(7);
        assert_eq!(intake.receive(7), Arrival::Received);
        assert_eq!(intake.receive(8), Arrival::New);
        assert_eq!(intake.unanswered(), 2);
        assert!(intake.release(7));
        assert!(!intake.release(7));
        assert_eq!(intake.receive(7), Arrival::New);
    }
}
