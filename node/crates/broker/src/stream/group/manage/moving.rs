//! Moving a group: everybody gives back what they have, and it goes on somewhere else.

use std::sync::Arc;
use std::time::Duration;

use smallvec::smallvec;
use weir_store::{Expect, Outcome, PartitionKey, PartitionOp, Start, Step};

use super::{GroupError, group_key};
use crate::broker::Broker;
use crate::clock;
use crate::stream::group::catalog::GroupKey;
use crate::stream::group::definition::{Moving, Row};

/// How long a move waits until all nodes have given back their places.
const MOVE_WAIT: Duration = Duration::from_secs(15);

/// How long until a place is asked for again that another node still holds.
const MOVE_AGAIN: Duration = Duration::from_millis(50);

impl Broker {
    /// Moves a group: its members give back what they hold, and go on from there.
    pub async fn seek_group(
        &self,
        realm: &Arc<str>,
        stream: &str,
        group: &str,
        start: Start,
    ) -> Result<(), GroupError> {
        let stream = self.stream_of(realm, stream)?;
        let key = group_key(&stream, group);
        let moving = Moving { to: start, since: clock::unix() };
        self.change_group(&key, |row| row.moving = Some(moving)).await?;
        self.finish_move(&key).await
    }

    /// Moves the places of a group where its row says, when nobody holds them any more, and lets members go on.
    pub(in super::super) async fn finish_move(&self, key: &GroupKey) -> Result<(), GroupError> {
        let begun = tokio::time::Instant::now();
        let (version, row) = self.group_row(key)?;
        let Some(moving) = row.moving else { return Ok(()) };
        let stream = self.stream_of(&key.realm, &key.stream)?;
        let mut left: Vec<_> = stream.partitions().collect();
        loop {
            let seek = |at: &PartitionKey| {
                let op = PartitionOp::Seek { group: key.group.clone(), start: moving.to };
                Step::Partition { key: at.clone(), ops: smallvec![op] }
            };
            let answer = self.submit(left.iter().map(seek).collect()).await;
            let mut held = Vec::new();
            let mut by = 0;
            for (at, step) in left.into_iter().zip(answer) {
                if let Some(Outcome::Held { by: owner }) = step?.first() {
                    (by, _) = (*owner, held.push(at));
                }
            }
            left = held;
            if left.is_empty() {
                break;
            }
            if begun.elapsed() >= MOVE_WAIT {
                return Err(GroupError::Held { by });
            }
            tokio::time::sleep(MOVE_AGAIN).await;
        }
        let row = Row { moving: None, ..(*row).clone() };
        if self.put_group(key, &row, Expect::Version(version)).await? {
            return Ok(());
        }
        // Altered meanwhile, or finished by another node.
        self.change_group(key, |row| row.moving = row.moving.filter(|other| *other != moving)).await
    }
}
