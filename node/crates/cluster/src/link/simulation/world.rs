//! The simulated world: nodes, links, and pipes between them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use weir_model::{Filter, Qos};

use super::ends::{Ears, REALM, TOPICS, hash, run, topic};
use crate::interest::Interest;
use crate::link::metrics::Meters;
use crate::link::wire::{NOTICES, STREAMS, proto, take_frame};
use crate::link::{Config, Full, Inbox, InterestChanges, Link, Made, Past, notice};
use crate::links::{Barrier, LinkLocal};
use proto::interest_frame::Frame;

/// Numbers that look random and are the same for the same seed (SplitMix64).
pub struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// What travels from one end to the other; each stream in order, streams at their own pace.
#[derive(Default)]
struct Pipe {
    numbered: [VecDeque<Bytes>; STREAMS],
    read: [BytesMut; STREAMS],
    interest: VecDeque<Frame>,
    progress: VecDeque<proto::Progress>,
    resync: bool,
}

struct End {
    link: Arc<Link>,
    ears: Arc<Ears>,
    /// A barrier that was read before the changes are said.
    asking: Option<(u64, u64)>,
    pipe: Pipe,
    /// The last number given, by topic and whether it must arrive.
    pushed: HashMap<(usize, bool), u64>,
    /// Records that were given to links that ended early.
    given_up: bool,
    numberings: u64,
}

struct Node {
    interest: Interest,
    counts: HashMap<Filter, u32>,
    barriers: u64,
    /// Filters that every peer must know once it has passed the barrier.
    promised: Vec<(u64, Filter)>,
}

pub struct World {
    dice: Dice,
    nodes: Vec<Node>,
    /// By (from, to).
    ends: HashMap<(usize, usize), End>,
    connected: HashMap<(usize, usize), bool>,
}

fn config() -> Config {
    Config {
        frames_bytes_max: 100_000,
        held_bytes_max: 300_000,
        interest_changes_max: 16,
        ..Config::default()
    }
}

fn name(node: usize) -> weir_net::peer::NodeId {
    format!("n{node}").parse().expect("a name")
}

fn local(node: usize) -> LinkLocal {
    let text = |text: &str| Arc::<str>::from(text);
    let (cluster_id, store_id, version) = (text("c"), text("s"), text("v"));
    LinkLocal { node_id: name(node), incarnation: 1, cluster_id, store_id, version }
}

fn link(to: usize, numbering: u64, past: Option<Past>) -> Arc<Link> {
    let link = Link::new(Made {
        node: name(to),
        incarnation: 1,
        address: "127.0.0.1:1".parse().expect("an address"),
        slot: to as u8,
        numbering,
        config: config(),
        meters: Arc::new(Meters::new()),
    });
    if let Some(past) = past {
        link.remember(&past);
    }
    link
}

