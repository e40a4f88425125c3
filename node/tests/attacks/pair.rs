//! A well-behaved publisher and subscriber that send QoS 1 through every attack and miss nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use url::Url;
use weir_bench::Client;
use weir_bench::client::{Message, Options, Subscription};
use weir_model::Qos;
use weir_net::client::ClientOptions;
use weir_testkit::{Node, PATIENCE, eventually};

/// Between two messages, so that the pair is not itself the load.
const PACE: Duration = Duration::from_millis(1);

/// What each look at the pair wants to see come through anew.
const ROUNDS: u64 = 10;

/// What the pair shows when it connects.
#[derive(Clone)]
pub struct Credentials {
    pub username: String,
    pub password: Vec<u8>,
}

impl Default for Credentials {
    fn default() -> Credentials {
        Credentials { username: "pair".to_owned(), password: b"pair".to_vec() }
    }
}

/// One message at a time: acknowledged, received, in order, once.
pub struct Pair {
    rounds: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    running: JoinHandle<()>,
}

impl Pair {
    /// Publishes to `topic` over `mqtt` until it is told to stop.
    pub fn on(node: &Node, topic: &str) -> Pair {
        Pair::over(node, "mqtt", topic)
    }

    /// The same by somebody who has to say who it is.
    pub fn of(node: &Node, credentials: Credentials, topic: &str) -> Pair {
        Pair::start(node, "mqtt", credentials, topic)
    }

    /// The same over the listener `mqtts` or `quic`.
    pub fn over(node: &Node, listener: &str, topic: &str) -> Pair {
        Pair::start(node, listener, Credentials::default(), topic)
    }

    fn start(node: &Node, listener: &str, credentials: Credentials, topic: &str) -> Pair {
        let (rounds, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let url = format!("{listener}://localhost:{}", node.address(listener).port());
        let url = Url::parse(&url).expect("a URL");
        let running = std::thread::spawn({
            let (topic, rounds, over) = (topic.to_owned(), rounds.clone(), over.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(run(url, credentials, topic, &rounds, &over));
            }
        });
        Pair { rounds, over, running }
    }

    /// Waits until messages sent from now on have come through.
    pub fn is_served(&self) {
        // The one on its way may have been sent before.
        let wanted = self.rounds.load(Ordering::Acquire) + 1 + ROUNDS;
        eventually("a well-behaved pair to be served", || {
            assert!(!self.running.is_finished(), "the pair failed");
            (self.rounds.load(Ordering::Acquire) >= wanted).then_some(())
        });
    }

    /// Ends it in order. Returns how many messages came through.
    pub fn finish(self) -> u64 {
        self.over.store(true, Ordering::Release);
        if let Err(failure) = self.running.join() {
            std::panic::resume_unwind(failure);
        }
        self.rounds.load(Ordering::Acquire)
    }
}

async fn run(url: Url, credentials: Credentials, topic: String, rounds: &AtomicU64, over: &AtomicBool) {
    let options = |name: &str| Options {
        client_id: format!("pair-{name}-{topic}"),
        username: Some(credentials.username.clone()),
        password: Some(credentials.password.clone()),
        timeout: PATIENCE,
        transport: ClientOptions { insecure: true, ..ClientOptions::default() },
        ..Options::default()
    };
    let mut subscriber = Client::connect(&url, &options("subscriber")).await.expect("let in");
    let codes = subscriber.subscribe(&[Subscription::new(&topic, Qos::AtLeastOnce)], None).await;
    assert_eq!(codes.expect("subscribed")[0].as_u8(), 1);
    let mut publisher = Client::connect(&url, &options("publisher")).await.expect("let in");
    let mut number = 0u64;
    while !over.load(Ordering::Acquire) {
        let message = Message::new(&topic, number.to_be_bytes(), Qos::AtLeastOnce);
        publisher.publish(&message).await.unwrap_or_else(|error| panic!("message {number}: {error}"));
        let next = tokio::time::timeout(PATIENCE, subscriber.next()).await;
        let next = next.unwrap_or_else(|_| panic!("message {number} was acknowledged and is lost"));
        assert_eq!(next.expect("a message").payload, number.to_be_bytes());
        number += 1;
        rounds.store(number, Ordering::Release);
        tokio::time::sleep(PACE).await;
    }
    subscriber.disconnect().await.expect("a goodbye");
    publisher.disconnect().await.expect("a goodbye");
}
