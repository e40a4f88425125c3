//! A broker with a store that answers only when the test says so, and what tests do with it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use weir_access::{Access, Grant, Identity};
use weir_broker::form::{Form, Marks, Publish};
use weir_broker::publish::Publisher;
use weir_broker::session::directory::{Closing, Opened, Request};
use weir_broker::{Broker, Config, Realm};
use weir_model::{DEFAULT_REALM, Filter, Principal, Qos, UnixMillis};
use weir_store::{
    Done, Due, Level, Mirror, OwedMessage, Page, PartitionInfo, PartitionKey, Queued, ReadError, Refusal,
    Restored, SessionKey, Start, Step, Store, StreamPage, SubscriptionOptions,
};

/// Frames are the payload behind one byte of length.
struct Lengths;

thread_local! {
    /// Frames this test has encoded.
    pub static ENCODED: Cell<u64> = const { Cell::new(0) };
}

impl Form for Lengths {
    fn protocol(&self) -> &'static str {
        "mqtt"
    }

    fn encode(&self, out: &mut Vec<u8>, publish: &Publish<'_>, _: Marks<'_>) {
        ENCODED.set(ENCODED.get() + 1);
        out.push(publish.payload.len() as u8 + 1);
        out.extend_from_slice(publish.payload);
    }

    fn frame_len(&self, frames: &[u8]) -> usize {
        usize::from(frames[0])
    }

    fn topic<'a>(&self, frame: &'a [u8]) -> Option<std::borrow::Cow<'a, str>> {
        std::str::from_utf8(&frame[1..]).ok().map(Into::into)
    }
}

static FORMS: &[&dyn Form] = &[&Lengths];

type Held = VecDeque<(Vec<Step>, Option<Level>, Done)>;

/// A memory store whose gate holds submits back.
pub struct Gated {
    inner: Arc<dyn Store>,
    pub held: Mutex<Option<Held>>,
}

impl Gated {
    pub fn close_gate(&self) {
        *self.held.lock() = Some(VecDeque::new());
    }

    /// Lets steps through although the gate is closed.
    pub fn pass(&self, steps: Vec<Step>, done: Done) {
        self.inner.submit(steps, done);
    }

    /// Lets everything held through, or refuses it, and what comes later goes through.
    pub fn open_gate(&self, refusal: Option<Refusal>) {
        let held = self.held.lock().take().unwrap_or_default();
        for (steps, level, done) in held {
            match refusal {
                Some(refusal) => done(steps.iter().map(|_| Err(refusal)).collect()),
                None => self.inner.submit_at(steps, level, done),
            }
        }
    }
}

impl Store for Gated {
    fn submit_at(&self, steps: Vec<Step>, level: Option<Level>, done: Done) {
        match &mut *self.held.lock() {
            Some(held) => held.push_back((steps, level, done)),
            None => self.inner.submit_at(steps, level, done),
        }
    }

