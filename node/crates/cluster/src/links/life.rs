//! The life of a link: connected, cut, connected anew, until its peer counts as dead.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::counter;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use weir_net::peer::{Alpn, PeerConnection, code};

use super::table::{Entry, Place};
use super::{LinkPeer, Shared};
use crate::link::wire::proto;
use crate::link::{
    Connected, ControlStream, DialError, Ended, InterestChanges, Link, Made, Refusal, check, dial, run,
};

/// The first pause before a peer is dialled again; it doubles up to the configured one.
const DIAL_PAUSE: Duration = Duration::from_millis(20);
/// A peer that is not reached for so long is a problem; before, one of the two may not know the other yet.
const JUST_MADE: Duration = Duration::from_secs(2);
/// Connections that have not said hello yet; one more is refused.
const GREETINGS_MAX: usize = 128;

impl Shared {
    pub fn update(self: &Arc<Shared>, peers: &[LinkPeer]) {
        let mut table = self.table.lock();
        table.retain(peers);
        for peer in peers.iter().filter(|peer| peer.node_id != self.ends.local.node_id) {
            if table.get(&peer.node_id).is_some() {
                continue;
            }
            let Some(place) = table.place(peer) else {
                counter!("weir_cluster_link_refused_total", "reason" => "slots").increment(1);
                tracing::error!(node = %peer.node_id, "no link: there are as many as there may be");
                continue;
            };
            table.insert(self.begin(peer, place));
        }
        self.lives.lock().retain(|life| !life.is_finished());
    }

    fn begin(self: &Arc<Shared>, peer: &LinkPeer, place: Place) -> Entry {
        let link = Link::new(Made {
            node: peer.node_id.clone(),
            incarnation: peer.incarnation,
            address: peer.address,
            slot: place.slot,
            numbering: place.numbering,
            config: self.config.clone(),
            meters: self.meters.clone(),
        });
        let (dialled, taken) = mpsc::channel(1);
        let (end, over) = (CancellationToken::new(), CancellationToken::new());
        let life = Life {
            shared: self.clone(),
            link: link.clone(),
            dialled: taken,
            end: end.clone(),
            earlier: place.earlier,
            _over: over.clone().drop_guard(),
        };
        self.lives.lock().push(tokio::spawn(life.live()));
        Entry { link, dialled, end, over }
    }
}

struct Life {
    shared: Arc<Shared>,
    link: Arc<Link>,
    dialled: mpsc::Receiver<Connected>,
    end: CancellationToken,
    /// Set when an earlier link to the same node, which is still ending, is over.
    earlier: Option<CancellationToken>,
    /// Tells that this one is, when it goes.
    _over: DropGuard,
}

impl Life {
    async fn live(mut self) {
        let Shared { ends, meters, .. } = &*self.shared.clone();
        let link = self.link.clone();
        self.go_on_from_earlier().await;
        meters.links.increment(1.0);
        ends.inbox.linked(&link);
        let mut next = None;
        while let Some(connected) = self.connected(next.take()).await {
            counter!("weir_cluster_link_connections_total").increment(1);
            let connection = connected.connection.clone();
            link.set_connection(Some(connection.clone()));
            meters.up.increment(1.0);
            let mut tasks = JoinSet::new();
            let ended = tokio::select! {
                biased;
                () = self.end.cancelled() => Ended::Over,
                Some(newer) = self.dialled.recv() => {
                    next = Some(newer);
                    Ended::Replaced
                }
                ended = run(&link, ends, connected, &mut tasks) => ended,
            };
            tasks.shutdown().await;
            meters.up.decrement(1.0);
            link.set_connection(None);
            close(&link, &connection, &ended);
        }
        let past = link.end();
        ends.inbox.interest(&link, InterestChanges::Gone);
        self.shared.table.lock().free(&link, past);
        meters.links.decrement(1.0);
        tracing::info!(node = %link.node_id(), incarnation = link.incarnation(), "link over");
    }

    /// Takes up what is left of an earlier link to the same peer, once that is over.
    async fn go_on_from_earlier(&mut self) {
        if let Some(earlier) = self.earlier.take() {
            earlier.cancelled().await;
        }
        if let Some(past) = self.shared.table.lock().past_of(&self.link) {
            self.link.remember(&past);
        }
    }

