//! Clients that are sent from a node with many to one with few: which, at what pace, and none twice within a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics::counter;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::MissedTickBehavior;
use weir_store::SessionKey;
use xxhash_rust::xxh3::xxh3_64;

use super::Farewell;
use crate::broker::Broker;
use crate::session::Session;

/// The clients of one order are told evenly over this time.
pub const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// How many times in it some are.
const TICKS: u32 = 20;

/// Whoever gives orders is counted as gone after so long without one; then another one may.
const RUN_IDLE_MAX: Duration = Duration::from_secs(5);

/// Clients that are remembered as moved; of more, those whose pause is over soonest are forgotten.
const MOVED_MAX: usize = 200_000;

/// Most clients of one order.
const CLIENTS_MAX: u32 = 10_000;

/// So many clients of this node are to use another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Whose order it is: one at a time moves clients of a node.
    pub run: u64,
    /// At most 10,000.
    pub clients: u32,
    /// Where clients reach the other node, by listener. Who came by another listener stays.
    pub listeners: Vec<(String, String)>,
    /// Also those who cannot be told where to go: they are only sent away.
    pub without_reference: bool,
    /// Who was moved stays where it is for so long.
    pub pause_ms: u64,
}

/// Why nobody was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    #[error("clients of the node are being moved by another order")]
    Busy,
}

/// Who was moved, and who moves.
#[derive(Default)]
pub(super) struct Moves {
    /// By a hash of realm and client id: until when it stays where it is.
    moved: Mutex<HashMap<u64, Instant>>,
    run: Mutex<Option<(u64, Instant)>>,
}

impl Moves {
    fn may_move(&self, client: u64, now: Instant) -> bool {
        self.moved.lock().get(&client).is_none_or(|until| *until <= now)
    }

    fn note(&self, clients: &[u64], until: Instant, now: Instant) {
        let mut moved = self.moved.lock();
        if moved.len() + clients.len() > MOVED_MAX {
            moved.retain(|_, until| *until > now);
        }
        let excess = (moved.len() + clients.len()).saturating_sub(MOVED_MAX);
        if excess > 0 {
            let mut ends: Vec<_> = moved.iter().map(|(client, until)| (*until, *client)).collect();
            ends.sort_unstable();
            for (_, client) in ends.into_iter().take(excess) {
                moved.remove(&client);
            }
        }
        moved.extend(clients.iter().map(|client| (*client, until)));
    }

    /// Whether the order of this run may be done now.
    fn begin(&self, run: u64, now: Instant) -> Result<(), Refusal> {
        let mut known = self.run.lock();
        match *known {
            Some((other, at)) if other != run && now.duration_since(at) < RUN_IDLE_MAX => Err(Refusal::Busy),
            _ => {
                *known = Some((run, now));
                Ok(())
            }
        }
    }

    fn end(&self, run: u64) {
        let mut known = self.run.lock();
        if known.is_some_and(|(other, _)| other == run) {
            *known = None;
        }
    }
}

fn hash(key: &SessionKey) -> u64 {
    xxh3_64(format!("{}\0{}", key.realm, key.name).as_bytes())
}

