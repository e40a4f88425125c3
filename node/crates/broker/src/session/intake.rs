//! The intake: QoS 1 and 2 messages a client has sent and that are not answered or released yet.

use std::collections::BTreeMap;

/// What is known of a packet id in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// An earlier connection received it; whether it was fanned out is not known here.
    Before,
    /// It waits for its commit.
    Waiting,
    /// The same, and it came with DUP.
    WaitingAgain,
    /// QoS 1, came with DUP and is not answered yet.
    Resent,
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
    /// QoS 2, until PUBREL; and QoS 1 that came with DUP.
    received: BTreeMap<u16, Use>,
    /// QoS 1 that wait for their commit.
    waiting: u32,
    /// How many are [`Use::Resent`].
    resent: u32,
}

impl Intake {
    /// What the stored session knows as received.
    pub fn resumed(received: Vec<u16>) -> Intake {
        let received = received.into_iter().map(|id| (id, Use::Before)).collect();
        Intake { received, waiting: 0, resent: 0 }
    }

    /// A QoS 2 PUBLISH came (MQTT-4.3.3).
    pub fn receive(&mut self, packet_id: u16) -> Arrival {
        match self.received.get(&packet_id) {
            Some(Use::Before) => {
                self.put(packet_id, Use::Waiting);
                Arrival::Again
            }
            Some(Use::Waiting | Use::WaitingAgain) => Arrival::Waiting,
            Some(Use::Received) => Arrival::Received,
            None | Some(Use::Resent) => {
                self.put(packet_id, Use::Waiting);
                Arrival::New
            }
        }
    }

    /// What has just come is a copy of a message that another connection, or another node, has had: what became of that
    /// is not known here.
    pub fn repeats(&mut self, packet_id: u16) {
        match self.received.get(&packet_id) {
            None => self.put(packet_id, Use::Resent),
            Some(Use::Waiting) => self.put(packet_id, Use::WaitingAgain),
            Some(_) => {}
        }
    }

    /// The message gets its answer; whether it was a repeat.
    pub fn settle(&mut self, packet_id: u16) -> bool {
        match self.received.get(&packet_id) {
            Some(Use::Resent) => self.remove(packet_id).is_some(),
            Some(Use::WaitingAgain) => {
                self.put(packet_id, Use::Waiting);
                true
            }
            _ => false,
        }
    }

    fn put(&mut self, packet_id: u16, how: Use) {
        let before = self.received.insert(packet_id, how);
        self.resent += u32::from(how == Use::Resent);
        self.resent -= u32::from(before == Some(Use::Resent));
    }

    fn remove(&mut self, packet_id: u16) -> Option<Use> {
        let before = self.received.remove(&packet_id);
        self.resent -= u32::from(before == Some(Use::Resent));
        before
    }

    /// PUBREC is on its way.
    pub fn answered(&mut self, packet_id: u16) {
        self.put(packet_id, Use::Received);
    }

    /// A QoS 2 message was refused: its packet id is free again (MQTT-4.3.3).
    pub fn refuse(&mut self, packet_id: u16) {
        self.remove(packet_id);
    }

    /// PUBREL came; false when the packet id is not known.
    pub fn release(&mut self, packet_id: u16) -> bool {
        self.remove(packet_id).is_some_and(|how| how != Use::Resent)
    }

    /// A QoS 1 message waits for its commit, or no longer does.
    pub fn waits(&mut self, more: bool) {
        self.waiting = if more { self.waiting + 1 } else { self.waiting.saturating_sub(1) };
    }

    /// Messages not yet answered, against the receive maximum (MQTT-3.3.4-7).
    pub fn unanswered(&self) -> usize {
        self.received.len() - self.resent as usize + self.waiting as usize
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
        // It counts where it waits, if it does.
        assert_eq!(intake.unanswered(), 0);
        assert!(intake.settle(7));
        assert!(!intake.settle(7));
        assert_eq!(intake.receive(9), Arrival::New);
        intake.repeats(9);
        assert_eq!((intake.receive(9), intake.unanswered()), (Arrival::Waiting, 1));
        assert!(intake.settle(9));
        intake.answered(9);
        assert_eq!(intake.receive(9), Arrival::Received);
        intake.repeats(9);
        assert!(!intake.settle(9));
        intake.repeats(5);
        assert!(!intake.release(5));
        assert_eq!(intake.receive(5), Arrival::New);
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
