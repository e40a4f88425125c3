//! Redrive: dead letters are published again to the topics they came by.

use std::sync::Arc;
use std::time::Duration;

use weir_store::{PartitionKey, Start};

use super::dead::{alive, redriven_id};
use super::definition::GroupDefinition;
use super::manage::GroupError;
use super::member::{Ended, Member, MemberOptions};
use crate::broker::Broker;

/// The group that reads dead letters for it.
pub const REDRIVE_GROUP: &str = "weir-redrive";

/// How long it waits for records of which it knows that they are there, before it looks again how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Looks in vain before it gives up.
const IDLE_MAX: u32 = 10;

impl Broker {
    /// Publishes what lies in a dead-letter stream at this moment, each record once more to its topic, and no more than
    /// `max` (0 = all). What cannot be published stays for the next time. Returns how many were.
    pub async fn redrive(&self, realm: &Arc<str>, dead: &str, max: u64) -> Result<u64, GroupError> {
        let definition =
            GroupDefinition { start: Start::Earliest, deliveries_max: 0, ..GroupDefinition::default() };
        match self.create_group(realm, dead, REDRIVE_GROUP, definition).await {
            Ok(()) | Err(GroupError::Exists { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut left = self.redrive_lag(realm, dead).await?;
        left = if max > 0 { left.min(max) } else { left };
        let (mut done, mut idle) = (0, 0);
        let mut member = self.join_group(realm, dead, REDRIVE_GROUP, MemberOptions::default()).await?;
        while done < left && idle < IDLE_MAX {
            match self.redrive_batch(realm, dead, &mut member, left - done).await {
                Ok(0) if self.redrive_lag(realm, dead).await? == 0 => break,
                Ok(published) => {
                    done += published;
                    idle = if published > 0 { 0 } else { idle + 1 };
                }
                Err(_) => break,
            }
        }
        member.close().await;
        Ok(done)
    }

    async fn redrive_batch(
        &self,
        realm: &Arc<str>,
        dead: &str,
        member: &mut Member,
        max: u64,
    ) -> Result<u64, Ended> {
        let Ok(batch) = tokio::time::timeout(LOOK_AGAIN, member.next()).await else { return Ok(0) };
        let space = self.realm_or_new(realm);
        let (mut acks, mut over) = (Vec::new(), Vec::new());
        for delivered in batch?.records {
            let (record, receipt) = (&delivered.record, delivered.receipt);
            let partition = receipt.partition;
            let key = PartitionKey { realm: realm.clone(), stream: dead.into(), generation: 0, partition };
            let message = Arc::new(alive(&record.message));
            let is_wanted = (acks.len() as u64) < max;
            match is_wanted && self.publish(&space, &message, Some(redriven_id(&key, record))).await {
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
