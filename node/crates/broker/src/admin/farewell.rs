//! What the client of a connection that is ended is told: why, and where else it may go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::broker::Broker;
use crate::outbox::Bell;
use crate::session::Session;

/// Farewells that wait for their connections; the client of one more is sent away without a word.
const WAITING_MAX: usize = 10_000;

/// A connection that has not heard of it by then never will.
const WAITS_MAX: Duration = Duration::from_secs(60);

/// What is said to a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Farewell {
    /// Empty = nothing is said.
    pub why: Arc<str>,
    /// The other node to use, as host:port (MQTT-4.11).
    pub elsewhere: Option<Arc<str>>,
}

/// Farewells by connection, kept here so that a session that nobody sends away costs nothing.
#[derive(Default)]
pub(super) struct Farewells(Mutex<HashMap<u64, (Instant, Farewell)>>);

impl Farewells {
    fn note(&self, connection: u64, farewell: Farewell) {
        let mut waiting = self.0.lock();
        if waiting.len() >= WAITING_MAX {
            waiting.retain(|_, (since, _)| since.elapsed() < WAITS_MAX);
        }
        if waiting.len() < WAITING_MAX {
            waiting.insert(connection, (Instant::now(), farewell));
        }
    }
}

impl Broker {
    /// Ends the connection that a session has here now.
    pub(super) fn send_away(&self, session: &Session, farewell: Farewell) {
        let connection = session.connection();
        if connection != 0 && farewell != Farewell::default() {
            self.admin().farewells.note(connection, farewell);
        }
        session.outbox.ring(Bell::Kick);
    }

    /// Ends the connection that a session has here now, which is told why.
    pub fn end_connection(&self, session: &Session, why: &str) {
        self.send_away(session, Farewell { why: why.into(), elsewhere: None });
    }

    /// What a connection that hears [`Bell::Kick`] is to say; nothing where an administrator has said nothing.
    #[must_use]
    pub fn farewell(&self, connection: u64) -> Farewell {
        self.admin().farewells.0.lock().remove(&connection).map(|(_, farewell)| farewell).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn farewells_that_nobody_hears_do_not_pile_up() {
        let farewells = Farewells::default();
        let said = Farewell { why: "why".into(), elsewhere: None };
        for connection in 1..=WAITING_MAX as u64 + 1 {
            farewells.note(connection, said.clone());
        }
        let waiting = farewells.0.lock();
        assert_eq!((waiting.len(), waiting.contains_key(&1)), (WAITING_MAX, true));
    }
}
