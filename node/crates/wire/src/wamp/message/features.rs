//! What the two sides of a session announce that they can (WAMP, "Feature Announcement").

use crate::wamp::element::{Element, Wrong};
use crate::wamp::message::body::options;
use crate::wamp::walk::Kind;
use crate::wamp::writer::Writer;
use crate::wamp::{Raw, Value};

/// Makes [`Feature`] of the standard's names.
macro_rules! features {
    ($($name:literal $feature:ident,)*) => {
        /// A feature of the advanced profile.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Feature {
            $($feature,)*
        }

        /// Every feature and its name.
        const FEATURES: &[(Feature, &str)] = &[$((Feature::$feature, $name),)*];
    };
}

features! {
    "publisher_identification" PublisherIdentification,
    "publisher_exclusion" PublisherExclusion,
    "subscriber_blackwhite_listing" SubscriberBlackwhiteListing,
    "publication_trustlevels" PublicationTrustlevels,
    "pattern_based_subscription" PatternBasedSubscription,
    "sharded_subscription" ShardedSubscription,
    "event_history" EventHistory,
    "event_retention" EventRetention,
    "subscription_revocation" SubscriptionRevocation,
    "subscription_meta_api" SubscriptionMetaApi,
    "session_meta_api" SessionMetaApi,
    "testament_meta_api" TestamentMetaApi,
    "payload_passthru_mode" PayloadPassthruMode,
    "progressive_call_results" ProgressiveCallResults,
    "progressive_call_invocations" ProgressiveCallInvocations,
    "call_timeout" CallTimeout,
    "call_canceling" CallCanceling,
    "caller_identification" CallerIdentification,
    "call_trustlevels" CallTrustlevels,
    "registration_meta_api" RegistrationMetaApi,
    "registration_revocation" RegistrationRevocation,
    "pattern_based_registration" PatternBasedRegistration,
    "shared_registration" SharedRegistration,
    "sharded_registration" ShardedRegistration,
    "call_reroute" CallReroute,
}

/// A set of features. Names nobody knows are passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features(u32);

impl Features {
    pub fn of(features: &[Feature]) -> Features {
        Features(features.iter().fold(0, |set, feature| set | bit(*feature)))
    }

    pub fn has(self, feature: Feature) -> bool {
        self.0 & bit(feature) != 0
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        FEATURES.iter().filter(move |(feature, _)| self.has(*feature)).map(|(_, name)| *name)
    }
}

fn bit(feature: Feature) -> u32 {
    1 << (feature as u32)
}

impl<'a> Element<'a> for Features {
    const WANTED: &'static str = "a map";

    fn read(raw: Raw<'a>) -> Result<Self, Wrong> {
        let entries = raw.entries();
        if !entries.are_of_a_map() {
            return Err(Wrong::Type);
        }
        let mut set = Features::default();
        for (name, value) in entries {
            if let (Some((feature, _)), Value::Bool(true)) =
                (FEATURES.iter().find(|(_, known)| *known == name), value.value())
            {
                set.0 |= bit(*feature);
            }
        }
        Ok(set)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.begin(Kind::Map, self.names().count());
        for name in self.names() {
            writer.key(name);
            writer.bool(true);
        }
        writer.end(Kind::Map);
    }
}

options! {
    /// One role of a peer.
    Role {
        "features" features: Option<Features>,
    }
}

options! {
    /// The roles of a peer: the first four a client's, the last two a router's.
    Roles {
        "publisher" publisher: Option<Role>,
        "subscriber" subscriber: Option<Role>,
        "caller" caller: Option<Role>,
        "callee" callee: Option<Role>,
        "broker" broker: Option<Role>,
        "dealer" dealer: Option<Role>,
    }
}

impl Role {
    /// A role with features.
    pub fn with(features: &[Feature]) -> Role {
        Role { features: Some(Features::of(features)) }
    }
}
