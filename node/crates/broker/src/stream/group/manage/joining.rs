//! Joining a group at this node.

use std::sync::Arc;

use super::{GroupError, group_key};
use crate::broker::Broker;
use crate::limited::Limit;
use crate::stream::definition::NAME_BYTES_MAX;
use crate::stream::group::definition::HANDLER_PREFIX;
use crate::stream::group::hub::Hub;
use crate::stream::group::life::{KeeperMsg, LifeMsg};
use crate::stream::group::member::{Member, MemberOptions};

/// Most records a member may hold.
const IN_FLIGHT_MAX: u32 = 10_000;

impl Broker {
    /// Becomes a member of a group at this node.
    pub async fn join_group(
        &self,
        realm: &Arc<str>,
        stream: &str,
        group: &str,
        options: MemberOptions,
    ) -> Result<Member, GroupError> {
        check_member(&options)?;
        if group.starts_with(HANDLER_PREFIX) {
            return Err(GroupError::NoGroup { stream: stream.into(), name: group.into() });
        }
        self.join_handler_group(realm, stream, group, options).await
    }

    /// The same, also of a group whose members are workers of a handler's binding.
    pub(crate) async fn join_handler_group(
        &self,
        realm: &Arc<str>,
        stream: &str,
        group: &str,
        options: MemberOptions,
    ) -> Result<Member, GroupError> {
        if self.groups_known().is_leaving() {
            return Err(GroupError::ShuttingDown);
        }
        if self.stream_of(realm, stream).is_err() {
            self.store().caught_up().await?;
        }
        let found = self.stream_of(realm, stream)?;
        let key = group_key(&found, group);
        if self.groups_known().seen(&key).row.is_none() {
            // Another node has made it just now, perhaps.
            self.store().caught_up().await?;
        }
        let (_, row) = self.group_row(&key)?;
        let max = self.config().group_members_max;
        if !self.groups_known().enters(max) {
            self.limited(Limit::GroupMembers);
            return Err(GroupError::TooManyMembers { max });
        }
        let counts = self.groups_known().seen(&key).counts;
        let fresh = || Hub::new(key.clone(), row.clone(), counts.clone());
        let joined = self.groups_known().hub_for(&key, fresh, |hub| hub.join(options.clone()));
        let Some((hub, (member, bell), is_fresh)) = joined else { return Err(GroupError::ShuttingDown) };
        if is_fresh {
            self.groups_known().keeper.cast(KeeperMsg::Start(hub.clone()));
        }
        Ok(Member::new(self.clone(), hub, member, bell))
    }

    /// Makes a group's actor on this node panic, for the supervision tests.
    pub fn panic_group(&self, realm: &Arc<str>, stream: &str, group: &str) {
        let hubs = self.groups_known().hubs();
        let is_meant = |hub: &&Arc<Hub>| {
            hub.key.realm == *realm && *hub.key.stream == *stream && *hub.key.group == *group
        };
        hubs.iter().filter(is_meant).for_each(|hub| {
            hub.slot.cast(LifeMsg::Panic);
        });
    }
}

fn check_member(options: &MemberOptions) -> Result<(), GroupError> {
    if options.in_flight_max == 0 || options.in_flight_max > IN_FLIGHT_MAX {
        return Err(GroupError::Member { field: "in_flight_max", least: 1, most: IN_FLIGHT_MAX.into() });
    }
    if options.bytes_max == 0 {
        return Err(GroupError::Member { field: "bytes_max", least: 1, most: u64::MAX });
    }
    match options.name.len() > NAME_BYTES_MAX {
        true => Err(GroupError::Member { field: "name (bytes)", least: 0, most: NAME_BYTES_MAX as u64 }),
        false => Ok(()),
    }
}
