//! A client's side of a session: takes, counts and answers what comes, as a connection does.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use smallvec::smallvec;
use weir_access::{Grant, Identity};
use weir_broker::ledger::Tally;
use weir_broker::outbox::{Bell, Live};
use weir_broker::session::directory::{Closing, Opened, Request};
use weir_broker::session::window::Held;
use weir_model::{Filter, Principal, Qos, Reason};
use weir_store::{Delivery, Page, Queued, RowState, SessionOp, Step, SubscriptionOptions};

use super::bed::{Node, PATIENCE, frame, text};

/// A session that lives on without a connection.
pub const STAYS: u32 = 600;
/// A session that ends with its connection.
pub const CLEAN: u32 = 0;

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub topic: String,
    pub payload: String,
    pub qos: Qos,
}

/// What a connection heard when it was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    TakenOver,
    Kicked,
    Overrun,
}

pub struct Client {
    pub id: String,
    pub node: Arc<Node>,
    pub opened: Opened,
    pub connection: u64,
    pub got: Vec<Got>,
    pub ended: Option<Ending>,
    /// Whether it answers what it gets.
    pub answers: bool,
    expiry_seconds: u32,
    next: u64,
    behind: bool,
    /// Numbers of QoS 2 it has, by generation.
    taken: HashSet<(u64, u64)>,
    unanswered: Vec<(u64, Qos)>,
    held: Vec<Held>,
    tally: Tally,
}

/// What a client of that name asks for.
pub fn request(node: &Node, id: &str, expiry_seconds: u32) -> Request {
    let principal = Principal { client_id: id.into(), ..Principal::default() };
    Request {
        realm: node.realm(),
        client_id: id.into(),
        identity: Arc::new(Identity::new(principal, Grant::Open)),
        clean_start: false,
        expiry_seconds,
        will: None,
        keep_alive_ms: 0,
        form: 0,
        connection: node.next_connection(),
    }
}

/// Opens a session; the connection that had it has nothing more to read.
pub async fn open(node: &Node, request: Request) -> Result<Opened, Reason> {
    let sessions = node.broker.sessions();
    let old = sessions.find(&request.realm.name, &request.client_id);
    let mut opening = std::pin::pin!(sessions.open(request));
    loop {
        tokio::select! {
            biased;
            opened = &mut opening => return opened,
            () = tokio::task::yield_now() => {
                if let Some(old) = &old {
                    old.outbox.has_read_out(old.connection());
                }
            }
        }
    }
}

impl Client {
    pub async fn connect(node: &Arc<Node>, id: &str, expiry_seconds: u32) -> Client {
        Client::ask(node, request(node, id, expiry_seconds)).await.expect("a session")
    }

    pub async fn ask(node: &Arc<Node>, request: Request) -> Result<Client, Reason> {
        let (id, connection) = (request.client_id.to_string(), request.connection);
        let expiry_seconds = request.expiry_seconds;
        let opened = open(node, request).await?;
        Ok(Client {
            id,
            node: node.clone(),
            connection,
            got: Vec::new(),
            ended: None,
            answers: true,
            expiry_seconds,
            next: opened.queue.head,
            behind: opened.session.stored.is_some(),
            taken: HashSet::new(),
            unanswered: Vec::new(),
            held: Vec::new(),
            tally: Tally::default(),
            opened,
        })
    }

    /// Comes back on another connection, on this node or another, without a word on the old one.
    pub async fn move_to(&mut self, node: &Arc<Node>) -> Client {
        let mut moved = Client::connect(node, &self.id, self.expiry_seconds).await;
        moved.inherit(self);
        moved
    }

    /// Knows what the same client knew before.
    pub fn inherit(&mut self, before: &mut Client) {
        self.got = std::mem::take(&mut before.got);
        self.taken = std::mem::take(&mut before.taken);
        self.answers = before.answers;
    }

    pub fn is_clean(&self) -> bool {
        self.opened.session.stored.is_none()
    }

