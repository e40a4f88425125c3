//! What a topic matched: each receiver once, with what its subscriptions together ask.

use std::sync::Arc;

use smallvec::SmallVec;
use weir_model::{Message, Properties, Qos};
use weir_store::SubscriptionOptions;

use super::Generations;
use super::members::{Member, Members, Selecting};
use super::selected::Selected;
use crate::binding::live::Live;
use crate::session::Session;
use crate::share::Group;
use crate::stream::{Stream, history};

/// Everybody who wants a topic.
pub struct Matched {
    /// If there are [`Matched::selects`], as if their selectors took everything: see [`Matched::of`].
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
    /// The history of the realm, which records some of its messages.
    pub history: Option<Arc<Stream>>,
    /// Bindings that are given it on the node where it enters.
    pub live: Box<[Arc<Live>]>,
    /// Some receivers select of what matches.
    pub(super) selected: Option<Box<Selected>>,
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

    /// Whether receivers select of what matches, so that it depends on the message who wants it.
    #[inline]
    pub fn selects(&self) -> bool {
        self.selected.is_some()
    }

    /// Who wants this message; `None` = all [`Matched::targets`].
    pub fn of(&self, message: &Arc<Message>) -> Option<Arc<[Target]>> {
        Some(self.selected.as_ref()?.of(message))
    }

    /// Every stream that a message is recorded in.
    pub fn recorded_in(&self, message: &Message) -> impl Iterator<Item = &Arc<Stream>> {
        let history = self.history_of(message.qos, message.properties.as_deref());
        self.captures.iter().chain(history)
    }

    /// The history of the realm, if it records a message of this kind.
    pub fn history_of(&self, qos: Qos, properties: Option<&Properties>) -> Option<&Arc<Stream>> {
        self.history.as_ref().filter(|_| history::records(qos, properties))
    }

    /// Whether a message of this kind is recorded in any stream.
    pub fn is_recorded(&self, qos: Qos, properties: Option<&Properties>) -> bool {
        !self.captures.is_empty() || self.history_of(qos, properties).is_some()
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
    pub history: Option<Arc<Stream>>,
    pub live: Box<[Arc<Live>]>,
}

/// Gathers members and merges them.
#[derive(Default)]
pub(super) struct Collector {
    members: Vec<Member>,
    selecting: Vec<Selecting>,
    groups: Vec<Arc<Group>>,
}

impl Collector {
    pub(super) fn add(&mut self, members: &Members) {
        self.members.extend(members.plain().iter().cloned());
        self.selecting.extend(members.selecting().iter().cloned());
        self.groups.extend(members.groups().iter().cloned());
    }

    pub(super) fn finish(
        mut self,
        generations: Generations,
        access_version: u64,
        Captured { captures, history, live }: Captured,
        may: &dyn Fn(&Session) -> bool,
    ) -> Matched {
        let selected = (!self.selecting.is_empty()).then(|| {
            let selecting = std::mem::take(&mut self.selecting);
            let kept = selecting.into_iter().filter(|selecting| may(&selecting.member.session)).collect();
            let plain = self.members.iter().filter(|member| may(&member.session)).cloned().collect();
            let selected = Box::new(Selected::new(plain, kept));
            self.members.extend(selected.members().cloned());
            selected
        });
        let mut denied = 0;
        let targets = merged(self.members, |session| {
            let may = may(session);
            denied += u64::from(!may);
            may
        });
        let queued = targets.iter().any(|t| t.session.stored.is_some() && t.qos > Qos::AtMostOnce)
            || !self.groups.is_empty();
        let groups = self.groups.into();
        Matched {
            targets,
            groups,
            generations,
            access_version,
            denied,
            queued,
            captures,
            history,
            live,
            selected,
        }
    }
}

/// Each session of these once, if it may have it.
pub(super) fn merged(mut members: Vec<Member>, mut may: impl FnMut(&Session) -> bool) -> Box<[Target]> {
    members.sort_by_key(|member| Arc::as_ptr(&member.session) as usize);
    let same = |a: &Member, b: &Member| Arc::ptr_eq(&a.session, &b.session);
    members.chunk_by(same).filter(|members| may(&members[0].session)).map(target).collect()
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
