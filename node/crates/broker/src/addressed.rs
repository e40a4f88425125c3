//! Addressed messages: those that only some of the subscribers are meant to get.
//!
//! Whom, stands in the user property [`PROPERTY`] of the message, so that it holds on every node and through the store;
//! receivers are never shown it. Only messages that have it take the time to look.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_model::Properties;

use crate::routes::Target;
use crate::session::Session;

/// The user property that says it, as JSON.
pub const PROPERTY: &str = "wamp-to";

/// What client ids of WAMP sessions begin with; the session id follows in decimal.
pub const SESSION_PREFIX: &str = "wamp-";

/// The role of users that have none, and of those that are nobody.
pub const USER: &str = "user";
pub const ANONYMOUS: &str = "anonymous";

/// Who is meant. Of several rules each must let a receiver through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Addressed {
    /// The publisher's own session too.
    #[serde(rename = "me", skip_serializing_if = "is_false")]
    pub publisher_too: bool,
    /// What no receiver may be.
    #[serde(rename = "x", skip_serializing_if = "Names::is_empty")]
    pub excluded: Names,
    /// One of these a receiver must be, by id, by user and by role, of each list that is given.
    #[serde(rename = "e", skip_serializing_if = "Names::is_empty")]
    pub eligible: Names,
}

/// Sessions, users and roles by name, of whoever is nobody the client id for its user; `None` = no such list was given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Names {
    #[serde(rename = "s", skip_serializing_if = "Option::is_none")]
    pub sessions: Option<Vec<u64>>,
    #[serde(rename = "u", skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<String>>,
    #[serde(rename = "r", skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Names {
    fn is_empty(&self) -> bool {
        self == &Names::default()
    }
}

impl Addressed {
    /// Whom a message is for; `None` = whoever has subscribed. One that cannot be read is for nobody.
    #[inline]
    pub fn of(properties: Option<&Properties>) -> Option<Addressed> {
        let text = text_of(properties)?;
        Some(serde_json::from_str(text).unwrap_or_else(|_| Addressed::nobody()))
    }

    fn nobody() -> Addressed {
        let nobody = Names { sessions: Some(Vec::new()), ..Names::default() };
        Addressed { eligible: nobody, ..Addressed::default() }
    }

    /// The property; `None` when everybody is meant.
    pub fn to_text(&self) -> Option<String> {
        (*self != Addressed::default()).then(|| serde_json::to_string(self).ok()).flatten()
    }

    /// The target as it counts for such a message.
    pub(crate) fn target<'a>(
        &self,
        target: &'a Target,
        publisher: Option<&Arc<Session>>,
    ) -> Option<&'a Target> {
        let publisher = publisher.filter(|_| !self.publisher_too);
        // What stands for another node looks there.
        let may = target.session.peer.is_some() || self.allows(&target.session);
        target.for_publisher(publisher).filter(|_| may)
    }

    /// Whether a member of a share group may be given such a message by this node: one whose session it knows must be
    /// meant, and of other nodes it is the turn of `next`, which looks among its own members and asks the one after it.
    pub(crate) fn allows_member(&self, member: &Session, next: Option<u64>) -> bool {
        match &member.peer {
            Some(peer) => next == Some(peer.incarnation),
            None => self.allows(member),
        }
    }

    /// Whether a session is meant, whoever published.
    pub fn allows(&self, session: &Session) -> bool {
        let id = session.client_id().strip_prefix(SESSION_PREFIX).and_then(|id| id.parse::<u64>().ok());
        let identity = session.identity();
        let principal = identity.as_ref().map(|identity| &identity.principal);
        let user = principal.map(|principal| principal.user_id.as_deref().unwrap_or(&principal.client_id));
        let roles = principal.map_or(&[][..], |principal| &principal.roles);
        // Whoever has no role has one by how it came in.
        let stands_for = principal.filter(|_| roles.is_empty()).map(|principal| match principal.user_id {
            Some(_) => USER,
            None => ANONYMOUS,
        });
        let is_session = |ids: &Vec<u64>| id.is_some_and(|id| ids.contains(&id));
        let is_user = |names: &Vec<String>| user.is_some_and(|user| names.iter().any(|name| name == user));
        let has_role = |names: &Vec<String>| {
            let own = roles.iter().map(|role| &**role).chain(stands_for);
            own.into_iter().any(|role| names.iter().any(|name| name == role))
        };
        let Addressed { excluded: x, eligible: e, .. } = self;
        let excluded = x.sessions.as_ref().is_some_and(is_session)
            || x.users.as_ref().is_some_and(is_user)
            || x.roles.as_ref().is_some_and(has_role);
        !excluded
            && e.sessions.as_ref().is_none_or(is_session)
            && e.users.as_ref().is_none_or(is_user)
            && e.roles.as_ref().is_none_or(has_role)
    }
}

/// Whether a message is for some only.
#[inline]
pub fn is_addressed(properties: Option<&Properties>) -> bool {
    text_of(properties).is_some()
}

#[inline]
fn text_of(properties: Option<&Properties>) -> Option<&str> {
    let user = &properties?.user;
    user.iter().find(|(name, _)| **name == *PROPERTY).map(|(_, text)| &**text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_is_not_sent_and_what_cannot_be_read_is_for_nobody() {
        assert_eq!(Addressed::default().to_text(), None);
        let mut properties = Properties::default();
        assert!(Addressed::of(Some(&properties)).is_none());
        properties.user.push((PROPERTY.into(), "{".into()));
        assert_eq!(Addressed::of(Some(&properties)), Some(Addressed::nobody()));
        let some = Addressed { publisher_too: true, ..Addressed::default() };
        properties.user[0].1 = some.to_text().unwrap().into();
        assert_eq!(Addressed::of(Some(&properties)), Some(some));
    }
}
