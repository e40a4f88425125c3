//! Sessions whose connection died with its node: what is done for them, once.

use std::time::Duration;

use smallvec::SmallVec;
use weir_model::UnixMillis;
use weir_store::{Detach, Due, Outcome, Restored, SessionKey, SessionKind, SessionOp, Step};

use crate::broker::Broker;
use crate::clock;

/// Sessions settled in one submission.
const SETTLED_AT_ONCE: usize = 512;

/// How long the others give the node whose turn it is.
const TURN: Duration = Duration::from_secs(1);

/// Timers that are looked at for what is left.
const LOOKED_AT: usize = 1024;

type Ops = SmallVec<[SessionOp; 1]>;

impl Broker {
    /// Sessions of nodes that have lost their leases: the live node with the lowest incarnation deals with them, the others
    /// with what it leaves. So each is dealt with by one, as long as nodes see the same.
    pub(crate) async fn settle_orphans_in_turn(&self, orphans: Vec<Restored>) {
        let first = self.store().nodes().iter().map(|node| node.incarnation).min();
        if first.is_none_or(|first| first == self.incarnation()) {
            return self.settle_orphans(orphans).await;
        }
        if !orphans.is_empty() {
            let broker = self.clone();
            self.runtime().spawn(async move { broker.settle_left_orphans(orphans).await });
        }
    }

    /// Those that are still there when the node whose turn it is has had its time.
    async fn settle_left_orphans(&self, orphans: Vec<Restored>) {
        tokio::time::sleep(TURN).await;
        let Ok(due) = self.store().due(clock::unix(), orphans.len().max(LOOKED_AT)).await else { return };
        let is_left = |orphan: &Restored| {
            let is_same = |other: &Restored| other.key == orphan.key && other.fence == orphan.fence;
            due.iter().any(|due| matches!(due, Due::Orphan(other) if is_same(other)))
        };
        self.settle_orphans(orphans.into_iter().filter(is_left).collect()).await;
    }

    /// As after a start of such a node.
    async fn settle_orphans(&self, orphans: Vec<Restored>) {
        let known: Vec<_> = orphans.iter().map(|orphan| (orphan.key.clone(), orphan.owner.clone())).collect();
        let ended = self.settle_restored(orphans).await;
        for (key, owner) in known {
            if ended.contains(&key) {
                self.mourn(&key, owner.as_ref());
            }
            let Some(session) = self.sessions().find(&key.realm, &key.name) else { continue };
            // Shared messages that its queue holds are for the members that are left.
            if let Some(realm) = self.realm(&key.realm).filter(|_| !session.is_online()) {
                session.set_home(None);
                self.release_shared(&realm, &session);
            }
        }
    }

    /// Sessions whose connection died with the node before, and what all of them still owe. Returns those that are over.
    pub(crate) async fn settle_restored(
        &self,
        restored: Vec<Restored>,
    ) -> std::collections::HashSet<SessionKey> {
        let now = clock::unix();
        let (mut steps, mut ended) = (Vec::new(), std::collections::HashSet::new());
        for row in restored {
            if row.key.kind == SessionKind::Client
                && let Some(ops) = settlement(&row, now)
            {
                steps.push((row.key.clone(), ops));
            }
            for entry in row.outbox {
                self.publish_owed(row.key.clone(), entry);
            }
        }
        for chunk in steps.chunks(SETTLED_AT_ONCE) {
            let step = |(key, ops): &(SessionKey, Ops)| Step::Session { key: key.clone(), ops: ops.clone() };
            let answer = self.submit(chunk.iter().map(step).collect()).await;
            for ((key, ops), outcomes) in chunk.iter().zip(answer) {
                if outcomes.is_ok() && matches!(ops.last(), Some(SessionOp::End { .. })) {
                    ended.insert(key.clone());
                }
                for outcome in outcomes.into_iter().flatten() {
                    if let Outcome::Fired(Some(entry)) = outcome {
                        self.publish_owed(key.clone(), entry);
                    }
                }
            }
        }
        ended
    }
}

/// What a session's row wants after a start: its connection is gone, so its clocks start, or it ends.
fn settlement(row: &Restored, now: UnixMillis) -> Option<Ops> {
    let generation = row.fence.generation;
    if !row.persistent {
        let end = SessionOp::End { generation, fence: Some(row.fence.fence) };
        let ops = [SessionOp::FireWill { generation, fence: Some(row.fence.fence) }, end];
        return (generation > 0).then(|| ops.into_iter().collect());
    }
    if row.detached_at.is_some() {
        return None;
    }
    let seconds = |s: u32| Duration::from_secs(u64::from(s));
    let forever = row.expiry_seconds == u32::MAX;
    let detach = Detach {
        at: now,
        sent: row.queue.tail,
        expires_at: (!forever).then(|| now.after(seconds(row.expiry_seconds))),
        will_at: row.has_will.then(|| now.after(seconds(row.will_delay_seconds))),
    };
    Some([SessionOp::Detach { fence: row.fence, detach }].into_iter().collect())
}
