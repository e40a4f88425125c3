//! The one door, with a store that answers only when the test says so.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use weir_access::Access;
use weir_broker::form::{Form, Marks, Publish};
use weir_broker::outbox::Bell;
use weir_broker::publish::{Answering, Publisher, Verdict};
use weir_broker::session::directory::{Closing, Opened, Request};
use weir_broker::{Broker, Config};
use weir_model::{DEFAULT_REALM, Filter, Principal, Qos, Reason, UnixMillis};
use weir_store::{
    Done, Due, Level, Mirror, Page, Queued, ReadError, Refusal, Restored, SessionKey, Step, Store,
    SubscriptionOptions,
};

/// Frames are the payload behind one byte of length.
struct Lengths;

impl Form for Lengths {
    fn encode(&self, out: &mut Vec<u8>, publish: &Publish<'_>, _: Marks<'_>) {
        out.push(publish.payload.len() as u8 + 1);
        out.extend_from_slice(publish.payload);
    }

    fn frame_len(&self, frames: &[u8]) -> usize {
        usize::from(frames[0])
    }
}

static FORMS: &[&dyn Form] = &[&Lengths];

type Held = VecDeque<(Vec<Step>, Done)>;

/// A memory store whose gate holds submits back.
struct Gated {
    inner: Arc<dyn Store>,
    held: Mutex<Option<Held>>,
}

impl Gated {
    fn close_gate(&self) {
        *self.held.lock() = Some(VecDeque::new());
    }

    /// Lets everything held through, or refuses it, and what comes later goes through.
    fn open_gate(&self, refusal: Option<Refusal>) {
        let held = self.held.lock().take().unwrap_or_default();
        for (steps, done) in held {
            match refusal {
                Some(refusal) => done(steps.iter().map(|_| Err(refusal)).collect()),
                None => self.inner.submit(steps, done),
            }
        }
    }
}

