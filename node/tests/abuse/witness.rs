//! A client that does nothing wrong while others do.

use weir_testkit::{Node, RawMqtt};

use super::frames::{V5, connected, publish, subscribe};

/// Connected and subscribed to its own topic.
pub struct Witness(RawMqtt);

impl Witness {
    pub fn of(node: &Node) -> Witness {
        let mut raw = connected(node, V5);
        raw.send(&subscribe(V5, "witness"));
        assert_eq!(raw.frame()[0], 0x90);
        Witness(raw)
    }

    /// Its connection still works.
    pub fn is_unaffected(&mut self) {
        let message = publish(0, "witness", b"\0still here");
        self.0.send(&message);
        assert_eq!(self.0.frame(), message);
    }
}
