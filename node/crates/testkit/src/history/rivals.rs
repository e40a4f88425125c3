//! Connections that take one client id from each other: the old one must not be served for long beside the new.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_model::Qos;
use weir_wire::mqtt::{Packet, Publish};

use super::connection::{Connection, parse};
use super::way::Way;
use super::{History, Stage};
use crate::Fault;

/// How long a node may not have heard that another one has the session: its mirror may lag a second before the node
/// stops acknowledging, and the machine that runs the tests is slow.
const GRACE: Duration = Duration::from_secs(5);

/// Between two messages of the old one.
const PAUSE: Duration = Duration::from_millis(200);

pub struct Rivals {
    history: Arc<History>,
    client_id: String,
    way: Way,
}

impl Rivals {
    pub fn new(history: &Arc<History>, number: usize, home: usize) -> Rivals {
        let client_id = format!("rivals-{number}");
        let way = Way::new(history, &client_id, true, home);
        Rivals { history: history.clone(), client_id, way }
    }

    /// Takes the session from node to node until it is over.
    pub fn run(mut self) {
        let mut old: Option<Connection> = None;
        while let Some(new) = self.way.connect() {
            if let Some(old) = old.take() {
                self.watch(old, &new);
            }
            old = Some(new);
            self.way.wander();
            std::thread::sleep(PAUSE);
        }
    }

    /// Has the old connection publish until it ends.
    fn watch(&self, mut old: Connection, new: &Connection) {
        let taken = Instant::now();
        let (mut id, mut sent) = (NonZeroU16::MIN, None);
        while self.history.stage() != Stage::Over {
            if sent.is_none() {
                let topic = format!("rivals/{}", self.client_id);
                let publish =
                    Publish { qos: Qos::AtLeastOnce, packet_id: Some(id), ..Publish::new(&topic, b"mine") };
                if old.send(&Packet::Publish(publish)).is_err() {
                    return;
                }
                sent = Some(taken.elapsed());
            }
            match old.receive() {
                Err(_) => return,
                Ok(None) => {}
                Ok(Some(frame)) => {
                    let Packet::Puback(ack) = parse(&frame) else { continue };
                    id = id.checked_add(1).unwrap_or(NonZeroU16::MIN);
                    let after = sent.take().unwrap_or_default();
                    if ack.code.as_u8() < 0x80 && after > GRACE {
                        let nodes = (old.node, new.node);
                        return self.history.fault(Fault::TwoOwners {
                            client_id: self.client_id.clone(),
                            nodes,
                            after,
                        });
                    }
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }
}
