//! What logs say of a connection: its spans, and the trace that a message belongs to.
//!
//! No span is held while a client is idle; `connection` > `session` are made when there is something to
//! say, at debug level. A message's W3C trace context is two user properties, which are handed on
//! unaltered like all others.

use tracing::{Level, Span, debug_span};
use weir_broker::Session;
use weir_broker::session::Origin;
use weir_wire::mqtt::{self, Version};

use super::channel::Mqtt;

/// The user property that names a trace (W3C Trace Context, 3.2).
const TRACEPARENT: &str = "traceparent";

/// A client that is let in, or is about to be.
pub fn connection(origin: &Origin) -> Span {
    debug_span!(
        "connection",
        listener = origin.listener,
        peer = %std::net::SocketAddr::new(origin.address, origin.port),
        transport = transport(origin.listener),
    )
}

/// What a session does.
pub fn session(session: &Session, version: Version) -> Span {
    let parent = session.origin().map_or_else(Span::none, |origin| connection(&origin));
    debug_span!(parent: &parent, "session", client_id = &**session.client_id(), protocol = protocol(version))
}

/// What carries a listener's bytes.
fn transport(listener: &str) -> &'static str {
    match listener {
        "mqtts" => "tls",
        "http" => "websocket",
        "https" => "websocket over tls",
        "quic" => "quic",
        _ => "tcp",
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5",
    }
}

/// The trace a message belongs to, if it says so in the form of the standard.
fn trace_id<'a>(publish: &mqtt::Publish<'a>) -> Option<&'a str> {
    let (_, value) = publish.properties.user.iter().find(|(name, _)| *name == TRACEPARENT)?;
    let mut parts = value.split('-');
    let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, len: usize| {
        text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let is_zero = |text: &str| text.bytes().all(|b| b == b'0');
    let good = is_hex(version, 2) && version != "ff" && is_hex(trace, 32) && is_hex(parent, 16);
    (good && !is_zero(trace) && !is_zero(parent)).then_some(trace)
}

impl Mqtt {
    /// Says at debug level that a message of a trace came; of others there are too many.
    #[inline]
    pub fn note_traced(&self, topic: &str, publish: &mqtt::Publish<'_>) {
        if tracing::enabled!(Level::DEBUG) {
            self.say_traced(topic, publish);
        }
    }

    #[cold]
    fn say_traced(&self, topic: &str, publish: &mqtt::Publish<'_>) {
        let Some(trace_id) = trace_id(publish) else { return };
        let (qos, bytes) = (publish.qos as u8, publish.payload.len());
        session(&self.publisher.session, self.version).in_scope(|| {
            tracing::debug!(topic, qos, bytes, trace_id, "publish");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::mqtt::List;

    fn id_of(traceparent: &str) -> Option<String> {
        let user = [("a", "b"), ("traceparent", traceparent)];
        let mut publish = mqtt::Publish::new("t", b"");
        publish.properties.user = List::of(&user);
        trace_id(&publish).map(str::to_owned)
    }

    #[test]
    fn a_trace_id_is_read_from_what_is_whole_alone() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(id_of(good).as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        // Later versions may say more behind it.
        assert!(id_of("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some());
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "secret",
        ] {
            assert_eq!(id_of(bad), None, "{bad}");
        }
    }
}
