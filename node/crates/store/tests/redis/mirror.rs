//! What one node does, the mirrors of all hear; and what was missed is read again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use smallvec::smallvec;
use weir_model::{Filter, Message, Position, Qos, Topic};
use weir_store::redis::{RedisConfig, RedisStore};
use weir_store::{
    Answer, Config, Fence, Mirror, NodeRef, Open, Outcome, SessionChange, SessionKey, SessionKind, SessionOp,
    Step, Store, SubscriptionOptions, TopicOp,
};
use weir_testkit::{Redis, RedisCluster, eventually};

use crate::connect;

/// A mirror that can be looked at.
#[derive(Default)]
struct Seen {
    retained: Mutex<BTreeMap<String, (Position, Vec<u8>)>>,
    sessions: Mutex<BTreeMap<String, Vec<SessionChange>>>,
}

impl Mirror for Seen {
    fn retained(&self, _: &Arc<str>, topic: &Topic, position: Position, message: Option<&Arc<Message>>) {
        let mut retained = self.retained.lock().unwrap();
        match message {
            Some(message) => retained.insert(topic.to_string(), (position, message.payload.to_vec())),
            None => retained.remove(topic.as_str()),
        };
    }

    fn session(&self, key: &SessionKey, change: SessionChange) {
        self.sessions.lock().unwrap().entry(key.name.to_string()).or_default().push(change);
    }
}

impl Seen {
    fn payload(&self, topic: &str) -> Option<Vec<u8>> {
        self.retained.lock().unwrap().get(topic).map(|(_, payload)| payload.clone())
    }

    fn changes(&self, session: &str) -> Vec<SessionChange> {
        self.sessions.lock().unwrap().get(session).cloned().unwrap_or_default()
    }
}

struct Node {
    store: Arc<dyn Store>,
    seen: Arc<Seen>,
}

impl Node {
    async fn start(url: &str, id: &str) -> Node {
        let redis = RedisConfig { shards: 4, ..connect::config() };
        let config = Config { redis, ..Config::default() };
        let node = NodeRef { node_id: id.into(), incarnation: 1 };
        let store = RedisStore::open(&config, url, "test", node).await.unwrap();
        let seen = Arc::new(Seen::default());
        tokio::task::block_in_place(|| store.restore(seen.clone(), &mut |_| {})).unwrap();
        Node { store, seen }
    }

    async fn submit(&self, step: Step) -> Answer {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let done = move |answer| drop(sender.send(answer));
        self.store.submit(vec![step], Box::new(done));
        receiver.await.unwrap()
    }

    async fn retain(&self, topic: &str, payload: Option<&str>) {
        let message = payload.map(|payload| Arc::new(message(topic, payload)));
        let topic = Topic::new(topic).unwrap();
        let answer =
            self.submit(Step::Topic { realm: "default".into(), topic, op: TopicOp::Retain { message } });
        assert!(matches!(answer.await[0], Ok(ref outcomes) if matches!(outcomes[0], Outcome::Retained(_))));
    }

    async fn open(&self, name: &str) -> Fence {
        let open = Open { owner: None, clean_start: false, persistent: true, expiry_seconds: 60, will: None };
        match &self.session(name, SessionOp::Open(open)).await {
            Outcome::Opened(opened) => opened.fence,
            other => panic!("not opened: {other:?}"),
        }
    }

    async fn session(&self, name: &str, op: SessionOp) -> Outcome {
        let key = SessionKey { realm: "default".into(), kind: SessionKind::Client, name: name.into() };
        let answer = self.submit(Step::Session { key, ops: smallvec![op] }).await;
        answer.into_iter().next().unwrap().unwrap().remove(0)
    }

    async fn caught_up(&self) {
        self.store.caught_up().await.unwrap();
    }
}

fn message(topic: &str, payload: &str) -> Message {
    Message {
        topic: Topic::new(topic).unwrap(),
        payload: payload.as_bytes().to_vec().into(),
        qos: Qos::AtLeastOnce,
        retain: true,
        expires_at: None,
        properties: None,
    }
}

fn subscribe(fence: Fence, filter: &str) -> SessionOp {
    let filter = Filter::new(filter).unwrap();
    SessionOp::Subscribe { fence, filter, options: SubscriptionOptions::default() }
}

async fn hears_everything_of(one: &Node, other: &Node) {
    for number in 0..20 {
        one.retain(&format!("t/{number}"), Some("first")).await;
    }
    let fence = one.open("client").await;
    one.session("client", subscribe(fence, "a/#")).await;
    one.retain("t/3", None).await;
    other.caught_up().await;
    assert_eq!(other.seen.retained.lock().unwrap().len(), 19);
    let changes = other.seen.changes("client");
    assert!(matches!(changes[0], SessionChange::Opened { fence: opened, .. } if opened == fence));
    assert!(matches!(&changes[1], SessionChange::Subscribed { filter, .. } if filter.as_str() == "a/#"));
}