impl Store for Gated {
    fn submit(&self, steps: Vec<Step>, done: Done) {
        match &mut *self.held.lock() {
            Some(held) => held.push_back((steps, done)),
            None => self.inner.submit(steps, done),
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

    fn level(&self) -> Level {
        self.inner.level()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.inner.close()
    }
}

struct Bench {
    broker: Broker,
    store: Arc<Gated>,
    connections: AtomicU64,
}

impl Bench {
    async fn start() -> Bench {
        Bench::with(Config::default()).await
    }

    async fn with(config: Config) -> Bench {
        let broker_config = Config { sys_interval_seconds: 0, ..config };
        let config = weir_store::Config { url: "memory".to_owned(), ..weir_store::Config::default() };
        let directory = tempfile::tempdir().unwrap();
        let (inner, _) = weir_store::open(&config, directory.path()).unwrap();
        let store = Arc::new(Gated { inner, held: Mutex::new(None) });
        let broker =
            Broker::start(broker_config, store.clone(), Arc::new(Access::open()), FORMS).await.unwrap();
        Bench { broker, store, connections: AtomicU64::new(0) }
    }

    async fn connect(&self, client_id: &str, expiry_seconds: u32) -> Opened {
        let request = Request {
            realm: self.broker.realm_or_new(&DEFAULT_REALM.into()),
            client_id: client_id.into(),
            user_id: None,
            clean_start: false,
            expiry_seconds,
            will: None,
            keep_alive_ms: 0,
            form: 0,
            connection: self.connections.fetch_add(1, Ordering::Relaxed) + 1,
        };
        self.broker.sessions().open(request).await.unwrap()
    }

    async fn subscribe(&self, opened: &Opened, filter: &str, qos: Qos) {
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let filter = Filter::new(filter).unwrap();
        let realm = self.broker.realm_or_new(&DEFAULT_REALM.into());
        self.broker.topics().subscribe(&realm, &opened.session, &[(filter, options)]).await.unwrap();
    }

    async fn publisher(&self, client_id: &str) -> Publisher {
        let opened = self.connect(client_id, 0).await;
        let realm = self.broker.realm_or_new(&DEFAULT_REALM.into());
        Publisher::new(self.broker.clone(), realm, opened.session, Arc::new(Principal::default()), None)
    }

    /// The QoS 0 payloads that wait for a session.
    fn frames(&self, opened: &Opened) -> Vec<u8> {
        let taken = opened.session.outbox.take_frames(self.broker.limits());
        let bytes: Vec<u8> = taken.chunks.iter().flat_map(|chunk| chunk.bytes().to_vec()).collect();
        bytes.chunks(2).map(|frame| frame[1]).collect()
    }

    /// The payloads of numbered copies that wait for a session.
    fn copies(&self, opened: &Opened) -> Vec<u8> {
        let mut copies = Vec::new();
        opened.session.outbox.take_copies(100, self.broker.limits(), &mut copies);
        copies.iter().map(|live| live.delivery.message.payload[0]).collect()
    }
}

fn publish(payload: &[u8], qos: Qos, retain: bool) -> Publish<'_> {
    Publish { topic: "t", payload, qos, retain, expiry_seconds: None, properties: None }
}

#[tokio::test]
async fn what_comes_behind_a_kept_message_waits_for_it() {
    let bench = Bench::start().await;
    let subscriber = bench.connect("s", 0).await;
    bench.subscribe(&subscriber, "t", Qos::AtMostOnce).await;
    let mut publisher = bench.publisher("p").await;
    bench.store.close_gate();
    assert_eq!(publisher.publish(publish(b"1", Qos::AtMostOnce, true), Answering::Nothing), Verdict::Waiting);
    assert_eq!(
        publisher.publish(publish(b"2", Qos::AtMostOnce, false), Answering::Nothing),
        Verdict::Waiting
    );
    publisher.push();
    assert_eq!(publisher.completed(), None);
    assert!(bench.frames(&subscriber).is_empty());
    bench.store.open_gate(None);
    while publisher.completed().is_some() {}
    assert_eq!(bench.frames(&subscriber), b"12");
}

#[tokio::test]
async fn a_refused_message_is_seen_by_nobody() {
    let bench = Bench::start().await;
    let stored = bench.connect("stored", 60).await;
    let clean = bench.connect("clean", 0).await;
    bench.subscribe(&stored, "t", Qos::AtLeastOnce).await;
    bench.subscribe(&clean, "t", Qos::AtLeastOnce).await;
    let mut publisher = bench.publisher("p").await;
    bench.store.close_gate();
    let verdict = publisher.publish(publish(b"1", Qos::AtLeastOnce, false), Answering::Puback(1));
    assert_eq!(verdict, Verdict::Waiting);
    bench.store.open_gate(Some(Refusal::DiskFull));
    let refused = (Answering::Puback(1), Verdict::Refused(Reason::Quota));
    assert_eq!(publisher.completed(), Some(refused));
    publisher.push();
    assert!(bench.copies(&stored).is_empty());
    assert!(bench.copies(&clean).is_empty());
}

#[tokio::test]
async fn an_acknowledgement_waits_for_the_store_only_if_somebody_durable_wants_it() {
    let bench = Bench::start().await;
    let clean = bench.connect("clean", 0).await;
    bench.subscribe(&clean, "t", Qos::AtLeastOnce).await;
    let mut publisher = bench.publisher("p").await;
    bench.store.close_gate();
    let verdict = publisher.publish(publish(b"1", Qos::AtLeastOnce, false), Answering::Puback(1));
    assert_eq!(verdict, Verdict::Accepted { matched: true });
    publisher.push();
    assert_eq!(bench.copies(&clean), b"1");
    bench.store.open_gate(None);
    let stored = bench.connect("stored", 60).await;
    bench.subscribe(&stored, "t", Qos::AtLeastOnce).await;
    bench.store.close_gate();
    let verdict = publisher.publish(publish(b"2", Qos::AtLeastOnce, false), Answering::Puback(2));
    assert_eq!(verdict, Verdict::Waiting);
    bench.store.open_gate(None);
    assert_eq!(publisher.completed(), Some((Answering::Puback(2), Verdict::Accepted { matched: true })));
    assert_eq!((bench.copies(&clean), bench.copies(&stored)), (b"2".to_vec(), b"2".to_vec()));
}

#[tokio::test]
async fn who_subscribes_while_a_retained_message_is_in_the_store_gets_it() {
    let bench = Bench::start().await;
    let mut publisher = bench.publisher("p").await;
    bench.store.close_gate();
    let verdict = publisher.publish(publish(b"1", Qos::AtLeastOnce, true), Answering::Puback(1));
    assert_eq!(verdict, Verdict::Waiting);
    let held = bench.store.held.lock().take();
    let stored = bench.connect("late", 60).await;
    bench.subscribe(&stored, "t", Qos::AtLeastOnce).await;
    *bench.store.held.lock() = held;
    bench.store.open_gate(None);
    assert_eq!(publisher.completed(), Some((Answering::Puback(1), Verdict::Accepted { matched: true })));
    assert_eq!(bench.copies(&stored), b"1");
}

#[tokio::test]
async fn what_a_subscriber_sees_last_of_a_retained_topic_is_what_the_store_holds() {
    let bench = Bench::start().await;
    let subscriber = bench.connect("s", 0).await;
    bench.subscribe(&subscriber, "t", Qos::AtMostOnce).await;
    let (mut first, mut second) = (bench.publisher("p1").await, bench.publisher("p2").await);
    bench.store.close_gate();
    first.publish(publish(b"1", Qos::AtMostOnce, true), Answering::Nothing);
    second.publish(publish(b"2", Qos::AtMostOnce, true), Answering::Nothing);
    bench.store.open_gate(None);
    // The one that was stored later is fanned out first.
    while second.completed().is_some() {}
    while first.completed().is_some() {}
    assert_eq!(bench.frames(&subscriber).last(), Some(&b'2'));
}

#[tokio::test]
async fn a_takeover_leaves_the_session_to_the_newest_connection() {
    let bench = Bench::start().await;
    let first = bench.connect("c", 60).await;
    bench.subscribe(&first, "t", Qos::AtLeastOnce).await;
    let connection = first.session.connection();
    let second = bench.connect("c", 60).await;
    assert!(second.present);
    assert!(Arc::ptr_eq(&first.session, &second.session));
    assert!(!first.session.is_attached_to(connection));
    let closing = Closing {
        realm: bench.broker.realm_or_new(&DEFAULT_REALM.into()),
        session: first.session.clone(),
        connection,
        fence: first.fence,
        will: false,
        will_delay_seconds: 0,
        expiry_seconds: 0,
        sent: 0,
    };
    bench.broker.sessions().close(closing).await;
    assert!(second.session.is_online(), "the old connection's end must not end the new one's session");
    assert_eq!(bench.broker.sessions().count(), (1, 1));
}

#[tokio::test]
async fn the_ledger_balances_after_every_kind_of_copy() {
    let bench = Bench::start().await;
    let stored = bench.connect("stored", 60).await;
    bench.subscribe(&stored, "t", Qos::AtLeastOnce).await;
    let clean = bench.connect("clean", 0).await;
    bench.subscribe(&clean, "t", Qos::AtMostOnce).await;
    let mut publisher = bench.publisher("p").await;
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        publisher.publish(publish(b"x", qos, false), Answering::Nothing);
        publisher.push();
        while publisher.completed().is_some() {}
    }
    publisher.settle();
    let ledger = bench.broker.ledger();
    assert_eq!((ledger.received.get(), ledger.accepted.get(), ledger.matched.get()), (2, 2, 4));
    assert_eq!(ledger.stored.get(), 1);
    assert_eq!(bench.frames(&stored).len() + bench.frames(&clean).len(), 3);
}

