//! Messages of publish and subscribe.

use crate::wamp::element::{Element, Name, Wrong};
use crate::wamp::message::body::{Items, Tail, message, options};
use crate::wamp::writer::Writer;
use crate::wamp::{DecodeError, Id, Payload, Raw, Text};

message! {
    /// `[PUBLISH, Request|id, Options|dict, Topic|uri, Args|list, Kwargs|dict]`
    Publish<'a> {
        request: Id,
        options: PublishOptions<'a>,
        topic: Text<'a>,
    } tail {
        payload: Payload<'a>,
    }
}

options! {
    /// What a publisher wants, beyond the event being published.
    PublishOptions<'a> {
        /// Whether the publisher wants PUBLISHED or ERROR.
        "acknowledge" acknowledge: bool,
        /// Whether the publisher itself is left out; absent means yes.
        "exclude_me" exclude_me: Option<bool>,
        /// Sessions that do not get the event.
        "exclude" exclude: Option<Vec<Id>>,
        "exclude_authid" exclude_authid: Option<Vec<Text<'a>>>,
        "exclude_authrole" exclude_authrole: Option<Vec<Text<'a>>>,
        /// Sessions that may get the event, and no other.
        "eligible" eligible: Option<Vec<Id>>,
        "eligible_authid" eligible_authid: Option<Vec<Text<'a>>>,
        "eligible_authrole" eligible_authrole: Option<Vec<Text<'a>>>,
        /// Whether subscribers are told who published.
        "disclose_me" disclose_me: bool,
        "retain" retain: bool,
        /// Publish only if the retained value meets it; null means that there is none (fox-wamp).
        "when" when: Option<Raw<'a>>,
        /// Wait until `when` is met (fox-wamp).
        "watch" watch: bool,
        /// The value the topic gets when the session ends; null deletes it (fox-wamp).
        "will" will: Option<Raw<'a>>,
        /// Whether the event is kept as history (fox-wamp).
        "trace" trace: bool,
        "ppt_scheme" ppt_scheme: Option<Text<'a>>,
        "ppt_serializer" ppt_serializer: Option<Text<'a>>,
        "ppt_cipher" ppt_cipher: Option<Text<'a>>,
        "ppt_keyid" ppt_keyid: Option<Text<'a>>,
    }
}

impl<'a> PublishOptions<'a> {
    /// Reads options that stand elsewhere than in a PUBLISH; `None` = they are no map, or one has a value that it cannot
    /// have.
    pub fn of(raw: Raw<'a>) -> Option<PublishOptions<'a>> {
        Element::read(raw).ok()
    }
}

message! {
    /// `[PUBLISHED, PUBLISH.Request|id, Publication|id]`
    Published {
        request: Id,
        publication: Id,
    }
}

message! {
    /// `[SUBSCRIBE, Request|id, Options|dict, Topic|uri]`
    Subscribe<'a> {
        request: Id,
        options: SubscribeOptions<'a>,
        topic: Text<'a>,
    }
}

options! {
    /// Which events a subscriber wants, and from when on.
    SubscribeOptions<'a> {
        "match" match_policy: Option<Match>,
        /// The retained event first, then live ones.
        "get_retained" get_retained: bool,
        /// Retained events and what they become (fox-wamp).
        "retained" retained: bool,
        /// Retained events, then live ones (fox-wamp).
        "retainedState" retained_state: bool,
        /// Only events whose body has these properties (fox-wamp).
        "filter" filter: Option<Raw<'a>>,
        /// History behind this publication, a number or a text, then live events (fox-wamp).
        "after" after: Option<Raw<'a>>,
        /// Only what there is now, then the subscription ends (fox-wamp).
        "snapshot" snapshot: bool,
    }
}

/// How the URI of a subscription or registration is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Match {
    #[default]
    Exact,
    /// Every URI that begins with these characters.
    Prefix,
    /// An empty component stands for any one.
    Wildcard,
}

impl Name for Match {
    const WANTED: &'static str = "exact, prefix or wildcard";
    const NAMES: &'static [(&'static str, Match)] =
        &[("exact", Match::Exact), ("prefix", Match::Prefix), ("wildcard", Match::Wildcard)];
}

message! {
    /// `[SUBSCRIBED, SUBSCRIBE.Request|id, Subscription|id]`
    Subscribed {
        request: Id,
        subscription: Id,
    }
}

message! {
    /// `[UNSUBSCRIBE, Request|id, SUBSCRIBED.Subscription|id]`
    Unsubscribe {
        request: Id,
        subscription: Id,
    }
}

message! {
    /// `[UNSUBSCRIBED, UNSUBSCRIBE.Request|id]`, or with request 0 and details when the router ended it.
    Unsubscribed<'a> {
        request: Answered,
    } tail {
        revoked: Option<SubscriptionRevoked<'a>>,
    }
}

options! {
    /// Which subscription the router ended, and why.
    SubscriptionRevoked<'a> {
        "subscription" subscription: Option<Id>,
        "reason" reason: Option<Text<'a>>,
    }
}

message! {
    /// `[EVENT, SUBSCRIBED.Subscription|id, PUBLISHED.Publication|id, Details|dict, Args|list, Kwargs|dict]`
    Event<'a> {
        subscription: Id,
        publication: Id,
        details: EventDetails<'a>,
    } tail {
        payload: Payload<'a>,
    }
}

impl Event<'_> {
    /// Everything behind the subscription, for [`crate::wamp::SharedEvent`].
    pub(in crate::wamp) fn write_behind_subscription(&self, writer: &mut Writer<'_>) {
        self.publication.write(writer);
        self.details.write(writer);
        Tail::write(&self.payload, writer);
    }
}

options! {
    /// Where an event is from.
    EventDetails<'a> {
        /// The topic published to, for subscriptions of patterns.
        "topic" topic: Option<Text<'a>>,
        "publisher" publisher: Option<Id>,
        "publisher_authid" publisher_authid: Option<Text<'a>>,
        "publisher_authrole" publisher_authrole: Option<Text<'a>>,
        "trustlevel" trustlevel: Option<u64>,
        /// Whether it was kept from before.
        "retained" retained: bool,
        "ppt_scheme" ppt_scheme: Option<Text<'a>>,
        "ppt_serializer" ppt_serializer: Option<Text<'a>>,
        "ppt_cipher" ppt_cipher: Option<Text<'a>>,
        "ppt_keyid" ppt_keyid: Option<Text<'a>>,
    }
}

/// The request an answer belongs to; `None`, on the wire 0, when nobody asked.
pub type Answered = Option<Id>;

impl<'a> Element<'a> for Answered {
    const WANTED: &'static str = "an id or 0";

    fn read(raw: Raw<'a>) -> Result<Self, Wrong> {
        match raw.unsigned() {
            Some(0) => Ok(None),
            _ => Id::read(raw).map(Some),
        }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.unsigned(self.map_or(0, Id::get));
    }
}

/// Details at the end that may be left out.
impl<'a, T: Element<'a>> Tail<'a> for Option<T> {
    const ITEMS_MAX: usize = 1;

    fn read(items: &Items<'a>, at: usize) -> Result<Self, DecodeError> {
        items.given(at).map(|_| items.element(at, "details")).transpose()
    }

    fn len(&self) -> usize {
        usize::from(self.is_some())
    }

    fn write(&self, writer: &mut Writer<'_>) {
        if let Some(details) = self {
            details.write(writer);
        }
    }
}
