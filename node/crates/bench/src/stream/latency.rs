//! From when a message is due to when a consumer has it, at a rate that leaves the machine air.

use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::node::{Node, runtime};
use super::{Figure, STREAM_FILTER, Setup, Tap, Unit, consumer};
use crate::redis::Redis;
use crate::report::{LOST_PERCENT_MAX, Latency, Measurement};
use crate::{Error, generator};

/// Publishers that share the rate.
const PUBLISHERS: usize = 10;

/// What is wanted of the median, in seconds.
const P50_MAX: f64 = 0.0015;

pub(super) fn embedded(setup: &Setup) -> Result<Vec<Figure>, Error> {
    both(setup, "embedded")
}

pub(super) fn on_redis(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let redis = Redis::start()?;
    both(setup, &redis.url())
}

/// A member of a group by gRPC, and then a subscriber by MQTT, each with a node of its own.
fn both(setup: &Setup, store: &str) -> Result<Vec<Figure>, Error> {
    let by_grpc = {
        let node = std::sync::Arc::new(Node::start(setup, store, "auto")?);
        measure(setup, &node, Vec::new(), |tap| Member::start(std::sync::Arc::clone(&node), tap))?
    };
    let by_mqtt = {
        let node = Node::start(setup, store, "auto")?;
        measure(setup, &node, vec![STREAM_FILTER.to_owned()], |_| Ok(()))?
    };
    let seconds = |name, micros: f64| Figure::new(name, Unit::Seconds, micros / 1e6);
    Ok(vec![
        seconds("gRPC Consume p99", by_grpc.p99_us),
        seconds("MQTT $stream p99", by_mqtt.p99_us),
        seconds("gRPC Consume p50", by_grpc.p50_us).at_most(P50_MAX),
        seconds("MQTT $stream p50", by_mqtt.p50_us).at_most(P50_MAX),
    ])
}

fn measure<R>(
    setup: &Setup,
    node: &Node,
    filters: Vec<String>,
    begin: impl FnOnce(Tap) -> Result<R, Error>,
) -> Result<Latency, Error> {
    let mut flow = setup.flow(node.target(), PUBLISHERS);
    flow.load.rate = Some(setup.rate);
    (flow.filters, flow.receivers_per_message) = (filters, 1);
    let run = generator::run_beside(&flow, begin)?;
    let latency = run.latency.filter(|_| run.lost_percent <= LOST_PERCENT_MAX);
    latency.ok_or_else(|| not_a_result(&run))
}

fn not_a_result(run: &Measurement) -> Error {
    Error::NotAResult { figures: run.to_string().trim().to_owned() }
}

/// A member of the group, on a thread of its own until it is dropped.
struct Member {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    fn start(node: std::sync::Arc<Node>, tap: Tap) -> Result<Member, Error> {
        let (end, ended) = oneshot::channel();
        let runtime = runtime()?;
        let work = move || {
            runtime.block_on(async {
                let joined = consumer::join(&node, |records| {
                    let payloads = records.iter().filter_map(|one| one.record.as_ref());
                    tap.received(payloads.map(|record| &record.payload[..]));
                    true
                });
                tokio::select! {
                    joined = joined => if let Err(error) = joined {
                        eprintln!("  {error}");
                    },
                    _ = ended => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
        };
        let thread = std::thread::Builder::new().name("member".to_owned()).spawn(work);
        let thread = thread.map_err(|source| Error::Thread { source })?;
        Ok(Member { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so on stderr.
            let _ = thread.join();
        }
    }
}
