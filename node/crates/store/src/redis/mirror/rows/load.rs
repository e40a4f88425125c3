//! Loading a shard: every row, by pages, and what is no more.

use super::*;
use crate::redis::library::Function;
use crate::redis::read::{ask, garbled};

/// Sessions in one answer, about.
const SESSIONS_PAGE: usize = 256;
/// Retained messages in one answer, about.
const RETAINED_PAGE: usize = 64;

impl Rows {
    /// Reads every row of the shard, whose stream's tail was `tail` before.
    pub(in crate::redis::mirror) async fn load(
        &self,
        shard: Shard,
        tail: EntryId,
        connection: &mut Connection,
    ) -> Result<(), RedisError> {
        match shard {
            Shard::Session(_) => self.load_sessions(shard, tail, connection).await,
            Shard::Topic(_) => {
                self.load_retained(shard, tail, connection).await?;
                self.load_tables(shard, connection).await
            }
            Shard::Partition(_) => self.load_partitions(shard, tail, connection).await,
            Shard::Nodes => Ok(()),
        }
    }

    async fn load_sessions(
        &self,
        shard: Shard,
        tail: EntryId,
        connection: &mut Connection,
    ) -> Result<(), RedisError> {
        self.shards[self.layout.index(shard)].lock().begin(0, tail);
        let mut found = HashMap::new();
        let mut cursor = "0".to_owned();
        loop {
            let arguments = [cursor, SESSIONS_PAGE.to_string()];
            let packed = ask(connection, Function::Scan, &self.layout.tag(shard), &arguments).await?;
            let (next, sessions) = page(&packed).map_err(garbled)?;
            for session in sessions {
                match session {
                    Ok(session) => {
                        found.insert(Box::<str>::from(session_id(&session.key)), session.fence.generation);
                        self.hand_on_row(shard, session).await;
                    }
                    Err(error) => unreadable(shard, &error),
                }
            }
            cursor = next;
            if cursor == "0" {
                break;
            }
        }
        self.take_back_sessions(shard, found);
        Ok(())
    }

    /// A session as a load finds it: to be restored, or as the changes that make it so. What it owes comes by itself,
    /// when nobody else has seen to it.
    async fn hand_on_row(&self, shard: Shard, session: Restored) {
        let at = self.layout.index(shard);
        if self.restoring.lock().is_some() {
            let name = session_id(&session.key).into();
            let generation = session.fence.generation;
            let before = self.shards[at].lock().known.insert(name, generation);
            // A load that failed half way comes again from its beginning.
            if before != Some(generation) {
                self.restore_row(session).await;
            }
        } else if session.key.kind == SessionKind::Client {
            let mut rows = self.shards[at].lock();
            for change in changes(&session, self.node) {
                self.hand_on_session(&mut rows, &session.key, change);
            }
        }
    }

    async fn restore_row(&self, session: Restored) {
        let restoring = self.restoring.lock().clone();
        if let Some(restoring) = restoring {
            // Nobody waits any more: the node is closing.
            let _ = restoring.send(session).await;
        }
    }

    fn take_back_sessions(&self, shard: Shard, found: HashMap<Box<str>, u64>) {
        let mut rows = self.shards[self.layout.index(shard)].lock();
        let before = std::mem::replace(&mut rows.known, found);
        for (name, generation) in before {
            let is_gone = rows.known.get(&name) != Some(&generation);
            if let (true, Some(key), Some(mirror)) = (is_gone, session_of(&name), self.mirror.get())
                && key.kind == SessionKind::Client
            {
                mirror.session(&key, SessionChange::Ended { generation });
            }
        }
    }

