//! The audit log of this crate: who was refused what, and who took whose place.
//!
//! Events of the target `weir::audit`, which the node bounds per second. They name clients, users,
//! addresses and topics, never a payload or what somebody proved to be with.

use std::net::IpAddr;

use weir_broker::Session;
use weir_broker::session::Origin;

use super::channel::Mqtt;

/// What names may cost in a log: clients choose them, and they may have 64 KiB.
const NAME_BYTES_MAX: usize = 256;

impl Mqtt {
    /// A message was refused by the policy.
    #[cold]
    pub fn note_refused_publish(&self, topic: &str) {
        let session = &self.publisher.session;
        tracing::info!(
            target: "weir::audit",
            client_id = clip(session.client_id()),
            user_id = self.publisher.principal.user_id.as_deref().map(clip),
            address = address(session),
            topic = clip(topic),
            "publish refused"
        );
    }

    /// A filter was refused by the policy.
    #[cold]
    pub fn note_refused_subscription(&self, filter: &str) {
        let session = &self.publisher.session;
        tracing::info!(
            target: "weir::audit",
            client_id = clip(session.client_id()),
            user_id = self.publisher.principal.user_id.as_deref().map(clip),
            address = address(session),
            filter = clip(filter),
            "subscription refused"
        );
    }
}

/// A connection took over a session from one of another address. `before`: where that one came from.
pub fn note_takeover(session: &Session, before: IpAddr, now: &Origin) {
    let identity = session.identity();
    tracing::info!(
        target: "weir::audit",
        client_id = clip(session.client_id()),
        user_id = identity.as_ref().and_then(|identity| identity.principal.user_id.as_deref()).map(clip),
        address = %now.address,
        listener = now.listener,
        %before,
        "session taken over from another address"
    );
}

/// The beginning of a name.
pub fn clip(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_BYTES_MAX)]
}

/// Where a session's connection comes from, in words.
fn address(session: &Session) -> Option<String> {
    session.origin().map(|origin| origin.address.to_string())
}
