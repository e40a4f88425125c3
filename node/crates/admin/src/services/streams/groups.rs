//! Groups of consumers: made, altered, moved, redriven and ended.

use std::sync::Arc;

use tonic::Code;
use weir_broker::stream::group::definition::{DefinitionError, GroupDefinition, HANDLER_PREFIX};
use weir_broker::stream::group::manage::{GroupError, GroupInfo};
use weir_broker::stream::group::redrive::Redrive;

use super::{Shared, define, realm_name};
use crate::error::{Refused, short};
use crate::page;
use crate::proto::{
    Group, GroupSpec, GroupState, StreamsAlterGroupRequest, StreamsAlterGroupResponse,
    StreamsCreateGroupRequest, StreamsCreateGroupResponse, StreamsDeleteGroupRequest,
    StreamsDeleteGroupResponse, StreamsListGroupsRequest, StreamsListGroupsResponse,
    StreamsRedriveGroupRequest, StreamsRedriveGroupResponse, StreamsSeekGroupRequest,
    StreamsSeekGroupResponse,
};

/// Which group a request means.
pub struct Named<'a> {
    realm: Arc<str>,
    stream: &'a str,
    group: &'a str,
}

impl<'a> Named<'a> {
    pub fn new(realm: &str, stream: &'a str, group: &'a str) -> Self {
        Self { realm: realm_name(realm), stream, group }
    }

    /// Whether there can be one.
    fn check(&self) -> Result<&Self, Refused> {
        define::name("stream", self.stream)?;
        define::name("group", self.group)?;
        Ok(self)
    }
}

/// What the audit log calls a group.
pub fn on(stream: &str, group: &str) -> String {
    format!("{}/{}", short(stream), short(group))
}

pub async fn create(
    shared: &Shared,
    request: StreamsCreateGroupRequest,
) -> Result<StreamsCreateGroupResponse, Refused> {
    let named = Named::new(&request.realm, &request.stream, &request.group);
    let Named { realm, stream, group } = named.check()?;
    let spec = request.spec.clone().unwrap_or_default();
    let mut definition =
        GroupDefinition { start: define::start("spec.start", spec.start.as_ref())?, ..Default::default() };
    alter_by(&mut definition, &spec, &[]);
    shared.broker.create_group(realm, stream, group, definition).await?;
    Ok(StreamsCreateGroupResponse { group: Some(one(shared, &named).await?) })
}

pub async fn alter(
    shared: &Shared,
    request: StreamsAlterGroupRequest,
) -> Result<StreamsAlterGroupResponse, Refused> {
    let named = Named::new(&request.realm, &request.stream, &request.group);
    let Named { realm, stream, group } = named.check()?;
    let mask = request.update_mask.clone().unwrap_or_default().paths;
    if !mask.iter().all(|path| FIELDS.contains(&path.as_str())) {
        let hint = FIELDS.join(", ");
        return Err(Refused::field("update_mask", "a group has no such field to alter", hint));
    }
    let spec = request.spec.clone().unwrap_or_default();
    let change = |definition: &mut GroupDefinition| alter_by(definition, &spec, &mask);
    let version = Some(request.version).filter(|version| *version > 0);
    shared.broker.alter_group_by(realm, stream, group, version, change).await?;
    Ok(StreamsAlterGroupResponse { group: Some(one(shared, &named).await?) })
}

pub async fn delete(
    shared: &Shared,
    request: &StreamsDeleteGroupRequest,
) -> Result<StreamsDeleteGroupResponse, Refused> {
    let named = Named::new(&request.realm, &request.stream, &request.group);
    let Named { realm, stream, group } = named.check()?;
    shared.broker.delete_group(realm, stream, group).await?;
    Ok(StreamsDeleteGroupResponse {})
}

pub async fn list(
    shared: &Shared,
    request: &StreamsListGroupsRequest,
) -> Result<StreamsListGroupsResponse, Refused> {
    let max = page::size(&shared.config, request.page_size)?;
    let after: Option<String> = page::behind(&request.page_token)?;
    define::name("stream", &request.stream)?;
    let realm = realm_name(&request.realm);
    let all = shared.broker.groups(&realm, &request.stream).await?;
    let is_meant = |info: &&GroupInfo| after.as_deref().is_none_or(|after| &*info.name > after);
    let mut meant = all.iter().filter(is_meant);
    let groups: Vec<_> = meant.by_ref().take(max).map(|info| told(&realm, &request.stream, info)).collect();
    let last = groups.last().filter(|_| meant.next().is_some());
    let next_page_token = last.map(|last| page::token(&last.name)).unwrap_or_default();
    Ok(StreamsListGroupsResponse { groups, next_page_token })
}