    async fn load_retained(
        &self,
        shard: Shard,
        tail: EntryId,
        connection: &mut Connection,
    ) -> Result<(), RedisError> {
        let mut epoch = redis::cmd("HGET");
        epoch.arg(self.layout.key(shard, "shard")).arg("epoch");
        let epoch: Option<u64> = epoch.query_async(connection).await?;
        self.shards[self.layout.index(shard)].lock().begin(epoch.unwrap_or(0), tail);
        let mut found = HashMap::new();
        let mut cursor = 0_u64;
        loop {
            let mut page = redis::cmd("HSCAN");
            page.arg(self.layout.key(shard, "retained")).arg(cursor).arg("COUNT").arg(RETAINED_PAGE);
            let (next, values): (u64, Vec<(String, Vec<u8>)>) = page.query_async(connection).await?;
            for (name, value) in values {
                self.hand_on_found(shard, tail, &name, &value);
                found.insert(Box::<str>::from(name), 0);
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        self.take_back_retained(shard, tail, &found);
        Ok(())
    }

    fn hand_on_found(&self, shard: Shard, tail: EntryId, name: &str, value: &[u8]) {
        let mut rows = self.shards[self.layout.index(shard)].lock();
        let found = decode::retained(rows.epoch, value);
        let named = topic_of(name).ok_or_else(|| DecodeError::Name(name.to_owned()));
        match (found, named) {
            (Ok((position, message)), Ok((realm, topic))) => {
                let change = entry_id(position);
                // What is newer than the tail the stream will tell again.
                let is_news =
                    if change > tail { rows.ahead.note(name, change) } else { !rows.ahead.is_ahead(name) };
                if is_news {
                    let message = Some(&message);
                    let retained = Retained { realm: &realm, topic: &topic, position, message };
                    self.hand_on_retained(&mut rows, name, &retained);
                }
            }
            (Err(error), _) | (_, Err(error)) => unreadable(shard, &error),
        }
    }

    /// Topics that had a retained message and were not found.
    fn take_back_retained(&self, shard: Shard, tail: EntryId, found: &HashMap<Box<str>, u64>) {
        let mut rows = self.shards[self.layout.index(shard)].lock();
        let is_gone = |name: &str| !found.contains_key(name) && !rows.ahead.is_ahead(name);
        let gone = rows.known.iter().filter(|(name, _)| is_gone(name));
        let gone: Vec<(Box<str>, u64)> = gone.map(|(name, written)| (name.clone(), *written)).collect();
        for (name, written) in gone {
            // Above what it had: of a store that went back the tail may lie below that.
            let at = EntryId { ms: written, seq: u64::MAX }.max(tail);
            let position = Position { epoch: rows.epoch, ms: at.ms, seq: at.seq };
            if let Some((realm, topic)) = topic_of(&name) {
                let retained = Retained { realm: &realm, topic: &topic, position, message: None };
                self.hand_on_retained(&mut rows, &name, &retained);
            }
        }
    }
}

/// The changes that make a mirror know this session, whatever it knew before. A session of this node keeps what its
/// node knows; of another, subscriptions that are not there any more go.
fn changes(session: &Restored, node: Incarnation) -> Vec<SessionChange> {
    let Restored { fence, home, persistent, owner, .. } = session;
    let Fence { generation, .. } = *fence;
    let opened = SessionChange::Opened {
        fence: *fence,
        home: home.unwrap_or(0),
        persistent: *persistent,
        owner: owner.clone(),
        present: *home == Some(node),
    };
    let subscribed = session.subscriptions.iter().map(|(filter, options)| SessionChange::Subscribed {
        generation,
        filter: filter.clone(),
        options: *options,
    });
    let detached = home.is_none().then_some(SessionChange::Detached { fence: *fence });
    [opened].into_iter().chain(subscribed).chain(detached).collect()
}

type Page = (String, Vec<Result<Restored, DecodeError>>);

/// `{ next cursor, { session... } }`.
fn page(packed: &[u8]) -> Result<Page, DecodeError> {
    let list = decode::unpacked(packed)?;
    let mut values = decode::Values::of(&list)?;
    let next = values.text()?.to_owned();
    let sessions = values.list()?.rest();
    Ok((next, sessions.map(|session| decode::session(decode::Values::of(session)?)).collect()))
}
