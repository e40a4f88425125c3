//! The ledger balances at rest, whatever was done before.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use weir_broker::Config;
use weir_broker::ledger::{Balance, Loss, Refused, Tally};
use weir_broker::outbox::Live;
use weir_broker::publish::{Answering, Publisher, Verdict};
use weir_broker::session::directory::Opened;
use weir_broker::session::window::Held;
use weir_model::{Filter, Qos};
use weir_store::Refusal;

use super::bench::{Bench, publish};

/// How long spawned hand-overs may take before the ledger is asked.
const PATIENCE: Duration = Duration::from_secs(2);

const FILTERS: [&str; 5] = ["t", "+", "u", "$share/g/t", "$share/h/+"];

/// What one client or the store does.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Takes the session over if it is connected.
    Connect {
        client: u8,
        persistent: bool,
    },
    /// Without a word, with everything unanswered.
    Disconnect {
        client: u8,
        ends: bool,
    },
    Subscribe {
        client: u8,
        filter: usize,
        qos: Qos,
    },
    Unsubscribe {
        client: u8,
        filter: usize,
    },
    Publish {
        publisher: u8,
        qos: Qos,
        retain: bool,
        times: u8,
    },
    /// Its task panics with whatever it has in hand.
    LosePublisher {
        publisher: u8,
    },
    /// Sends what waits, so many numbered copies at most.
    Take {
        client: u8,
        copies: usize,
    },
    Acknowledge {
        client: u8,
    },
    HoldStore,
    ReleaseStore {
        refusal: Option<Refusal>,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let client = 0..4u8;
    let qos = prop_oneof![Just(Qos::AtMostOnce), Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)];
    let filter = 0..FILTERS.len();
    let refusal = prop_oneof![
        Just(None),
        Just(Some(Refusal::DiskFull)),
        Just(Some(Refusal::Unknown)),
        Just(Some(Refusal::QueueRefuses))
    ];
    prop_oneof![
        3 => (client.clone(), any::<bool>()).prop_map(|(client, persistent)| Act::Connect { client, persistent }),
        2 => (client.clone(), any::<bool>()).prop_map(|(client, ends)| Act::Disconnect { client, ends }),
        4 => (client.clone(), filter.clone(), qos.clone())
            .prop_map(|(client, filter, qos)| Act::Subscribe { client, filter, qos }),
        1 => (client.clone(), filter).prop_map(|(client, filter)| Act::Unsubscribe { client, filter }),
        8 => (0..2u8, qos, any::<bool>(), 1..6u8)
            .prop_map(|(publisher, qos, retain, times)| Act::Publish { publisher, qos, retain, times }),
        1 => (0..2u8).prop_map(|publisher| Act::LosePublisher { publisher }),
        4 => (client.clone(), 0..4usize).prop_map(|(client, copies)| Act::Take { client, copies }),
        2 => client.prop_map(|client| Act::Acknowledge { client }),
        1 => Just(Act::HoldStore),
        1 => refusal.prop_map(|refusal| Act::ReleaseStore { refusal }),
    ]
}

/// A client's side: counts what it sends as a connection does.
struct Client {
    opened: Opened,
    connection: u64,
    next: u64,
    tally: Tally,
    held: Vec<Held>,
}

impl Client {
    fn send(&mut self, live: Live) {
        let stored = live.is_stored();
        if let Some(number) = live.number {
            if number < self.next {
                return;
            }
            self.next = number + 1;
        }
        self.tally.restored += u64::from(stored);
        self.tally.deliver(1, false);
        self.held.extend(live.claim.map(|claim| Held { delivery: live.delivery, claim }));
    }
}

struct World {
    bench: Bench,
    clients: BTreeMap<u8, Client>,
    publishers: BTreeMap<u8, Publisher>,
    is_held: bool,
}

impl World {
    async fn new() -> World {
        let config = Config {
            outbox_messages_max: 3,
            outbox_bytes_max: 64,
            outbox_bytes_high: 16,
            shared_handovers_max: 2,
            ..Config::default()
        };
        let store = weir_store::Config { queue_messages_max: 4, ..weir_store::Config::default() };
        let bench = Bench::over(config, store).await;
        World { bench, clients: BTreeMap::new(), publishers: BTreeMap::new(), is_held: false }
    }

    /// Somebody of each kind: a persistent and a clean session, a group of clean members, a mixed group.
    async fn populate(&mut self) {
        let members = [(0, true, 0), (1, false, 3), (2, false, 3), (3, true, 4), (2, false, 4)];
        for (client, persistent, filter) in members {
            if !self.clients.contains_key(&client) {
                self.act(Act::Connect { client, persistent }).await;
            }
            self.act(Act::Subscribe { client, filter, qos: Qos::ExactlyOnce }).await;
        }
    }