    /// Whether it has got all of these.
    pub fn has_all(&self, payloads: &[String]) -> bool {
        let got: HashSet<_> = self.payloads().into_iter().collect();
        payloads.iter().all(|payload| got.contains(payload.as_str()))
    }

    /// Subscribes as a SUBSCRIBE does; whether it is acknowledged.
    pub async fn subscribes(&self, filter: &str, options: SubscriptionOptions) -> bool {
        let (broker, realm, session) = (&self.node.broker, self.node.realm(), &self.opened.session);
        let filter = Filter::new(filter).unwrap();
        broker.topics().subscribe(&realm, session, &[(filter.clone(), options)]).await.unwrap();
        if let Some(fence) = self.opened.fence.filter(|_| session.stored.is_some()) {
            let op = SessionOp::Subscribe { fence, filter, options };
            if !self.submit(op).await {
                return false;
            }
        }
        let met = broker.met_everywhere(session).await && broker.retained_is_current().await;
        broker.collect_shared(&realm, session);
        met
    }

    pub async fn subscribe(&self, filter: &str, qos: Qos) {
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        assert!(self.subscribes(filter, options).await, "{} subscribes to {filter}", self.id);
    }

    pub async fn unsubscribe(&self, filter: &str) {
        let filter = Filter::new(filter).unwrap();
        let session = &self.opened.session;
        if let Some(fence) = self.opened.fence.filter(|_| session.stored.is_some()) {
            self.submit(SessionOp::Unsubscribe { fence, filter: filter.clone() }).await;
        }
        self.node.broker.topics().unsubscribe(&self.node.realm(), session, [filter]).await.unwrap();
    }

    /// One op of its session; false when the store refuses it.
    pub async fn submit(&self, op: SessionOp) -> bool {
        let step = Step::Session { key: self.opened.session.key.clone(), ops: smallvec![op] };
        matches!(self.node.broker.submit(vec![step]).await.first(), Some(Ok(_)))
    }

    /// Takes what has come, and answers it.
    pub async fn take(&mut self) {
        if self.ended.is_some() || self.node.is_dead() {
            return;
        }
        let (node, session) = (self.node.clone(), self.opened.session.clone());
        let (outbox, limits) = (&session.outbox, node.broker.limits());
        self.ended = self.hears();
        if self.ended.is_some() {
            return;
        }
        self.behind |= outbox.heard(Bell::Recheck);
        outbox.heard(Bell::Progress);
        let taken = outbox.take_frames(limits);
        self.tally.delivered += taken.messages;
        for chunk in &taken.chunks {
            let mut frames = chunk.bytes();
            while !frames.is_empty() {
                let (topic, payload, len) = frame(frames);
                self.got.push(Got { topic, payload, qos: Qos::AtMostOnce });
                frames = &frames[len..];
            }
        }
        let mut copies = Vec::new();
        outbox.take_copies(usize::MAX, limits, &mut copies);
        copies.into_iter().for_each(|live| self.send_live(live));
        if session.stored.is_some() {
            self.behind |= outbox.take_behind();
        }
        while std::mem::take(&mut self.behind) {
            self.read_queue().await;
        }
        node.broker.ledger().settle(&mut self.tally);
        if self.answers {
            self.answer().await;
        }
    }

    fn hears(&self) -> Option<Ending> {
        let session = &self.opened.session;
        if !session.is_attached_to(self.connection) || session.outbox.heard(Bell::TakenOver) {
            return Some(Ending::TakenOver);
        }
        let bells = [(Bell::Kick, Ending::Kicked), (Bell::Overrun, Ending::Overrun)];
        bells.into_iter().find(|(bell, _)| session.outbox.heard(*bell)).map(|(_, ending)| ending)
    }