#[tokio::test]
async fn a_group_s_queue_is_handed_out_as_fast_as_its_only_member_takes_it() {
    const MESSAGES: u8 = 200;
    let bench = Bench::with(Config { outbox_messages_max: 10, ..Config::default() }).await;
    let realm = bench.broker.realm_or_new(&DEFAULT_REALM.into());
    let away = bench.connect("away", 60).await;
    bench.subscribe(&away, "$share/g/t", Qos::AtLeastOnce).await;
    let closing = Closing {
        realm: realm.clone(),
        session: away.session.clone(),
        connection: away.session.connection(),
        fence: away.fence,
        will: false,
        will_delay_seconds: 0,
        expiry_seconds: 60,
        sent: 0,
    };
    bench.broker.sessions().close(closing).await;
    let mut publisher = bench.publisher("p").await;
    for number in 0..MESSAGES {
        publisher.publish(publish(&[number], Qos::AtLeastOnce, false), Answering::Nothing);
        while publisher.completed().is_some() {}
    }

    let member = bench.connect("member", 0).await;
    bench.subscribe(&member, "$share/g/t", Qos::AtLeastOnce).await;
    bench.broker.collect_shared(&realm, &member.session);
    let mut received = Vec::new();
    let all = async {
        while received.len() < usize::from(MESSAGES) {
            let mut copies = Vec::new();
            member.session.outbox.take_copies(5, bench.broker.limits(), &mut copies);
            for live in copies {
                received.push(live.delivery.message.payload[0]);
                bench.broker.group_ack(&live.claim.expect("a shared copy"));
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), all).await.expect("all of the queue");
    assert_eq!(received, (0..MESSAGES).collect::<Vec<_>>());
    assert!(!member.session.outbox.heard(Bell::Overrun));
}