    async fn act(&mut self, act: Act) {
        // While the store holds everything back, nobody can come or go.
        if self.is_held && matches!(act, Act::Connect { .. } | Act::Disconnect { .. }) {
            return;
        }
        match act {
            Act::Connect { client, persistent } => self.connect(client, persistent).await,
            Act::Disconnect { client, ends } => self.disconnect(client, ends).await,
            Act::Subscribe { client, filter, qos } => {
                let Some(client) = self.clients.get(&client) else { return };
                self.bench.subscribe(&client.opened, FILTERS[filter], qos).await;
                self.bench.broker.collect_shared(&self.bench.realm(), &client.opened.session);
            }
            Act::Unsubscribe { client, filter } => {
                let Some(client) = self.clients.get(&client) else { return };
                let filter = Filter::new(FILTERS[filter]).unwrap();
                let (realm, session) = (self.bench.realm(), &client.opened.session);
                self.bench.broker.topics().unsubscribe(&realm, session, [filter]).await.unwrap();
            }
            Act::Publish { publisher, qos, retain, times } => {
                self.publish(publisher, qos, retain, times).await;
            }
            Act::LosePublisher { publisher } => drop(self.publishers.remove(&publisher)),
            Act::Take { client, copies } => self.take(client, copies),
            Act::Acknowledge { client } => {
                let Some(client) = self.clients.get_mut(&client) else { return };
                client.held.drain(..).for_each(|held| self.bench.broker.group_ack(&held.claim));
            }
            Act::HoldStore if self.is_held => {}
            Act::HoldStore => {
                self.is_held = true;
                self.bench.store.close_gate();
            }
            Act::ReleaseStore { refusal } => {
                self.is_held = false;
                self.bench.store.open_gate(refusal);
            }
        }
    }

    async fn connect(&mut self, client: u8, persistent: bool) {
        let opened = self.bench.connect(&format!("c{client}"), if persistent { 60 } else { 0 }).await;
        let old = self.clients.remove(&client);
        let (connection, next) = (opened.session.connection(), opened.queue.head);
        let fresh = Client { opened, connection, next, tally: Tally::default(), held: Vec::new() };
        self.clients.insert(client, fresh);
        if let Some(old) = old {
            self.leave(old, true).await;
        }
    }

    async fn disconnect(&mut self, client: u8, ends: bool) {
        if let Some(client) = self.clients.remove(&client) {
            self.leave(client, ends).await;
        }
    }

    async fn leave(&self, mut client: Client, ends: bool) {
        self.bench.broker.ledger().settle(&mut client.tally);
        let closing = self.bench.closing(&client.opened, client.connection, if ends { 0 } else { 60 });
        self.bench.broker.sessions().close(closing).await;
        self.bench.broker.take_back(&self.bench.realm(), &client.opened.session, client.held);
    }

    async fn publish(&mut self, name: u8, qos: Qos, retain: bool, times: u8) {
        if !self.publishers.contains_key(&name) {
            if self.is_held {
                return;
            }
            let publisher = self.bench.publisher(&format!("p{name}")).await;
            self.publishers.insert(name, publisher);
        }
        let Some(publisher) = self.publishers.get_mut(&name) else { return };
        let answering = match qos {
            Qos::AtMostOnce => Answering::Nothing,
            Qos::AtLeastOnce => Answering::Puback(1),
            Qos::ExactlyOnce => Answering::Pubrec(1),
        };
        for number in 0..times {
            // Offered again once the run was pushed, whoever is pressed.
            if publisher.publish(publish(&[number], qos, retain), answering) == Verdict::Hold {
                publisher.push();
                publisher.publish(publish(&[number], qos, retain), answering);
            }
        }
        // Sometimes there is more to come in the same read.
        if times != 3 {
            publisher.push();
        }
    }

    fn take(&mut self, client: u8, copies: usize) {
        let Some(client) = self.clients.get_mut(&client) else { return };
        if !client.opened.session.is_attached_to(client.connection) {
            return;
        }
        let (outbox, limits) = (&client.opened.session.outbox, self.bench.broker.limits());
        let taken = outbox.take_frames(limits);
        client.tally.delivered += taken.messages;
        let mut numbered = Vec::new();
        outbox.take_copies(copies, limits, &mut numbered);
        numbered.into_iter().for_each(|live| client.send(live));
    }