/// Pauses a group, or goes on with it.
pub async fn pause(shared: &Shared, named: Named<'_>, is_paused: bool) -> Result<Group, Refused> {
    let Named { realm, stream, group } = named.check()?;
    shared.broker.pause_group(realm, stream, group, is_paused).await?;
    one(shared, &named).await
}

pub async fn seek(
    shared: &Shared,
    request: &StreamsSeekGroupRequest,
) -> Result<StreamsSeekGroupResponse, Refused> {
    let named = Named::new(&request.realm, &request.stream, &request.group);
    let Named { realm, stream, group } = named.check()?;
    if request.start.as_ref().is_none_or(|start| start.from.is_none()) {
        return Err(Refused::field("start", "it is not set", "where the group is to go on"));
    }
    let start = define::start("start", request.start.as_ref())?;
    shared.broker.seek_group(realm, stream, group, start).await?;
    Ok(StreamsSeekGroupResponse {})
}

pub async fn redrive(
    shared: &Shared,
    request: &StreamsRedriveGroupRequest,
) -> Result<StreamsRedriveGroupResponse, Refused> {
    let named = Named::new(&request.realm, &request.stream, &request.group);
    if !request.group.starts_with(HANDLER_PREFIX) {
        named.check()?;
    }
    let found = found(shared, &named).await?;
    let Some(dead) = found.definition.dead_letter else {
        let message = "the group has no dead-letter stream";
        return Err(Refused {
            field: "group",
            ..Refused::new(Code::FailedPrecondition, "no_dead_letters", message)
        });
    };
    let position = |field, text: &str| match text {
        "" => Ok(None),
        text => define::position(field, text).map(Some),
    };
    let wanted = Redrive {
        max: request.records_max,
        of: (!request.all_groups).then(|| (named.stream.into(), named.group.into())),
        from: position("from_position", &request.from_position)?,
        until: position("until_position", &request.until_position)?,
    };
    if wanted.from.zip(wanted.until).is_some_and(|(from, until)| from > until) {
        let hint = "at or behind from_position";
        return Err(Refused::field("until_position", "it is before the first one", hint));
    }
    let done = shared.broker.redrive(&named.realm, &dead, &wanted).await?;
    Ok(StreamsRedriveGroupResponse { redriven: done.published, passed_over: done.passed_over })
}

/// How far the groups of a stream are.
pub async fn states(shared: &Shared, realm: &Arc<str>, stream: &str) -> Result<Vec<GroupState>, Refused> {
    let groups = shared.broker.groups(realm, stream).await?;
    Ok(groups.iter().map(|info| state(shared, realm, stream, info)).collect())
}

/// How far a group is.
pub fn state(shared: &Shared, realm: &str, stream: &str, info: &GroupInfo) -> GroupState {
    let attempts = |at: &weir_broker::stream::group::manage::GroupPartition| {
        at.progress.as_ref().map_or(0, |progress| progress.attempts.len() as u64)
    };
    GroupState {
        group: Some(told(realm, stream, info)),
        lag: info.partitions.iter().map(|at| at.lag()).sum(),
        failed: info.partitions.iter().map(attempts).sum(),
        moving: info.is_moving,
        member_nodes: info.nodes.iter().map(|node| super::info::node(shared, *node)).collect(),
        lost: info.lost,
        dropped: info.dropped,
        dead_lettered: info.dead_lettered,
        went_back: info.went_back,
        stalled: info.stalled,
    }
}

async fn one(shared: &Shared, named: &Named<'_>) -> Result<Group, Refused> {
    Ok(told(&named.realm, named.stream, &found(shared, named).await?))
}

async fn found(shared: &Shared, named: &Named<'_>) -> Result<GroupInfo, Refused> {
    let all = shared.broker.groups(&named.realm, named.stream).await?;
    let found = all.into_iter().find(|info| *info.name == *named.group);
    found.ok_or_else(|| Refused::not_found("group", "the stream has no such group"))
}

/// Fields of a group that can be altered.
const FIELDS: [&str; 6] =
    ["ack_wait_ms", "deliveries_max", "ack_pending_max", "backoff_ms", "dead_letter", "lag_stall_ms"];