    /// The next connection; `None` when the link is over.
    async fn connected(&mut self, next: Option<Connected>) -> Option<Connected> {
        if self.end.is_cancelled() {
            return None;
        }
        if next.is_some() {
            return next;
        }
        let dials = self.shared.ends.local.node_id < *self.link.node_id();
        tokio::select! {
            () = self.end.cancelled() => None,
            connected = self.dialled.recv(), if !dials => connected,
            connected = dial_until_connected(&self.shared, &self.link), if dials => Some(connected),
        }
    }
}

async fn dial_until_connected(shared: &Shared, link: &Link) -> Connected {
    let pause_max = Duration::from_millis(shared.config.dial_interval_max_ms.max(1));
    let (mut pause, mut told, begun) = (DIAL_PAUSE, String::new(), Instant::now());
    loop {
        match dial(link, &shared.endpoint, &shared.ends.local).await {
            Ok(connected) => return connected,
            Err(error) => {
                if let DialError::Refused(refusal) = &error {
                    refused(refusal);
                }
                let (node, address, problem) = (link.node_id(), link.address(), error.to_string());
                if begun.elapsed() < JUST_MADE {
                    tracing::debug!(%node, %address, problem, "no link yet");
                } else if problem != told {
                    tracing::warn!(%node, %address, problem, "no link yet");
                    told = problem;
                }
            }
        }
        tokio::time::sleep(pause.min(pause_max)).await;
        pause = (pause * 2).min(pause_max);
    }
}

fn close(link: &Link, connection: &PeerConnection, ended: &Ended) {
    let (code, level_is_warn) = match ended {
        Ended::Over => (code::DEAD, false),
        Ended::Replaced => (code::SECOND, false),
        Ended::Violation(_) => {
            counter!("weir_cluster_link_violations_total").increment(1);
            (code::MALFORMED, true)
        }
        _ => (code::DONE, false),
    };
    connection.close(code, &ended.to_string());
    let node = link.node_id();
    if level_is_warn {
        tracing::warn!(%node, reason = %ended, "link down");
    } else {
        tracing::info!(%node, reason = %ended, "link down");
    }
}

fn refused(refusal: &Refusal) {
    counter!("weir_cluster_link_refused_total", "reason" => refusal.label()).increment(1);
}

/// Takes the connections that peers dial; each says hello in a task of its own.
pub(super) async fn listen(shared: Arc<Shared>) {
    let greetings = Arc::new(Semaphore::new(GREETINGS_MAX));
    while let Some(connection) = shared.endpoint.accept(Alpn::Link).await {
        let Ok(permit) = greetings.clone().try_acquire_owned() else {
            refused(&Refusal::Busy);
            connection.close(Refusal::Busy.code(), &Refusal::Busy.to_string());
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            if let Err(refusal) = greet(&shared, &connection).await {
                refused(&refusal);
                tracing::info!(node = %connection.peer_node_id(), reason = %refusal, "link refused");
                connection.close(refusal.code(), &refusal.to_string());
            }
            drop(permit);
        });
    }
}

/// Hears who dialled, and hands the connection to that peer's link, which answers.
async fn greet(shared: &Shared, connection: &PeerConnection) -> Result<(), Refusal> {
    let within = Duration::from_millis(shared.config.hello_timeout_ms);
    let heard = tokio::time::timeout(within, hear(connection)).await;
    let (control, frame) = heard.map_err(|_| Refusal::Silent)??;
    let hello = check(frame, &shared.ends.local, connection.peer_node_id())?;
    if *connection.peer_node_id() >= shared.ends.local.node_id {
        return Err(Refusal::Second);
    }
    let connected = Connected { connection: connection.clone(), control, hello };
    let table = shared.table.lock();
    let entry = table.get(connection.peer_node_id()).ok_or(Refusal::NotMember)?;
    entry.link.is_for(connection, &connected.hello)?;
    entry.dialled.try_send(connected).map_err(|_| Refusal::Busy)
}

async fn hear(connection: &PeerConnection) -> Result<(ControlStream, proto::ControlFrame), Refusal> {
    let opened = connection.accept_bi().await.map_err(|_| Refusal::Silent)?;
    let mut control = ControlStream::new(opened);
    match control.hear().await {
        Ok(frame) => Ok((control, frame)),
        Err(Ended::Violation(violation)) => Err(violation.into()),
        Err(_) => Err(Refusal::Silent),
    }
}
