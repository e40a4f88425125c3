//! Redrive: dead letters are published again to the topics they came by.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use weir_model::{Message, Position};
use weir_store::{Mark, PartitionKey, Start};

use super::dead::{self, alive, redriven_id};
use super::definition::{ACK_PENDING_MAX, GroupDefinition};
use super::manage::GroupError;
use super::member::{Ended, Member, MemberOptions};
use crate::broker::Broker;

/// The group that reads dead letters for it.
pub const REDRIVE_GROUP: &str = "weir-redrive";

/// How long it waits for records of which it knows that they are there, before it looks again how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Bytes of records that are passed over.
const PASSED_BYTES_MAX: u64 = 64 << 20;

/// Looks in vain before it gives up.
const IDLE_MAX: u32 = 10;

/// Which dead letters are published again; by default all that lie there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redrive {
    /// Most records; 0 = no limit.
    pub max: u64,
    /// Only those of this stream and group. Letters of nodes that did not note the group are those of all its groups.
    pub of: Option<(Arc<str>, Arc<str>)>,
    /// Only those at this position in the dead-letter stream, or behind it.
    pub from: Option<Position>,
    /// Only those at this position, or before it.
    pub until: Option<Position>,
}

/// What a redrive has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Redriven {
    pub published: u64,
    /// Records that were looked at, and stay: they were not meant.
    pub passed_over: u64,
}

impl Redrive {
    fn means(&self, mark: &Mark, message: &Message) -> bool {
        let is_from = self.from.is_none_or(|from| mark.position >= from);
        let is_until = self.until.is_none_or(|until| mark.position <= until);
        is_from && is_until && self.of.as_ref().is_none_or(|(stream, group)| is_of(message, stream, group))
    }
}

/// Whether a dead letter says that it is of this group. What its publisher said under these names stands before.
fn is_of(message: &Message, stream: &str, group: &str) -> bool {
    let user = message.properties.as_deref().map(|properties| properties.user.as_slice()).unwrap_or_default();
    let says = |name: &str| user.iter().rfind(|(said, _)| **said == *name).map(|(_, value)| &**value);
    says(dead::STREAM) == Some(stream) && says(dead::GROUP).is_none_or(|said| said == group)
}

impl Broker {
    /// Publishes what lies in a dead-letter stream at this moment and is meant, each record once more to its topic. What
    /// is not meant, or cannot be published, stays for the next time. Of each partition at most
    /// [`ACK_PENDING_MAX`] records that are not meant are passed over.
    pub async fn redrive(
        &self,
        realm: &Arc<str>,
        dead: &str,
        wanted: &Redrive,
    ) -> Result<Redriven, GroupError> {
        let definition = GroupDefinition {
            start: Start::Earliest,
            deliveries_max: 0,
            ack_pending_max: ACK_PENDING_MAX,
            ..GroupDefinition::default()
        };
        match self.create_group(realm, dead, REDRIVE_GROUP, definition).await {
            Ok(()) => {}
            Err(GroupError::Exists { .. }) => {
                // Made when nothing was passed over.
                let widen = |definition: &mut GroupDefinition| definition.ack_pending_max = ACK_PENDING_MAX;
                self.alter_group_by(realm, dead, REDRIVE_GROUP, None, widen).await?;
            }
            Err(error) => return Err(error),
        }
        let lag = self.redrive_lag(realm, dead).await?;
        let left = if wanted.max > 0 { lag.min(wanted.max) } else { lag };
        let options = MemberOptions {
            in_flight_max: ACK_PENDING_MAX,
            bytes_max: PASSED_BYTES_MAX,
            ..Default::default()
        };
        let (mut passed, mut done, mut idle) = (HashSet::new(), 0, 0);
        let mut member = self.join_group(realm, dead, REDRIVE_GROUP, options).await?;
        while done < left && idle < IDLE_MAX {
            let most = left - done;
            match self.redrive_batch(realm, dead, &mut member, wanted, most, &mut passed).await {
                Ok(0) if self.redrive_lag(realm, dead).await? <= passed.len() as u64 => break,
                Ok(published) => {
                    done += published;
                    idle = if published > 0 { 0 } else { idle + 1 };
                }
                Err(_) => break,
            }
        }
        member.close().await;
        Ok(Redriven { published: done, passed_over: passed.len() as u64 })
    }

    async fn redrive_batch(
        &self,
        realm: &Arc<str>,
        dead: &str,
        member: &mut Member,
        wanted: &Redrive,
        most: u64,
        passed: &mut HashSet<(u32, Mark)>,
    ) -> Result<u64, Ended> {
        let Ok(batch) = tokio::time::timeout(LOOK_AGAIN, member.next()).await else { return Ok(0) };
        let space = self.realm_or_new(realm);
        let (mut acks, mut over) = (Vec::new(), Vec::new());
        for delivered in batch?.records {
            let (record, receipt) = (&delivered.record, delivered.receipt);
            let partition = receipt.partition;
            if !wanted.means(&record.mark, &record.message) {
                // The member keeps it until it leaves, so that it does not come again at once.
                passed.insert((partition, record.mark));
                continue;
            }
            let key = PartitionKey { realm: realm.clone(), stream: dead.into(), generation: 0, partition };
            let message = Arc::new(alive(&record.message));
            let may_go = (acks.len() as u64) < most;
            match may_go && self.publish(&space, &message, Some(redriven_id(&key, record))).await {
                true => acks.push(receipt),
                false => over.push(receipt),
            }
        }
        for receipt in over {
            // Taken back meanwhile, it comes again as well.
            let _ = member.nack(receipt, Some(LOOK_AGAIN));
        }
        member.ack_sync(&acks).await;
        Ok(acks.len() as u64)
    }

    /// Dead letters that were not published again.
    async fn redrive_lag(&self, realm: &Arc<str>, dead: &str) -> Result<u64, GroupError> {
        let groups = self.groups(realm, dead).await?;
        let group = groups.iter().find(|group| &*group.name == REDRIVE_GROUP);
        Ok(group.map_or(0, |group| group.partitions.iter().map(|partition| partition.lag()).sum()))
    }
}
