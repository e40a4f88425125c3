//! Random walks: clients come, go and publish while links are cut, mirrors lag and nodes die; and then
//! everything promised must hold.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use weir_broker::publish::Verdict;
use weir_model::Qos;

use super::bed::{Bed, Node, PATIENCE, text, until};
use super::client::{CLEAN, Client, Ending, STAYS};
use super::source::Source;

const NODES: [&str; 3] = ["a", "b", "c"];
const TOPICS: [&str; 3] = ["t/0", "t/1", "t/2"];
/// Everything published here is retained.
const KEPT: &str = "t/2";
const WALKS: u64 = 8;
/// Between two rests.
const STEPS: usize = 150;
const RESTS: usize = 3;
const KILLS_MAX: usize = 2;

/// Numbers that follow from a seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

/// A message that was offered.
struct Sent {
    source: String,
    topic: &'static str,
    payload: String,
    qos: Qos,
    retain: bool,
    /// `None` = not known yet, or never will be.
    verdict: Option<Verdict>,
    id: u16,
    node: &'static str,
    /// Its publisher's node was lost.
    died: bool,
}

struct World {
    dice: Dice,
    bed: Bed,
    sources: BTreeMap<&'static str, (String, Source)>,
    sent: Vec<Sent>,
    /// Persistent ones, connected or not.
    stays: Vec<Client>,
    clean: Vec<Client>,
    /// One on each node that never leaves it.
    steady: Vec<Client>,
    /// The first message that the steady client of a node may get.
    steady_since: HashMap<&'static str, usize>,
    names: usize,
    kills: usize,
}

