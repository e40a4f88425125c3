//! Interest without IO: full sets, changes, gaps.

use proptest::prelude::*;

use super::*;
use crate::link::InterestChange;
use crate::link::wire::proto::interest_frame::Frame;

type Known = HashMap<(Arc<str>, Filter), u32>;

#[derive(Default)]
struct Peer {
    follower: Follower,
    known: Known,
    named: Option<Known>,
    resyncs: u32,
}

impl Peer {
    fn take(&mut self, frame: Frame) {
        match self.follower.take(frame).unwrap() {
            Followed::Full => self.named = Some(Known::new()),
            Followed::FullEnd => self.known = self.named.take().unwrap(),
            Followed::Changed(changes) => {
                let known = self.named.as_mut().unwrap_or(&mut self.known);
                for InterestChange { realm, filter, members } in changes {
                    match members {
                        0 => known.remove(&(realm, filter)),
                        _ => known.insert((realm, filter), members),
                    };
                }
            }
            Followed::Resync => self.resyncs += 1,
            Followed::Compare(digest) => assert_eq!(digest, self.follower.digest()),
            Followed::Barrier { .. } | Followed::Nothing => {}
        }
    }

    fn catch_up(&mut self, offer: &mut Offer, interest: &Interest) {
        while let Some(frame) = interest.with_set(|set| offer.next_frame(set)) {
            self.take(frame);
        }
        self.take(interest.with_set(|set| offer.digest(set)).unwrap());
    }
}

fn realm(name: &str) -> Arc<str> {
    Arc::from(name)
}

fn filter(text: &str) -> Filter {
    Filter::new(text).unwrap()
}

/// What everybody must know, by counting.
#[derive(Default)]
struct Truth(HashMap<(Arc<str>, Filter), u32>);

impl Truth {
    fn change(&mut self, interest: &Interest, add: bool, filter: &Filter) {
        let realm = realm(if filter.as_str().len().is_multiple_of(2) { "even" } else { "odd" });
        let count = self.0.entry((realm.clone(), filter.clone())).or_default();
        if add {
            interest.add(&realm, filter);
            *count += 1;
        } else {
            interest.remove(&realm, filter);
            *count = count.saturating_sub(1);
        }
    }

    fn known(&self) -> Known {
        let wanted = self.0.iter().filter(|(_, count)| **count > 0);
        wanted.map(|(key, count)| (key.clone(), told(&key.1, *count))).collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Change {
        add: bool,
        filter: usize,
    },
    /// So many frames reach the peer.
    Frames(usize),
    /// A frame is lost, as none should be.
    Lose,
    /// A new connection.
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<bool>(), 0..24_usize).prop_map(|(add, filter)| Step::Change { add, filter }),
        3 => (0..40_usize).prop_map(Step::Frames),
        1 => Just(Step::Lose),
        1 => Just(Step::Cut),
    ]
}

proptest! {
    #[test]
    fn a_peer_knows_in_the_end_what_is_wanted(steps in proptest::collection::vec(step(), 0..200)) {
        let interest = Interest::new(8);
        let (mut offer, mut peer, mut truth) = (Offer::default(), Peer::default(), Truth::default());
        let name = |n: usize| filter(&if n.is_multiple_of(3) { format!("$share/g/{n}") } else { format!("t/{n}") });
        offer.begin(0, &interest.set.lock());
        for step in steps {
            match step {
                Step::Change { add, filter } => truth.change(&interest, add, &name(filter)),
                Step::Frames(n) => for _ in 0..n {
                    let Some(frame) = interest.with_set(|set| offer.next_frame(set)) else { break };
                    peer.take(frame);
                },
                Step::Lose => drop(interest.with_set(|set| offer.next_frame(set))),
                Step::Cut => {
                    peer.follower.restart();
                    offer.begin(peer.follower.applied(), &interest.set.lock());
                }
            }
            if std::mem::take(&mut peer.resyncs) > 0 {
                offer.say_all();
            }
        }
        // What was lost is noticed with the next change, or by the digest.
        truth.change(&interest, true, &filter("last"));
        while let Some(frame) = interest.with_set(|set| offer.next_frame(set)) {
            peer.take(frame);
        }
        if peer.follower.applied() != interest.version() {
            offer.say_all();
        }
        peer.catch_up(&mut offer, &interest);
        prop_assert_eq!(peer.known, truth.known());
        prop_assert_eq!(peer.follower.digest(), interest.digest());
    }
}

#[test]
fn a_gap_asks_for_all_once() {
    let interest = Interest::new(100);
    let (mut offer, mut peer) = (Offer::default(), Peer::default());
    offer.begin(0, &interest.set.lock());
    peer.catch_up(&mut offer, &interest);
    for n in 0..3 {
        interest.add(&realm("r"), &filter(&format!("t/{n}")));
        let frame = interest.with_set(|set| offer.next_frame(set)).unwrap();
        if n > 0 {
            peer.take(frame);
        }
    }
    assert_eq!((peer.resyncs, peer.known.len(), peer.follower.applied()), (1, 0, 0));
    offer.say_all();
    peer.catch_up(&mut offer, &interest);
    assert_eq!((peer.resyncs, peer.known.len()), (1, 3));
}

/// The full set had changes that its peer never heard the numbers of: told again they would count twice.
#[test]
fn a_connection_cut_between_a_full_set_and_what_it_was_ahead_of_begins_anew() {
    let interest = Interest::new(100);
    let (mut offer, mut peer) = (Offer::default(), Peer::default());
    interest.add(&realm("r"), &filter("t/0"));
    offer.begin(0, &interest.set.lock());
    peer.take(interest.with_set(|set| offer.next_frame(set)).unwrap());
    interest.add(&realm("r"), &filter("t/1"));
    while !peer.follower.is_whole() {
        peer.take(interest.with_set(|set| offer.next_frame(set)).unwrap());
    }
    assert_eq!(peer.follower.applied(), 1);
    assert!(interest.with_set(|set| offer.next_frame(set)).is_some(), "the second change, which is lost");
    peer.follower.restart();
    offer.begin(peer.follower.applied(), &interest.set.lock());
    peer.catch_up(&mut offer, &interest);
    assert_eq!(peer.known.len(), 2);
}

#[test]
fn frames_stay_below_what_a_reader_takes() {
    let interest = Interest::new(1 << 20);
    let long = "x".repeat(4000);
    for n in 0..5000 {
        interest.add(&realm("r"), &filter(&format!("{long}/{n}")));
    }
    for applied in [0, 1] {
        let mut offer = Offer::default();
        offer.begin(applied, &interest.set.lock());
        while let Some(frame) = interest.with_set(|set| offer.next_frame(set)) {
            let frame = crate::link::wire::proto::InterestFrame { frame: Some(frame) };
            let bytes = prost::Message::encoded_len(&frame);
            assert!(bytes <= crate::link::wire::MESSAGE_BYTES_MAX, "{bytes}");
        }
    }
}

#[test]
fn a_filter_that_is_none_is_refused() {
    let mut follower = Follower::default();
    follower.take(Frame::Full(Default::default())).unwrap();
    let change = |realm, filter: &str| {
        let change = crate::link::wire::proto::Change { realm, filter: filter.to_owned(), was: 0, now: 1 };
        Frame::Changes(crate::link::wire::proto::Changes {
            realms: vec!["r".to_owned()],
            changes: vec![change],
            ..Default::default()
        })
    };
    assert!(follower.take(change(0, "a/#/b")).is_err());
    assert!(follower.take(change(1, "a")).is_err());
    assert!(follower.take(change(0, "a")).is_ok());
}