    fn send_live(&mut self, live: Live) {
        let number = match live.number {
            Some(number) if number < self.next => return,
            Some(number) if number > self.next || self.behind => {
                self.behind = true;
                return;
            }
            Some(number) => Some(number),
            None => None,
        };
        self.tally.restored += u64::from(live.is_stored());
        self.tally.deliver(1, false);
        match (number, live.claim) {
            (Some(number), _) => self.send_row(number, live.delivery),
            (None, claim) => {
                self.note(&live.delivery);
                self.held.extend(claim.map(|claim| Held { delivery: live.delivery, claim }));
            }
        }
    }

    async fn read_queue(&mut self) {
        let store = self.node.broker.store();
        let page = Page { rows_max: 100, bytes_max: 1 << 20 };
        let rows = store.read_queue(self.opened.session.key.clone(), self.next - 1, page).await.unwrap();
        for Queued { number, state } in rows {
            self.behind = true;
            match state {
                RowState::Waiting(delivery) => {
                    let again = number <= self.opened.queue.sent;
                    self.tally.restored += u64::from(!again);
                    self.tally.deliver(1, again);
                    self.send_row(number, delivery);
                }
                RowState::Released => {
                    self.next = number + 1;
                    self.unanswered.push((number, Qos::ExactlyOnce));
                }
            }
        }
    }

    /// A delivery under a number of the session's own queue.
    fn send_row(&mut self, number: u64, delivery: Delivery) {
        self.next = number + 1;
        let generation = self.opened.session.stored.unwrap_or(0);
        if delivery.qos < Qos::ExactlyOnce || self.taken.insert((generation, number)) {
            self.note(&delivery);
        }
        self.unanswered.push((number, delivery.qos));
    }

    fn note(&mut self, delivery: &Delivery) {
        let message = &delivery.message;
        let (topic, payload) = (message.topic.to_string(), text(&message.payload));
        self.got.push(Got { topic, payload, qos: delivery.qos });
    }

    async fn answer(&mut self) {
        self.held.drain(..).for_each(|held| self.node.broker.group_ack(&held.claim));
        let Some(fence) = self.opened.fence else { return };
        for (number, qos) in std::mem::take(&mut self.unanswered) {
            if qos == Qos::ExactlyOnce {
                self.submit(SessionOp::Pubrec { fence, number }).await;
            }
            self.submit(SessionOp::Ack { fence, number }).await;
        }
    }

    pub fn payloads(&self) -> Vec<&str> {
        self.got.iter().map(|got| got.payload.as_str()).collect()
    }

    /// Waits until it has got that many.
    pub async fn takes(&mut self, count: usize) {
        self.takes_until(|client| client.got.len() >= count).await;
    }

    /// Waits for a condition of what it has got.
    pub async fn takes_until(&mut self, is: impl Fn(&Client) -> bool) {
        let taking = async {
            while !is(self) {
                self.take().await;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(PATIENCE / 4, taking).await.is_err() {
            panic!("{} has {:?}; ended: {:?}", self.id, self.payloads(), self.ended);
        }
    }

    /// Waits for what it hears at its end.
    pub async fn ends(&mut self) -> Ending {
        let ending = async {
            while self.ended.is_none() {
                self.take().await;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE / 4, ending).await.expect("its connection is ended");
        self.ended.expect("it was just seen")
    }

    /// Its connection ends without a word; a session that may stays.
    pub async fn leave(&mut self) {
        self.close(self.expiry_seconds, true).await;
    }

    /// Its connection ends, and its session with it.
    pub async fn end(&mut self) {
        self.close(0, false).await;
    }

    async fn close(&mut self, expiry_seconds: u32, will: bool) {
        let (node, session) = (self.node.clone(), self.opened.session.clone());
        if node.is_dead() {
            return;
        }
        node.broker.ledger().settle(&mut self.tally);
        let closing = Closing {
            realm: node.realm(),
            session: session.clone(),
            connection: self.connection,
            fence: self.opened.fence,
            will,
            will_delay_seconds: 0,
            expiry_seconds,
            sent: self.next - 1,
        };
        node.broker.sessions().close(closing).await;
        node.broker.take_back(&node.realm(), &session, std::mem::take(&mut self.held));
    }
}