    /// Everybody comes to the end of what is under way; then both sides must be equal.
    async fn rest(&mut self) -> Balance {
        if std::mem::take(&mut self.is_held) {
            self.bench.store.open_gate(None);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            for publisher in self.publishers.values_mut() {
                publisher.push();
                while publisher.completed().is_some() {}
                publisher.settle();
            }
            for client in self.clients.values_mut() {
                self.bench.broker.ledger().settle(&mut client.tally);
            }
            let balance = self.bench.broker.balance();
            if balance.imbalance() == 0 || Instant::now() > deadline {
                return balance;
            }
            tokio::task::yield_now().await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_balances_at_rest_whatever_clients_and_the_store_do(
        acts in prop::collection::vec(act(), 1..120),
        rest_every in 1..20usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            world.populate().await;
            for (place, act) in acts.into_iter().enumerate() {
                world.act(act).await;
                if place % rest_every == 0 {
                    let balance = world.rest().await;
                    prop_assert_eq!(balance.imbalance(), 0, "after {} acts: {:?}", place + 1, balance);
                }
            }
            let balance = world.rest().await;
            prop_assert_eq!(balance.imbalance(), 0, "{:?}", balance);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn each_kind_of_copy_is_counted_where_it_goes() {
    let mut world = World::new().await;
    for (client, persistent) in [(0, true), (1, false)] {
        world.act(Act::Connect { client, persistent }).await;
        world.act(Act::Subscribe { client, filter: 0, qos: Qos::AtLeastOnce }).await;
    }
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        world.act(Act::Publish { publisher: 0, qos, retain: false, times: 1 }).await;
    }
    let balance = world.rest().await;
    assert_eq!((balance.received, balance.accepted, balance.matched), (2, 2, 4));
    assert_eq!((balance.stored, balance.in_outboxes, balance.delivered), (1, 3, 0));
    world.act(Act::Take { client: 0, copies: 3 }).await;
    world.act(Act::Take { client: 1, copies: 3 }).await;
    let balance = world.rest().await;
    assert_eq!((balance.restored, balance.in_outboxes, balance.delivered), (1, 0, 4));
    assert_eq!(balance.imbalance(), 0);
}

#[tokio::test]
async fn what_a_panicked_publisher_had_taken_in_still_arrives() {
    let mut world = World::new().await;
    world.act(Act::Connect { client: 0, persistent: false }).await;
    world.act(Act::Subscribe { client: 0, filter: 0, qos: Qos::AtLeastOnce }).await;
    world.act(Act::Publish { publisher: 0, qos: Qos::AtMostOnce, retain: false, times: 1 }).await;
    world.act(Act::HoldStore).await;
    world.act(Act::Publish { publisher: 0, qos: Qos::AtLeastOnce, retain: true, times: 1 }).await;
    world.act(Act::Publish { publisher: 0, qos: Qos::AtLeastOnce, retain: false, times: 1 }).await;
    world.act(Act::LosePublisher { publisher: 0 }).await;
    let balance = world.bench.broker.balance();
    assert_eq!((balance.received, balance.in_lines, balance.imbalance()), (3, 2, 0));
    world.act(Act::ReleaseStore { refusal: None }).await;
    while world.bench.broker.balance().in_lines > 0 {
        tokio::task::yield_now().await;
    }
    let balance = world.rest().await;
    assert_eq!((balance.accepted, balance.in_outboxes, balance.imbalance()), (3, 3, 0));
}

#[tokio::test]
async fn a_refusal_of_the_store_is_counted_as_one_and_owes_no_copies() {
    let mut world = World::new().await;
    world.act(Act::Connect { client: 0, persistent: true }).await;
    world.act(Act::Subscribe { client: 0, filter: 0, qos: Qos::AtLeastOnce }).await;
    world.act(Act::HoldStore).await;
    world.act(Act::Publish { publisher: 0, qos: Qos::AtLeastOnce, retain: false, times: 1 }).await;
    // The publisher came too late; it comes now.
    world.act(Act::ReleaseStore { refusal: None }).await;
    world.act(Act::Publish { publisher: 0, qos: Qos::AtLeastOnce, retain: false, times: 1 }).await;
    world.act(Act::HoldStore).await;
    world.act(Act::Publish { publisher: 0, qos: Qos::AtLeastOnce, retain: false, times: 1 }).await;
    world.act(Act::Publish { publisher: 0, qos: Qos::AtMostOnce, retain: true, times: 1 }).await;
    world.act(Act::ReleaseStore { refusal: Some(Refusal::DiskFull) }).await;
    let balance = world.rest().await;
    assert_eq!(balance.imbalance(), 0, "{balance:?}");
    let ledger = world.bench.broker.ledger();
    assert_eq!((ledger.refused(Refused::DiskFull), ledger.dropped(Loss::RetainSkipped)), (1, 1));
    assert_eq!((balance.received, balance.accepted), (3, 2));
}