impl Broker {
    /// Sends clients of this node to another one, over [`TOLD_WITHIN`]; returns how many were told. Fewer than ordered
    /// are when no more may be moved.
    pub(super) async fn move_clients(&self, order: Order) -> Result<u32, Refusal> {
        let moves = &self.admin().moves;
        moves.begin(order.run, Instant::now())?;
        if order.clients == 0 {
            moves.end(order.run);
            return Ok(0);
        }
        let (broker, asked) = (self.clone(), order.clone());
        // It looks at every session: where nobody waits for the thread.
        let chosen = tokio::task::spawn_blocking(move || broker.movable(&asked)).await.unwrap_or_default();
        let each_tick = chosen.len().div_ceil(TICKS as usize).max(1);
        let mut ticks = tokio::time::interval(TOLD_WITHIN / TICKS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = 0;
        for some in chosen.chunks(each_tick) {
            ticks.tick().await;
            told += self.move_some(some, &order);
        }
        Ok(told)
    }

    fn move_some(&self, some: &[Arc<Session>], order: &Order) -> u32 {
        let now = Instant::now();
        let going: Vec<_> = some.iter().filter(|session| session.is_online()).collect();
        let hashes: Vec<u64> = going.iter().map(|session| hash(&session.key)).collect();
        self.admin().moves.note(&hashes, now + Duration::from_millis(order.pause_ms), now);
        // Before they are there: the other nodes leave them alone as well.
        if let Ok(body) = postcard::to_allocvec(&(order.pause_ms, &hashes)) {
            self.tell_all_moved(&Bytes::from(body));
        }
        for session in &going {
            let elsewhere = self.reference(session, order).map(Arc::from);
            self.send_away(session, Farewell { why: "to spread the load".into(), elsewhere });
        }
        counter!("weir_broker_clients_moved_total").increment(going.len() as u64);
        u32::try_from(going.len()).unwrap_or(u32::MAX)
    }

    /// Another node has moved clients: here they stay as well.
    pub(super) fn heard_moved(&self, body: &[u8]) -> Result<(), postcard::Error> {
        let (pause_ms, clients) = postcard::from_bytes::<(u64, Vec<u64>)>(body)?;
        let now = Instant::now();
        let until = now.checked_add(Duration::from_millis(pause_ms)).unwrap_or(now);
        let known = clients.len().min(CLIENTS_MAX as usize);
        self.admin().moves.note(&clients[..known], until, now);
        Ok(())
    }

    /// Clients that may be moved, as many as ordered.
    fn movable(&self, order: &Order) -> Vec<Arc<Session>> {
        let (max, now) = (order.clients.min(CLIENTS_MAX) as usize, Instant::now());
        let is_shared = self.store().is_shared();
        let mut chosen: Vec<Arc<Session>> = Vec::new();
        self.sessions().census_with(&mut |session| {
            // What is kept at this node alone would stay behind.
            let stays = chosen.len() >= max || (session.stored.is_some() && !is_shared);
            let is_told = || self.reference(session, order).is_some();
            if !stays
                && (order.without_reference || is_told())
                && self.admin().moves.may_move(hash(&session.key), now)
            {
                chosen.push(session.clone());
            }
        });
        chosen
    }

    /// Where the client of a session is to go, if it can be told.
    fn reference<'a>(&self, session: &Session, order: &'a Order) -> Option<&'a str> {
        if !self.form(session.form()).hears_why() {
            return None;
        }
        let came_by = session.origin()?.listener;
        order.listeners.iter().find(|(name, _)| name == came_by).map(|(_, address)| &**address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_moved_twice_within_the_pause() {
        let (moves, now) = (Moves::default(), Instant::now());
        moves.note(&[1], now + Duration::from_secs(5), now);
        assert!(!moves.may_move(1, now) && moves.may_move(2, now));
        assert!(moves.may_move(1, now + Duration::from_secs(5)));
    }

    #[test]
    fn of_too_many_that_were_moved_those_are_forgotten_whose_pause_ends_first() {
        let (moves, now) = (Moves::default(), Instant::now());
        let ids: Vec<u64> = (0..MOVED_MAX as u64).collect();
        moves.note(&ids[..1], now + Duration::from_secs(1), now);
        moves.note(&ids[1..], now + Duration::from_secs(5), now);
        moves.note(&[u64::MAX], now + Duration::from_secs(5), now);
        assert_eq!(moves.moved.lock().len(), MOVED_MAX);
        assert!(moves.may_move(0, now) && !moves.may_move(1, now) && !moves.may_move(u64::MAX, now));
    }

    #[test]
    fn one_at_a_time_moves_clients_until_it_has_done_so_or_is_gone() {
        let (moves, now) = (Moves::default(), Instant::now());
        assert_eq!((moves.begin(1, now), moves.begin(2, now)), (Ok(()), Err(Refusal::Busy)));
        assert_eq!(moves.begin(2, now + RUN_IDLE_MAX), Ok(()));
        moves.end(2);
        assert_eq!(moves.begin(1, now + RUN_IDLE_MAX), Ok(()));
    }
}
