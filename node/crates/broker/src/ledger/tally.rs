//! A tally: what a connection has counted and not yet settled.

/// Plain integers, settled with the node's [`Ledger`](super::Ledger) once per read. What is not
/// settled when a connection's task panics is settled as its [`Publisher`](crate::publish::Publisher)
/// is dropped.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub received: u64,
    pub received_bytes: u64,
    pub accepted: u64,
    pub unmatched: u64,
    pub matched: u64,
    pub delivered: u64,
    pub delivered_bytes: u64,
    /// Sent again with DUP.
    pub resent: u64,
    /// Copies that lie in a stored queue too and were taken from there, or saved that read.
    pub restored: u64,
}

impl Tally {
    /// A PUBLISH is offered to the door.
    pub fn receive(&mut self, payload_bytes: usize) {
        self.received += 1;
        self.received_bytes += payload_bytes as u64;
    }

    /// One copy is on its way to the socket; `again`: with DUP, for it was or may have been sent before.
    pub fn deliver(&mut self, frame_bytes: usize, again: bool) {
        self.delivered += u64::from(!again);
        self.resent += u64::from(again);
        self.delivered_bytes += frame_bytes as u64;
    }

    /// Copies that were sent, whether or not for the first time.
    pub fn sent(&self) -> u64 {
        self.delivered + self.resent
    }
}
