//! What a topic matched: each receiver once, with what its subscriptions together ask.

use std::sync::Arc;

use smallvec::SmallVec;
use weir_model::Qos;
use weir_store::SubscriptionOptions;

use super::Generations;
use super::members::{Member, Members};
use crate::binding::live::Live;
use crate::session::Session;
use crate::share::Group;
use crate::stream::Stream;

/// Everybody who wants a topic.
pub struct Matched {
    pub targets: Box<[Target]>,
    pub groups: Box<[Arc<Group>]>,
    pub generations: Generations,
    /// The version of access it was made with.
    pub access_version: u64,
    /// Receivers who want it and may not have it.
    pub denied: u64,
    /// Some receiver's QoS 1 and 2 copies go through the store.
    pub queued: bool,
    /// Streams that capture the topic.
    pub captures: Box<[Arc<Stream>]>,
    /// Bindings that are given it on the node where it enters.
    pub live: Box<[Arc<Live>]>,
}

/// One receiver; its overlapping subscriptions merged (MQTT-3.3.4-2).
#[derive(Clone)]
pub struct Target {
    pub session: Arc<Session>,
    /// The highest of the subscriptions'.
    pub qos: Qos,
    pub retain_as_published: bool,
    pub subscription_ids: SmallVec<[u32; 1]>,
    /// What holds when the receiver is the publisher itself: set if any subscription is no-local.
    own: Own,
}

#[derive(Clone)]
enum Own {
    Same,
    Skip,
    Instead(Box<Target>),
}

impl Matched {
    pub fn is_empty(&self) -> bool {
        let has_receivers = !self.targets.is_empty() || !self.groups.is_empty() || self.denied > 0;
        !has_receivers && self.captures.is_empty() && self.live.is_empty()
    }
}

impl Target {
    /// The target as it counts for a message of `publisher`; `None` = no-local (MQTT-3.8.3-3).
    #[inline]
    pub fn for_publisher(&self, publisher: Option<&Arc<Session>>) -> Option<&Target> {
        match (&self.own, publisher) {
            (Own::Same, _) | (_, None) => Some(self),
            (_, Some(publisher)) if !Arc::ptr_eq(publisher, &self.session) => Some(self),
            (Own::Skip, _) => None,
            (Own::Instead(target), _) => Some(target),
        }
    }

    fn merge(session: &Arc<Session>, options: &[&SubscriptionOptions]) -> Target {
        Target {
            session: session.clone(),
            qos: options.iter().map(|o| o.qos).max().unwrap_or_default(),
            retain_as_published: options.iter().any(|o| o.retain_as_published),
            subscription_ids: options.iter().filter_map(|o| o.subscription_id).collect(),
            own: Own::Same,
        }
    }
}

/// What takes a topic besides receivers.
pub(super) struct Captured {
    pub captures: Box<[Arc<Stream>]>,
    pub live: Box<[Arc<Live>]>,
}

/// Gathers members and merges them.
#[derive(Default)]
pub(super) struct Collector {
    members: Vec<Member>,
    groups: Vec<Arc<Group>>,
}

impl Collector {
    pub(super) fn add(&mut self, members: &Members) {
        self.members.extend(members.plain().iter().cloned());
        self.groups.extend(members.groups().iter().cloned());
    }

    pub(super) fn finish(
        mut self,
        generations: Generations,
        access_version: u64,
        Captured { captures, live }: Captured,
        may: &dyn Fn(&Session) -> bool,
    ) -> Matched {
        self.members.sort_by_key(|member| Arc::as_ptr(&member.session) as usize);
        let same = |a: &Member, b: &Member| Arc::ptr_eq(&a.session, &b.session);
        let mut denied = 0;
        let allowed = |members: &&[Member]| {
            let may = may(&members[0].session);
            denied += u64::from(!may);
            may
        };
        let targets: Box<[Target]> = self.members.chunk_by(same).filter(allowed).map(target).collect();
        let queued = targets.iter().any(|t| t.session.stored.is_some() && t.qos > Qos::AtMostOnce)
            || !self.groups.is_empty();
        let groups = self.groups.into();
        Matched { targets, groups, generations, access_version, denied, queued, captures, live }
    }
}

fn target(members: &[Member]) -> Target {
    let session = &members[0].session;
    let all: SmallVec<[&SubscriptionOptions; 4]> = members.iter().map(|m| &m.options).collect();
    let mut target = Target::merge(session, &all);
    if all.iter().any(|options| options.no_local) {
        let others: SmallVec<[&SubscriptionOptions; 4]> =
            all.iter().copied().filter(|options| !options.no_local).collect();
        target.own = match others.as_slice() {
            [] => Own::Skip,
            others => Own::Instead(Box::new(Target::merge(session, others))),
        };
    }
    target
}