    fn read_queue(
        &self,
        key: SessionKey,
        after: u64,
        page: Page,
    ) -> BoxFuture<'static, Result<Vec<Queued>, ReadError>> {
        self.inner.read_queue(key, after, page)
    }

    fn due(&self, now: UnixMillis, max: usize) -> BoxFuture<'static, Result<Vec<Due>, ReadError>> {
        self.inner.due(now, max)
    }

    fn restore(&self, mirror: Arc<dyn Mirror>, session: &mut dyn FnMut(Restored)) -> Result<(), ReadError> {
        self.inner.restore(mirror, session)
    }

    fn read_stream(
        &self,
        key: PartitionKey,
        start: Start,
        page: Page,
    ) -> BoxFuture<'static, Result<StreamPage, ReadError>> {
        self.inner.read_stream(key, start, page)
    }

    fn partition(&self, key: PartitionKey) -> BoxFuture<'static, Result<Option<PartitionInfo>, ReadError>> {
        self.inner.partition(key)
    }

    fn kept(
        &self,
        key: &PartitionKey,
        group: &str,
        keys: &[Bytes],
    ) -> BoxFuture<'static, Result<Vec<Option<Bytes>>, Refusal>> {
        self.inner.kept(key, group, keys)
    }

    fn kept_page(
        &self,
        key: &PartitionKey,
        group: &str,
        after: Option<Bytes>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<(Bytes, Bytes)>, Refusal>> {
        self.inner.kept_page(key, group, after, limit)
    }

    fn owed(
        &self,
        key: &PartitionKey,
        group: &str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<OwedMessage>, Refusal>> {
        self.inner.owed(key, group, after, limit)
    }

    fn account(&self) -> weir_store::Account {
        self.inner.account()
    }

    fn level(&self) -> Level {
        self.inner.level()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.inner.close()
    }
}

pub struct Bench {
    pub broker: Broker,
    pub store: Arc<Gated>,
    connections: AtomicU64,
}

impl Bench {
    pub async fn start() -> Bench {
        Bench::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Bench {
        Bench::over(config, weir_store::Config::default()).await
    }

    pub async fn over(config: Config, store: weir_store::Config) -> Bench {
        let broker_config = Config { sys_interval_seconds: 0, ..config };
        let config = weir_store::Config { url: "memory".to_owned(), ..store };
        let directory = tempfile::tempdir().unwrap();
        let (inner, _) = weir_store::open(&config, directory.path()).unwrap();
        let store = Arc::new(Gated { inner, held: Mutex::new(None) });
        let broker =
            Broker::start(broker_config, store.clone(), Arc::new(Access::open()), FORMS).await.unwrap();
        Bench { broker, store, connections: AtomicU64::new(0) }
    }

    pub fn realm(&self) -> Arc<Realm> {
        self.broker.realm_or_new(&DEFAULT_REALM.into())
    }

    pub fn request(&self, client_id: &str, expiry_seconds: u32) -> Request {
        Request {
            realm: self.realm(),
            client_id: client_id.into(),
            identity: Arc::new(Identity::new(Principal::default(), Grant::Open)),
            clean_start: false,
            expiry_seconds,
            will: None,
            keep_alive_ms: 0,
            form: 0,
            connection: self.connections.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    pub async fn connect(&self, client_id: &str, expiry_seconds: u32) -> Opened {
        let request = self.request(client_id, expiry_seconds);
        let sessions = self.broker.sessions();
        let old = sessions.find(&request.realm.name, &request.client_id);
        let mut opening = std::pin::pin!(sessions.open(request));
        // A connection that is taken over has nothing more to read.
        loop {
            tokio::select! {
                biased;
                opened = &mut opening => return opened.unwrap(),
                () = tokio::task::yield_now() => {
                    if let Some(old) = &old {
                        old.outbox.has_read_out(old.connection());
                    }
                }
            }
        }
    }

    pub async fn subscribe(&self, opened: &Opened, filter: &str, qos: Qos) {
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let filter = Filter::new(filter).unwrap();
        let realm = self.realm();
        self.broker.topics().subscribe(&realm, &opened.session, &[(filter, options)]).await.unwrap();
    }

    pub async fn publisher(&self, client_id: &str) -> Publisher {
        let opened = self.connect(client_id, 0).await;
        let realm = self.realm();
        Publisher::new(self.broker.clone(), realm, opened.session, Arc::new(Principal::default()), None)
    }

    /// The QoS 0 payloads that wait for a session.
    pub fn frames(&self, opened: &Opened) -> Vec<u8> {
        let taken = opened.session.outbox.take_frames(self.broker.limits());
        let bytes: Vec<u8> = taken.chunks.iter().flat_map(|chunk| chunk.bytes().to_vec()).collect();
        bytes.chunks(2).map(|frame| frame[1]).collect()
    }

    /// The payloads of numbered copies that wait for a session.
    pub fn copies(&self, opened: &Opened) -> Vec<u8> {
        let mut copies = Vec::new();
        opened.session.outbox.take_copies(100, self.broker.limits(), &mut copies);
        copies.iter().map(|live| live.delivery.message.payload[0]).collect()
    }

    /// How a connection ends that says nothing, and whose session lives on for so long.
    pub fn closing(&self, opened: &Opened, connection: u64, expiry_seconds: u32) -> Closing {
        Closing {
            realm: self.realm(),
            session: opened.session.clone(),
            connection,
            fence: opened.fence,
            will: false,
            will_delay_seconds: 0,
            expiry_seconds,
            sent: 0,
        }
    }
}

/// A publish to the topic `t`.
pub fn publish(payload: &[u8], qos: Qos, retain: bool) -> Publish<'_> {
    let (expiry_seconds, properties, conditions) = (None, None, None);
    Publish { topic: "t", payload, is_json: false, qos, retain, expiry_seconds, properties, conditions }
}