#[tokio::test(flavor = "multi_thread")]
async fn once_caught_up_a_node_has_heard_what_another_was_answered() {
    let redis = Redis::start();
    let (one, other) = (Node::start(&redis.url(), "a").await, Node::start(&redis.url(), "b").await);
    hears_everything_of(&one, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_each_slot_is_heard() {
    let cluster = RedisCluster::start_with(0, |builder| builder);
    let (one, other) = (Node::start(&cluster.url(), "a").await, Node::start(&cluster.url(), "b").await);
    hears_everything_of(&one, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_a_node_came_is_loaded() {
    let redis = Redis::start();
    let one = Node::start(&redis.url(), "a").await;
    one.retain("t", Some("old")).await;
    one.retain("t", Some("new")).await;
    let late = Node::start(&redis.url(), "b").await;
    assert_eq!(late.seen.payload("t"), Some(b"new".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_are_cut_miss_nothing() {
    let redis = Redis::start();
    let (one, other) = (Node::start(&redis.url(), "a").await, Node::start(&redis.url(), "b").await);
    for number in 0..30 {
        if number % 10 == 5 {
            redis.client_kill_all();
        }
        one.retain("t", Some(&number.to_string())).await;
    }
    tokio::task::block_in_place(|| {
        eventually("the last value", || (other.seen.payload("t")? == b"29").then_some(()));
    });
}

/// The key of this name in the shard that has the member in one of its hashes.
fn shard_with(redis: &Redis, hashes: &str, member: &str) -> String {
    let keys: Vec<String> = redis.ask(&["KEYS", hashes]);
    let holds = |key: &&String| redis.ask::<bool>(&["HEXISTS", key, member]);
    let key = keys.iter().find(holds).unwrap_or_else(|| panic!("no {hashes} has {member}"));
    key.rsplit_once("}:").unwrap().0.to_owned() + "}"
}

/// Takes a field out of a hash and has the shard's stream say nothing of it: more entries come than are kept.
fn lose(redis: &Redis, shard: &str, hash: &str, field: &str) {
    let script = "redis.call('HDEL', KEYS[1], ARGV[1])
        for _ = 1, 600 do
          redis.call('XADD', KEYS[2], '*', 'kind', 'ended', 'session', 'c:default:nobody', 'generation', 1)
        end
        redis.call('XTRIM', KEYS[2], 'MAXLEN', 512)
        return 1";
    let (hash, changes) = (format!("{shard}:{hash}"), format!("{shard}:changes"));
    redis.ask::<i64>(&["EVAL", script, "2", &hash, &changes, field]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_changes_were_trimmed_unheard_everything_is_read_again() {
    let redis = Redis::start();
    let node = Node::start(&redis.url(), "a").await;
    node.retain("lost", Some("value")).await;
    node.caught_up().await;
    let shard = shard_with(&redis, "{weir:t*}:retained", "default:lost");
    lose(&redis, &shard, "retained", "default:lost");
    node.caught_up().await;
    assert_eq!(node.seen.payload("lost"), None);
    node.retain("lost", Some("again")).await;
    assert_eq!(node.seen.payload("lost"), Some(b"again".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_which_changes_were_missed_is_heard_of_as_it_is_now() {
    let redis = Redis::start();
    let (one, other) = (Node::start(&redis.url(), "a").await, Node::start(&redis.url(), "b").await);
    let fence = one.open("client").await;
    one.session("client", subscribe(fence, "stays")).await;
    one.session("client", subscribe(fence, "goes")).await;
    other.caught_up().await;
    let before = other.seen.changes("client").len();
    let shard = shard_with(&redis, "{weir:s*}:sessions", "c:default:client");
    lose(&redis, &shard, "subscriptions:c:default:client", "goes");
    other.caught_up().await;
    let changes = other.seen.changes("client").split_off(before);
    assert!(matches!(changes[0], SessionChange::Opened { present: false, .. }), "{changes:?}");
    assert!(matches!(&changes[1], SessionChange::Subscribed { filter, .. } if filter.as_str() == "stays"));
    assert_eq!(changes.len(), 2);
    // The node that has it knows better than a load.
    one.caught_up().await;
    let own = one.seen.changes("client");
    assert!(matches!(own.last(), Some(SessionChange::Subscribed { .. })), "{own:?}");
    assert!(!own[1..].iter().any(|change| matches!(change, SessionChange::Opened { present: false, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_unheard_is_taken_back() {
    let redis = Redis::start();
    let (one, other) = (Node::start(&redis.url(), "a").await, Node::start(&redis.url(), "b").await);
    let fence = one.open("client").await;
    other.caught_up().await;
    let shard = shard_with(&redis, "{weir:s*}:sessions", "c:default:client");
    lose(&redis, &shard, "sessions", "c:default:client");
    other.caught_up().await;
    let last = other.seen.changes("client").pop();
    assert_eq!(last, Some(SessionChange::Ended { generation: fence.generation }));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_wait_to_be_caught_up_ask_together() {
    let redis = Redis::start();
    let node = Node::start(&redis.url(), "a").await;
    let before: String = redis.ask(&["INFO", "commandstats"]);
    let waits = (0..500).map(|_| node.store.caught_up());
    for caught_up in futures_util::future::join_all(waits).await {
        caught_up.unwrap();
    }
    let after: String = redis.ask(&["INFO", "commandstats"]);
    let calls = |text: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix("cmdstat_eval:calls=")).unwrap_or("0,");
        line.split(',').next().unwrap().parse().unwrap()
    };
    let asked = calls(&after) - calls(&before);
    assert!(asked < 100, "500 waits asked {asked} times");
}