impl World {
    pub fn new(seed: u64, nodes: usize) -> World {
        let node = |_| Node {
            interest: Interest::new(config().interest_changes_max),
            counts: HashMap::new(),
            barriers: 0,
            promised: Vec::new(),
        };
        let pairs = (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b))).filter(|(a, b)| a != b);
        let end = |(from, to)| {
            let end = End {
                link: link(to, 1, None),
                ears: Arc::default(),
                asking: None,
                pipe: Pipe::default(),
                pushed: HashMap::new(),
                given_up: false,
                numberings: 1,
            };
            ((from, to), end)
        };
        let nodes_made = (0..nodes).map(node).collect();
        World {
            dice: Dice(seed),
            nodes: nodes_made,
            connected: pairs.clone().filter(|(a, b)| a < b).map(|pair| (pair, false)).collect(),
            ends: pairs.map(end).collect(),
        }
    }

    fn any_end(&mut self) -> (usize, usize) {
        let from = self.dice.below(self.nodes.len());
        let to = (from + 1 + self.dice.below(self.nodes.len() - 1)) % self.nodes.len();
        (from, to)
    }

    pub fn step(&mut self) {
        let (from, to) = self.any_end();
        match self.dice.below(100) {
            0..24 => self.push(from, to),
            24 => (0..150).for_each(|_| self.push(from, to)),
            25..35 => self.change(from),
            35..37 => self.barrier(from),
            37..60 => self.write(from, to),
            60..95 => self.deliver(from, to),
            95..97 => self.connect(from, to),
            97 => self.connect(from, to),
            98 if self.dice.below(6) == 0 => self.cut(from, to),
            98 if self.dice.below(30) == 0 => self.mistake_for_dead(from, to),
            98 if self.dice.below(20) == 0 => {
                // No network loses part of a stream; a fault of a node might.
                let interest = &mut self.end(from, to).pipe.interest;
                interest.pop_front_if(|frame| !matches!(frame, Frame::Barrier(_)));
            }
            _ => self.tick(from, to),
        }
    }

    fn end(&mut self, from: usize, to: usize) -> &mut End {
        self.ends.get_mut(&(from, to)).expect("there is such a link")
    }

    fn push(&mut self, from: usize, to: usize) {
        let (at, sure) = (self.dice.below(TOPICS), self.dice.below(2) == 0);
        let bytes = match self.dice.below(40) {
            0 => 150_000,
            1 => 70_000,
            2..5 => 33_000,
            _ => 8 + self.dice.below(500),
        };
        let end = self.end(from, to);
        let last = end.pushed.entry((at, sure)).or_default();
        let qos = if sure { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let run = run(at, *last + 1, bytes, qos);
        match sure {
            false => end.link.push_frames(hash(at), &run, 1),
            true => match end.link.push_sure(hash(at), &run, 1) {
                Ok(()) => {}
                Err(Full) => return,
            },
        }
        *last += 1;
    }

    fn change(&mut self, at: usize) {
        let n = self.dice.below(40);
        let text = if n.is_multiple_of(4) { format!("$share/g/{n}") } else { format!("f/{n}") };
        let filter = Filter::new(&text).expect("a filter");
        let add = self.dice.below(2) == 0;
        self.change_to(at, &filter, add);
    }

    fn change_to(&mut self, at: usize, filter: &Filter, add: bool) {
        let node = &mut self.nodes[at];
        let count = node.counts.entry(filter.clone()).or_default();
        let realm = Arc::from(REALM);
        match add {
            true => node.interest.add(&realm, filter),
            false => node.interest.remove(&realm, filter),
        }
        *count = count.saturating_add_signed(if add { 1 } else { -1 });
    }

    fn barrier(&mut self, at: usize) {
        self.nodes[at].barriers += 1;
        let id = self.nodes[at].barriers;
        let filter = Filter::new(&format!("promised/{id}")).expect("a filter");
        self.change_to(at, &filter, true);
        self.nodes[at].promised.push((id, filter));
        for (_, end) in self.ends.iter().filter(|((from, _), _)| *from == at) {
            end.link.ask(Barrier::Interest, id);
            end.link.ask(Barrier::Mirror, id);
        }
    }

    fn is_connected(&self, a: usize, b: usize) -> bool {
        self.connected[&(a.min(b), a.max(b))]
    }

    /// One of the writing tasks does a step.
    fn write(&mut self, from: usize, to: usize) {
        if !self.is_connected(from, to) {
            return;
        }
        let task = self.dice.below(STREAMS + 2);
        let interest = &self.nodes[from].interest;
        let end = self.ends.get_mut(&(from, to)).expect("there is such a link");
        match task {
            stream if stream < STREAMS => {
                let mut chunks = Vec::new();
                end.link.take(stream, &mut chunks).expect("the link lives");
                end.pipe.numbered[stream].extend(chunks);
            }
            STREAMS => {
                end.asking = end.asking.take().or_else(|| end.link.asks.lock().next());
                match (end.link.next_interest(interest), end.asking) {
                    (Some(frame), _) => end.pipe.interest.push_back(frame),
                    (None, Some(asked)) => {
                        end.asking = None;
                        end.pipe.interest.push_back(end.link.offer.lock().barrier(asked));
                    }
                    (None, None) => {}
                }
            }
            _ => {
                end.pipe.progress.push_back(end.link.progress());
                end.pipe.resync |= end.link.tell.resync.swap(false, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }

    /// Something of one stream reaches the other end.
    fn deliver(&mut self, from: usize, to: usize) {
        if !self.is_connected(from, to) {
            return;
        }
        let stream = self.dice.below(STREAMS + 2);
        let pipe = &mut self.ends.get_mut(&(from, to)).expect("there is such a link").pipe;
        if stream < STREAMS {
            let chunk = pipe.numbered[stream].pop_front();
            let mut read = std::mem::take(&mut pipe.read[stream]);
            chunk.iter().for_each(|chunk| read.extend_from_slice(chunk));
            self.end(to, from).read(stream, &mut read);
            self.end(from, to).pipe.read[stream] = read;
        } else if stream == STREAMS {
            if let Some(frame) = pipe.interest.pop_front() {
                let end = self.end(to, from);
                let followed = end.link.follower.lock().take(frame).expect("a good frame");
                end.link.followed(followed, &*end.ears);
            }
        } else {
            let (progress, resync) = (pipe.progress.pop_front(), std::mem::take(&mut pipe.resync));
            let end = self.end(to, from);
            if resync {
                end.link.offer.lock().say_all();
                end.link.asks.lock().restart();
            }
            progress.iter().for_each(|progress| end.link.progressed(progress));
            self.check_promises(to, from);
        }
    }

    /// Whoever passed a barrier knows what was said before it.
    fn check_promises(&self, at: usize, peer: usize) {
        let passed = *self.ends[&(at, peer)].link.passed.borrow();
        let heard = self.ends[&(peer, at)].ears.0.lock();
        if self.ends[&(peer, at)].given_up || self.ends[&(at, peer)].given_up {
            // Forgotten with a link that ended by mistake: told anew behind the next full set.
            return;
        }
        for (id, filter) in self.nodes[at].promised.iter().filter(|(id, _)| *id <= passed.interest) {
            assert!(
                heard.wanted.contains_key(filter),
                "n{peer} passed barrier {id} of n{at} without {filter}"
            );
        }
    }

    /// Time passes: the mirror catches up, digests are compared.
    fn tick(&mut self, from: usize, to: usize) {
        let digest =
            self.nodes[from].interest.with_set(|set| self.ends[&(from, to)].link.offer.lock().digest(set));
        let is_connected = self.is_connected(from, to);
        let end = self.end(from, to);
        let mut owed = end.link.owed.lock();
        owed.mirror = owed.mirror_asked;
        drop(owed);
        if is_connected {
            end.pipe.interest.extend(digest);
        }
    }

    fn cut(&mut self, a: usize, b: usize) {
        self.connected.insert((a.min(b), a.max(b)), false);
        for (from, to) in [(a, b), (b, a)] {
            let end = self.end(from, to);
            (end.pipe, end.asking) = (Pipe::default(), None);
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        if self.is_connected(a, b) {
            return;
        }
        let (dials, answers) = (a.min(b), a.max(b));
        let hello = self.end(dials, answers).link.hello(&local(dials));
        let answer = self.end(answers, dials).link.hello(&local(answers));
        for (from, to, hello) in [(dials, answers, answer), (answers, dials, hello)] {
            let interest = &self.nodes[from].interest;
            self.ends[&(from, to)].link.resume(&hello, interest);
        }
        self.connected.insert((dials, answers), true);
    }

    /// One side ends its link, and finds that the peer lives on.
    fn mistake_for_dead(&mut self, from: usize, to: usize) {
        self.cut(from, to);
        let end = self.end(from, to);
        let past = end.link.end();
        let counts = end.link.counts();
        assert_eq!(counts.waiting(), 0);
        end.ears.interest(&end.link, InterestChanges::Gone);
        end.numberings += 1;
        end.link = link(to, end.numberings, Some(past));
        end.given_up = true;
    }

    /// The network becomes well, and all comes to rest.
    pub fn settle(&mut self) {
        for _ in 0..4 {
            self.rest();
            let pairs: Vec<_> = self.ends.keys().copied().collect();
            pairs.into_iter().for_each(|(from, to)| self.tick(from, to));
        }
        self.rest();
    }

    fn rest(&mut self) {
        let mut pairs: Vec<_> = self.ends.keys().copied().collect();
        pairs.sort_unstable();
        for _ in 0..100 * (STREAMS + 2) {
            for (from, to) in pairs.iter().copied() {
                self.connect(from, to);
                self.write(from, to);
                self.deliver(from, to);
                self.deliver(from, to);
            }
        }
    }

    pub fn check(&self) {
        for ((from, to), end) in &self.ends {
            let there = &self.ends[&(*to, *from)];
            let heard = there.ears.0.lock();
            let way = format!("n{from} -> n{to}");
            let mut lacking = 0;
            for ((at, sure), last) in &end.pushed {
                let lane = if *sure { &heard.sure } else { &heard.frames };
                let came = lane.get(&topic(*at)).cloned().unwrap_or_default();
                assert!(came.is_sorted_by(|a, b| a < b), "{way} {at} {sure}: {came:?}");
                lacking += if *sure { last - came.len() as u64 } else { 0 };
            }
            let may_lack = if end.given_up { heard.missed } else { 0 };
            assert!(lacking <= may_lack, "{way}: {lacking} lacking, {may_lack} told");
            let counts = end.link.counts();
            let accounted = counts.dropped + counts.lost + counts.arrived;
            assert_eq!(counts.pushed, accounted, "{way}: {counts:?}");
            assert_eq!(heard.digest, self.nodes[*from].interest.digest(), "{way}");
            let passed = *end.link.passed.borrow();
            if !end.given_up {
                let all = self.nodes[*from].barriers;
                assert_eq!((passed.interest, passed.mirror), (all, all), "{way}");
            }
        }
    }
}

impl End {
    /// Takes whole frames out of what was read.
    fn read(&mut self, stream: usize, read: &mut BytesMut) {
        while let Some((header, bytes)) = take_frame(read).expect("a good frame") {
            let arrived = self.link.inbound[stream].lock().take(header, bytes).expect("no gap");
            let Some(mut run) = self.link.arrived(stream, arrived) else { continue };
            if stream != NOTICES {
                self.ears.records(&self.link, run);
                continue;
            }
            while !run.is_empty() {
                self.ears.control(&self.link, notice::take(&mut run).expect("a notice"));
            }
        }
    }
}
