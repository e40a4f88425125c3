//! Draining: nobody new is let in, and clients are told one after another to go elsewhere.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::counter;
use tokio::time::MissedTickBehavior;
use weir_broker::outbox::Bell;
use weir_broker::{Broker, Session};
use weir_wire::mqtt::{Disconnect, ReasonCode};

/// How often clients are told: a tick's share of what a second may have.
const TICKS_PER_SECOND: u32 = 20;

/// Where clients of the listener of that name are better served, as host:port; `None` = nobody knows.
pub type Elsewhere = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Whether the node drains, and where its clients go.
#[derive(Default)]
pub struct Drain(OnceLock<Elsewhere>);

impl Drain {
    pub(crate) fn begin(&self, elsewhere: Elsewhere) {
        let _ = self.0.set(elsewhere);
    }

    /// Where a client that is told to go finds another node.
    pub(crate) fn reference(&self, session: &Session) -> Option<String> {
        let elsewhere = self.0.get()?;
        elsewhere(session.origin()?.listener)
    }
}

/// The last packet for a client of a node that ends, with the other node to use if there is one (MQTT-4.11).
pub(crate) fn disconnect(reference: Option<&str>) -> Disconnect<'_> {
    let Some(reference) = reference else { return Disconnect::new(ReasonCode::ServerShuttingDown) };
    counter!("weir_gateway_redirected_total").increment(1);
    Disconnect { server_reference: Some(reference), ..Disconnect::new(ReasonCode::UseAnotherServer) }
}

/// Tells every client to go, at most `per_second` of them in a second; 0 = all at once.
pub(crate) async fn tell_all(broker: &Broker, per_second: u32) {
    let online = broker.realms().into_iter().flat_map(|realm| broker.sessions().all(&realm.name));
    let online: Vec<Arc<Session>> = online.filter(|session| session.is_online()).collect();
    let each_tick = match per_second {
        0 => online.len().max(1),
        _ => per_second.div_ceil(TICKS_PER_SECOND) as usize,
    };
    let pause = Duration::from_secs_f64(each_tick as f64 / f64::from(per_second.max(1)));
    let mut ticks = tokio::time::interval(pause.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for some in online.chunks(each_tick) {
        ticks.tick().await;
        some.iter().for_each(|session| session.outbox.ring(Bell::Shutdown));
    }
}