/// Changes what the mask names; an empty one names everything. What is not set is as by default.
fn alter_by(definition: &mut GroupDefinition, spec: &GroupSpec, mask: &[String]) {
    let default = GroupDefinition::default();
    let is_named = |field: &str| mask.is_empty() || mask.iter().any(|path| path == field);
    if is_named("ack_wait_ms") {
        definition.ack_wait_ms = spec.ack_wait_ms.unwrap_or(default.ack_wait_ms);
    }
    if is_named("deliveries_max") {
        definition.deliveries_max = spec.deliveries_max.unwrap_or(default.deliveries_max);
    }
    if is_named("ack_pending_max") {
        definition.ack_pending_max = spec.ack_pending_max.unwrap_or(default.ack_pending_max);
    }
    if is_named("backoff_ms") {
        definition.backoff_ms.clone_from(&spec.backoff_ms);
    }
    if is_named("dead_letter") {
        definition.dead_letter = Some(&*spec.dead_letter).filter(|name| !name.is_empty()).map(Arc::from);
    }
    if is_named("lag_stall_ms") {
        definition.lag_stall_ms = spec.lag_stall_ms.unwrap_or(default.lag_stall_ms);
    }
}

fn told(realm: &str, stream: &str, info: &GroupInfo) -> Group {
    let definition = &info.definition;
    let spec = GroupSpec {
        start: Some(define::told_start(definition.start)),
        ack_wait_ms: Some(definition.ack_wait_ms),
        deliveries_max: Some(definition.deliveries_max),
        ack_pending_max: Some(definition.ack_pending_max),
        backoff_ms: definition.backoff_ms.clone(),
        dead_letter: definition.dead_letter.as_deref().unwrap_or_default().to_owned(),
        lag_stall_ms: Some(definition.lag_stall_ms),
    };
    Group {
        realm: realm.to_owned(),
        stream: stream.to_owned(),
        name: info.name.to_string(),
        spec: Some(spec),
        paused: definition.is_paused,
        version: info.version,
    }
}

impl From<GroupError> for Refused {
    fn from(error: GroupError) -> Self {
        let message = error.to_string();
        match error {
            GroupError::Definition(problem) => {
                Self { field: field(&problem), ..Self::new(Code::InvalidArgument, "bad_field", message) }
            }
            GroupError::Member { .. } => {
                Self { field: "join", ..Self::new(Code::InvalidArgument, "bad_field", message) }
            }
            GroupError::NoStream { .. } => Self::not_found("stream", message),
            GroupError::NoGroup { .. } => Self::not_found("group", message),
            GroupError::Exists { .. } => {
                Self { field: "group", ..Self::new(Code::AlreadyExists, "exists", message) }
                    .hint("alter it, or take another name")
            }
            GroupError::Changed { .. } => {
                Self { field: "version", ..Self::new(Code::Aborted, "changed", message) }
                    .hint("list it again, and alter what is there now")
            }
            GroupError::TooMany { .. } | GroupError::TooManyMembers { .. } => {
                Self::new(Code::ResourceExhausted, "too_many", message)
            }
            GroupError::Held { .. } => Self::new(Code::Unavailable, "held", message)
                .hint("it is moved as soon as that node has given it back, or its lease is over"),
            GroupError::Store(refusal) => refusal.into(),
            GroupError::Read(error) => error.into(),
            GroupError::ShuttingDown => Self::new(Code::Unavailable, "not_here", message),
        }
    }
}

fn field(problem: &DefinitionError) -> &'static str {
    match problem {
        DefinitionError::NameLength | DefinitionError::NameCharacter => "group",
        DefinitionError::Range { field, .. } => match *field {
            "ack_wait_ms" => "spec.ack_wait_ms",
            "ack_pending_max" => "spec.ack_pending_max",
            "lag_stall_ms" => "spec.lag_stall_ms",
            "backoff_ms" => "spec.backoff_ms",
            other => other,
        },
        DefinitionError::BackoffSteps { .. } => "spec.backoff_ms",
        DefinitionError::DeadLetterItself | DefinitionError::DeadLetterUnknown { .. } => "spec.dead_letter",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_mask_names_is_altered_and_what_is_not_set_is_the_default() {
        let before =
            GroupDefinition { ack_wait_ms: 5, deliveries_max: 0, is_paused: true, ..Default::default() };
        let spec = GroupSpec { deliveries_max: Some(3), dead_letter: "d".to_owned(), ..GroupSpec::default() };
        let mut now = before.clone();
        alter_by(&mut now, &spec, &["dead_letter".to_owned()]);
        assert_eq!((now.ack_wait_ms, now.deliveries_max, now.dead_letter.as_deref()), (5, 0, Some("d")));
        let mut now = before;
        alter_by(&mut now, &spec, &[]);
        assert_eq!((now.ack_wait_ms, now.deliveries_max, now.is_paused), (30_000, 3, true));
    }
}
