//! The keep-alive wheel: who must have been heard by when, without a timer per connection.

use std::sync::{Arc, Weak};

use super::Session;

/// One turn of the wheel is this many ticks; a longer keep-alive is looked at once a turn.
const SLOTS: usize = 256;

/// Milliseconds of one tick: how late a silent client is noticed.
pub const TICK_MS: u64 = 250;

/// Sessions by the tick at which to look at them next.
pub struct Wheel {
    slots: Vec<Vec<(Weak<Session>, u64)>>,
    at: u64,
}

impl Wheel {
    pub fn new(now_ms: u64) -> Wheel {
        Wheel { slots: vec![Vec::new(); SLOTS], at: now_ms / TICK_MS }
    }

    /// Watches a session as long as this connection has it.
    pub fn watch(&mut self, session: &Arc<Session>, connection: u64) {
        self.place(Arc::downgrade(session), connection, session.silent_at_ms());
    }

    fn place(&mut self, session: Weak<Session>, connection: u64, due_ms: Option<u64>) {
        let Some(due_ms) = due_ms else { return };
        let ticks = (due_ms / TICK_MS + 1).saturating_sub(self.at).clamp(1, SLOTS as u64 - 1);
        let slot = ((self.at + ticks) % SLOTS as u64) as usize;
        self.slots[slot].push((session, connection));
    }

    /// Moves on to `now_ms`; returns the sessions that have been silent too long.
    pub fn turn(&mut self, now_ms: u64) -> Vec<Arc<Session>> {
        let mut silent = Vec::new();
        while self.at < now_ms / TICK_MS {
            self.at += 1;
            let slot = (self.at % SLOTS as u64) as usize;
            for (weak, connection) in std::mem::take(&mut self.slots[slot]) {
                let Some(session) = weak.upgrade() else { continue };
                if !session.is_attached_to(connection) {
                    continue;
                }
                match session.silent_at_ms() {
                    Some(due_ms) if due_ms <= now_ms => silent.push(session),
                    due_ms => self.place(weak, connection, due_ms),
                }
            }
        }
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_store::{SessionKey, SessionKind};

    fn session(keep_alive_ms: u32) -> Arc<Session> {
        let key = SessionKey { realm: "r".into(), kind: SessionKind::Client, name: "c".into() };
        let session = Session::new(key, None, None);
        session.attach(7, 0, keep_alive_ms);
        session
    }

    #[test]
    fn a_silent_client_is_found_after_one_and_a_half_keep_alives() {
        let now = crate::clock::coarse_ms();
        let mut wheel = Wheel::new(now);
        let quick = session(1_000);
        let slow = session(600_000);
        wheel.watch(&quick, 7);
        wheel.watch(&slow, 7);
        assert!(wheel.turn(now + 1_250).is_empty());
        assert_eq!(wheel.turn(now + 2_000).len(), 1);
        assert!(wheel.turn(now + 600_000).is_empty());
        assert_eq!(wheel.turn(now + 1_000_000).len(), 1);
    }

    #[test]
    fn a_session_with_another_connection_is_let_go() {
        let mut wheel = Wheel::new(0);
        let session = session(1_000);
        wheel.watch(&session, 7);
        session.attach(8, 0, 1_000);
        assert!(wheel.turn(1_000_000).is_empty());
    }
}