impl World {
    async fn new(seed: u64) -> World {
        let mut world = World {
            dice: Dice(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            bed: Bed::of(&NODES).await,
            sources: BTreeMap::new(),
            sent: Vec::new(),
            stays: Vec::new(),
            clean: Vec::new(),
            steady: Vec::new(),
            steady_since: HashMap::new(),
            names: 0,
            kills: 0,
        };
        for (place, name) in NODES.into_iter().enumerate() {
            let client = Client::connect(&world.bed.node(name), &format!("stays-{place}"), STAYS).await;
            client.subscribe("t/#", Qos::ExactlyOnce).await;
            world.stays.push(client);
            world.steady_on(name).await;
            world.source_on(name).await;
        }
        world
    }

    async fn source_on(&mut self, name: &'static str) {
        self.names += 1;
        let id = format!("source-{}", self.names);
        let source = Source::on(&self.bed.node(name), &id).await;
        self.sources.insert(name, (id, source));
    }

    async fn steady_on(&mut self, name: &'static str) {
        let client = Client::connect(&self.bed.node(name), &format!("steady-{name}"), CLEAN).await;
        client.subscribe("t/+", Qos::ExactlyOnce).await;
        self.steady.push(client);
    }

    fn some_node(&mut self) -> Arc<Node> {
        let node = self.dice.of(&self.bed.nodes);
        // Who comes here must be answered.
        node.store.let_answers_go();
        node
    }

    async fn step(&mut self) {
        match self.dice.below(25) {
            0..=8 => self.publish().await,
            9..=11 => self.moves().await,
            12 => self.races().await,
            13 => self.wanders().await,
            22 => {
                let place = self.dice.below(self.stays.len());
                let client = &mut self.stays[place];
                client.node.store.let_answers_go();
                client.leave().await;
            }
            14 => self.comes().await,
            15 => self.goes().await,
            16 => {
                let (one, other) = (self.dice.of(&NODES), self.dice.of(&NODES));
                if one != other {
                    self.bed.cut_link(one, other);
                }
            }
            17 => {
                let incarnation = self.dice.of(&self.bed.nodes).incarnation;
                self.bed.store.hold_mirror(incarnation);
            }
            18 | 19 => self.let_mirrors_go(),
            20 => self.dice.of(&self.bed.nodes).store.hold_answers(),
            21 => self.bed.nodes.iter().for_each(|node| node.store.let_answers_go()),
            23 if self.kills < KILLS_MAX && self.dice.below(3) == 0 => self.kill().await,
            _ => self.take().await,
        }
        self.hear();
    }

    fn let_mirrors_go(&self) {
        self.bed.nodes.iter().for_each(|node| self.bed.store.let_mirror_go(node.incarnation));
    }

    async fn publish(&mut self) {
        let name = self.dice.of(&NODES);
        for _ in 0..=self.dice.below(5) {
            let topic = self.dice.of(&TOPICS);
            let qos = self.dice.of(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
            let retain = self.dice.below(4) == 0;
            // Values in different lanes of a connection have no order.
            let (qos, retain) = if topic == KEPT { (Qos::AtLeastOnce, true) } else { (qos, retain) };
            let Some((source, publisher)) = self.sources.get_mut(name) else { return };
            let payload = format!("{source}:{:05}", self.sent.len());
            let id = publisher.send(topic, &payload, qos, retain).await;
            let source = source.clone();
            self.sent.push(Sent {
                source,
                topic,
                payload,
                qos,
                retain,
                verdict: None,
                id,
                node: name,
                died: false,
            });
        }
    }

    /// What has been answered meanwhile.
    fn hear(&mut self) {
        let sources: HashMap<_, _> =
            self.sources.values_mut().map(|(id, source)| (id.clone(), source)).collect();
        let mut sources = sources;
        for sent in self.sent.iter_mut().filter(|sent| sent.verdict.is_none()) {
            if let Some(source) = sources.get_mut(&sent.source) {
                sent.verdict = source.answer(sent.id);
            }
        }
    }

    /// A persistent client comes to some node, whether or not it is connected.
    async fn moves(&mut self) {
        let place = self.dice.below(self.stays.len());
        self.move_one(place).await;
    }

    async fn move_one(&mut self, place: usize) {
        let node = self.some_node();
        let mut before = self.stays.remove(place);
        before.node.store.let_answers_go();
        let moved = before.move_to(&node).await;
        self.stays.insert(place, moved);
        before.leave().await;
    }

    /// It comes to two nodes at once.
    async fn races(&mut self) {
        let place = self.dice.below(self.stays.len());
        let (one, other) = (self.some_node(), self.some_node());
        let mut before = self.stays.remove(place);
        before.node.store.let_answers_go();
        let id = before.id.clone();
        let hold = one.name != other.name && self.dice.below(2) == 0;
        if hold {
            one.store.hold_answers();
        }
        let first = tokio::spawn({
            let (one, id) = (one.clone(), id.clone());
            async move { Client::connect(&one, &id, STAYS).await }
        });
        let second = Client::connect(&other, &id, STAYS).await;
        one.store.let_answers_go();
        let mut both = [first.await.unwrap(), second];
        both.sort_by_key(|client| client.opened.fence.unwrap().fence);
        let [mut loser, mut winner] = both;
        winner.inherit(&mut before);
        self.let_mirrors_go();
        assert_eq!(loser.ends().await, Ending::TakenOver);
        loser.leave().await;
        before.leave().await;
        self.stays.insert(place, winner);
    }

    async fn comes(&mut self) {
        let node = self.some_node();
        self.bed.store.let_mirror_go(node.incarnation);
        self.names += 1;
        let client = Client::connect(&node, &format!("clean-{}", self.names), CLEAN).await;
        let filter = self.dice.of(&["t/0", "t/+", "#", "t/#", "$share/g/t/1"]);
        let qos = self.dice.of(&[Qos::AtMostOnce, Qos::AtLeastOnce]);
        client.subscribe(filter, qos).await;
        self.clean.push(client);
    }

    /// A clean client comes to another node without having left.
    async fn wanders(&mut self) {
        if self.clean.is_empty() {
            return;
        }
        let place = self.dice.below(self.clean.len());
        let mut before = self.clean.swap_remove(place);
        before.node.store.let_answers_go();
        let node = self.some_node();
        self.bed.store.let_mirror_go(node.incarnation);
        let after = before.move_to(&node).await;
        after.subscribe("t/0", Qos::AtLeastOnce).await;
        before.leave().await;
        self.clean.push(after);
    }

    async fn goes(&mut self) {
        if self.clean.is_empty() {
            return;
        }
        let place = self.dice.below(self.clean.len());
        let mut client = self.clean.swap_remove(place);
        client.node.store.let_answers_go();
        client.take().await;
        client.leave().await;
    }

    async fn take(&mut self) {
        for client in self.stays.iter_mut().chain(&mut self.clean).chain(&mut self.steady) {
            if !client.node.store.holds_answers() && self.dice.below(2) == 0 {
                client.answers = self.dice.below(3) > 0;
                client.take().await;
            }
        }
    }

    /// A node dies and another start of it comes.
    async fn kill(&mut self) {
        self.kills += 1;
        let name = self.dice.of(&NODES);
        self.bed.nodes.iter().for_each(|node| node.store.let_answers_go());
        self.let_mirrors_go();
        self.hear();
        self.sources.remove(name);
        self.clean.retain(|client| client.node.name != name);
        self.steady.retain(|client| client.node.name != name);
        // What it had taken for clean sessions died with it.
        self.sent.iter_mut().for_each(|sent| sent.died |= sent.node == name);
        self.bed.kill(name).await;
        self.bed.add(name).await;
        self.bed.introduce().await;
        self.source_on(name).await;
        self.steady_on(name).await;
        self.steady_since.insert(name, self.sent.len());
    }

    /// Everything comes to rest: nothing is held, everybody is there and takes what it is owed.
    async fn rest(&mut self) {
        self.bed.nodes.iter().for_each(|node| node.store.let_answers_go());
        self.let_mirrors_go();
        self.bed.introduce().await;
        for place in 0..self.stays.len() {
            self.stays[place].take().await;
            // Who is there must get all without coming anew.
            let client = &self.stays[place];
            let session = &client.opened.session;
            let is_there = client.ended.is_none() && session.is_attached_to(client.connection);
            if client.node.is_dead() || !is_there {
                self.move_one(place).await;
            }
            self.stays[place].answers = true;
        }
        for (_, source) in self.sources.values_mut() {
            until("all is answered", || {
                source.flush();
                source.waiting() == 0
            })
            .await;
        }
        self.hear();
        for mut client in std::mem::take(&mut self.clean) {
            client.take().await;
            client.leave().await;
        }
        let owed = self.sent.iter().filter(|sent| sent.is_owed());
        let owed: Vec<_> = owed.map(|sent| sent.payload.clone()).collect();
        for client in &mut self.stays {
            gets_all(client, &owed).await;
        }
        for client in &mut self.steady {
            let since = self.steady_since.get(client.node.name).copied().unwrap_or(0);
            let all = self.sent.iter().skip(since).filter(|sent| sent.is_owed() && !sent.died);
            gets_all(client, &all.map(|sent| sent.payload.clone()).collect::<Vec<_>>()).await;
        }
        self.bed.is_at_rest().await;
        for client in self.stays.iter_mut().chain(&mut self.steady) {
            client.take().await;
            assert_eq!(client.ended, None, "{}", client.id);
        }
    }

    fn check(&self) {
        let sent: HashMap<_, _> = self.sent.iter().map(|sent| (sent.payload.as_str(), sent)).collect();
        for client in self.stays.iter().chain(&self.steady) {
            let mut last: HashMap<_, &str> = HashMap::new();
            let mut seen = HashSet::new();
            for got in client.got.iter().filter(|got| got.qos > Qos::AtMostOnce) {
                let of = sent[got.payload.as_str()];
                let is_refused = matches!(of.verdict, Some(Verdict::Refused(_)));
                assert!(!is_refused, "{} got {}, which was refused", client.id, got.payload);
                let is_first = seen.insert(&got.payload);
                // A retained value that was overtaken is corrected, for who has no queue.
                if !is_first && (got.qos < Qos::ExactlyOnce || of.retain && client.is_clean()) {
                    continue;
                }
                assert!(is_first, "{} got {} twice", client.id, got.payload);
                if got.qos == of.qos {
                    let before = last.insert((&of.source, of.topic, of.qos), &got.payload);
                    assert!(
                        before < Some(&got.payload),
                        "{} got {} after {before:?}",
                        client.id,
                        got.payload
                    );
                }
            }
        }
        for client in &self.stays {
            for node in &self.bed.nodes {
                let session = node.broker.sessions().find(&node.realm().name, &client.id.as_str().into());
                let session = session.expect("every node knows it");
                let is_here = node.name == client.node.name;
                assert_eq!(session.is_online(), is_here, "{} at {}", client.id, node.name);
                let home = (!is_here).then_some(client.node.incarnation);
                assert_eq!(session.home(), home, "{} as {} knows", client.id, node.name);
            }
        }
        let kept = self.bed.nodes[0].realm().retained.get(KEPT).map(|kept| text(&kept.payload));
        if let Some(kept) = kept.filter(|kept| !sent[kept.as_str()].died) {
            for client in &self.steady {
                let seen = client.got.iter().rfind(|got| got.topic == KEPT).map(|got| &got.payload);
                let came_later = self.steady_since.get(client.node.name).is_some_and(|since| {
                    self.sent.iter().position(|sent| sent.payload == kept).is_some_and(|at| at < *since)
                });
                assert!(came_later || seen == Some(&kept), "{} saw {seen:?} last, not {kept}", client.id);
            }
        }
        for topic in TOPICS {
            let value = |node: &Arc<Node>| node.realm().retained.get(topic).map(|kept| text(&kept.payload));
            let values: HashSet<_> = self.bed.nodes.iter().map(value).collect();
            assert_eq!(values.len(), 1, "{topic}: {values:?}");
        }
    }

    /// Nobody but the persistent clients wants anything now.
    async fn has_forgotten_the_others(&self) {
        let forgotten = |node: &Arc<Node>| {
            let wanted = TOPICS.iter().all(|topic| node.receivers(topic) == self.stays.len());
            wanted && node.links.interest().digest().filters == 0
        };
        until("the clean ones are forgotten", || self.bed.nodes.iter().all(forgotten)).await;
    }
}

impl Sent {
    /// Whether every persistent client must get it.
    fn is_owed(&self) -> bool {
        self.qos > Qos::AtMostOnce && matches!(self.verdict, Some(Verdict::Accepted { .. }))
    }
}

async fn gets_all(client: &mut Client, payloads: &[String]) {
    let taking = async {
        while !client.has_all(payloads) {
            client.take().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(PATIENCE / 6, taking).await.is_err() {
        let got: HashSet<_> = client.payloads().into_iter().collect();
        let missing: Vec<_> = payloads.iter().filter(|payload| !got.contains(payload.as_str())).collect();
        panic!("{} at {} lacks {missing:?}; ended: {:?}", client.id, client.node.name, client.ended);
    }
}

async fn walk(seed: u64) {
    let mut world = World::new(seed).await;
    for _ in 0..RESTS {
        for _ in 0..STEPS {
            world.step().await;
        }
        world.rest().await;
        world.check();
    }
    for mut client in std::mem::take(&mut world.steady) {
        client.end().await;
    }
    world.has_forgotten_the_others().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_happens_what_was_acknowledged_arrives_and_all_nodes_agree() {
    let given = std::env::var("WEIR_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seeds = given.map_or_else(|| (1..=WALKS).collect(), |seed| vec![seed]);
    for seed in seeds {
        if let Err(failed) = tokio::spawn(walk(seed)).await {
            panic!("the walk of WEIR_SEED={seed} failed: {failed}");
        }
    }
}
