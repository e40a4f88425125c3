//! Which node a client goes to: where it was told to, else anywhere else.

use std::sync::Arc;
use std::time::Duration;

use super::connection::{Connection, Gone};
use super::{History, Stage};
use crate::{Dice, Fault};

/// Pause between two attempts that failed.
const PAUSE: Duration = Duration::from_millis(30);

/// A client on its way from node to node.
pub struct Way {
    history: Arc<History>,
    client_id: String,
    kept: bool,
    next: usize,
    dice: Dice,
    /// Whether its session is somewhere.
    was_here: bool,
}

impl Way {
    pub fn new(history: &Arc<History>, client_id: &str, kept: bool, home: usize) -> Way {
        let seed = client_id.bytes().fold(home as u64, |seed, byte| seed.rotate_left(8) ^ u64::from(byte));
        let (history, client_id) = (history.clone(), client_id.to_owned());
        Way { history, client_id, kept, next: home, dice: Dice::of(seed), was_here: false }
    }

    /// A connection, after as many attempts as it takes; `None` when it is over.
    pub fn connect(&mut self) -> Option<Connection> {
        while self.history.stage() != Stage::Over {
            let node = self.next;
            match Connection::open(node, self.history.nodes[node], &self.client_id, self.kept) {
                Ok(connection) => {
                    if self.kept && self.was_here && !connection.session_present {
                        self.history.fault(Fault::SessionLost { client_id: self.client_id.clone(), node });
                    }
                    self.was_here = true;
                    return Some(connection);
                }
                Err(gone) => {
                    // Nobody was there: it has not moved yet.
                    self.follow(&gone);
                    std::thread::sleep(PAUSE);
                }
            }
        }
        None
    }

    /// Where to go after this end of a connection.
    pub fn leave(&mut self, gone: &Gone) {
        self.history.moved(&self.client_id);
        self.follow(gone);
    }

    fn follow(&mut self, gone: &Gone) {
        if let Gone::Told { reference, .. } = gone {
            let known = |reference: &String| {
                let address = reference.parse().ok()?;
                self.history.nodes.iter().position(|node| *node == address)
            };
            if let Some(node) = reference.as_ref().and_then(known) {
                self.next = node;
                return;
            }
        }
        self.wander();
    }

    /// To any other node, of its own will.
    pub fn wander(&mut self) {
        self.next = self.dice.other_than(self.next, self.history.nodes.len());
    }
}
