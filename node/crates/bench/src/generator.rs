//! Load on a broker and what came of it, at less cost than the broker's own.
//!
//! Publishers write buffers encoded beforehand, one write each; subscribers read 256 KiB at once and walk
//! from header to header. Nothing is decoded and nothing allocated per message.

mod batch;
mod connect;
mod crew;
mod histogram;
mod intake;
mod lead;
mod pace;
mod publisher;
mod receiver;
mod shared;
mod walk;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use weir_model::Qos;

use crate::Error;
use crate::args::{Load, Role, Target};
use crate::client::Subscription;
use crate::process::Process;
use crate::report::{Latency, Measurement};

pub(crate) use connect::{clients, name, subscribe};
pub(crate) use histogram::Histogram;

use batch::Shape;
use crew::Crew;
use pace::Pace;
use receiver::Receiver;
use shared::{Shared, Snapshot};

/// After this long without a delivery or an acknowledgement nothing more is expected.
const QUIET: Duration = Duration::from_millis(2500);

/// The user property of SUBSCRIBE that says where a stream is read from.
const STREAM_OFFSET: &str = "weir-stream-offset";

/// The longest wait for what is still under way at the end of a run.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// Who sends what to whom.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    pub(crate) target: Target,
    pub(crate) load: Load,
    /// One publisher for each.
    pub(crate) topics: Vec<String>,
    /// One subscriber for each.
    pub(crate) filters: Vec<String>,
    /// How many of the subscribers get each message.
    pub(crate) receivers_per_message: u64,
}

impl Flow {
    fn shape<'a>(&self, topic: &'a str) -> Shape<'a> {
        let Load { size, qos, window, .. } = self.load;
        Shape { topic, size, qos, window, version: self.target.version }
    }

    /// Messages in one write at most.
    fn write_messages(&self) -> usize {
        let topic = self.topics.first().map_or("", String::as_str);
        let wanted = match (self.load.write_messages, self.load.rate) {
            (Some(count), _) => count.get() as usize,
            (None, Some(rate)) => Pace::natural_group(rate.get(), self.topics.len()),
            (None, None) => self.shape(topic).frames_in_a_write(),
        };
        // A paced group goes as one, so it has to fit into the window.
        let is_windowed = self.load.rate.is_some() && self.load.qos != Qos::AtMostOnce;
        if is_windowed { wanted.min(usize::from(self.load.window)) } else { wanted }
    }

    fn check(&self) -> Result<(), Error> {
        if self.load.rate.is_some() && self.load.size < size_of::<u64>() {
            return Err(Error::PayloadTooSmall { size: self.load.size });
        }
        Ok(())
    }
}

/// Where whoever receives messages of a run by other means than MQTT counts them.
#[derive(Clone)]
pub(crate) struct Tap {
    shared: Arc<Shared>,
}

impl Tap {
    /// Counts what one read has brought; the payloads of a paced run begin with the time they were due.
    pub(crate) fn received<'a>(&self, payloads: impl Iterator<Item = &'a [u8]>) {
        let stamp = |payload: &[u8]| payload.first_chunk::<8>().map_or(0, |stamp| u64::from_be_bytes(*stamp));
        let stamps: Vec<u64> = payloads.map(stamp).collect();
        self.shared.counters.delivered.fetch_add(stamps.len() as u64, Relaxed);
        self.shared.add_latencies(&stamps);
    }
}

/// Runs `flow` once: connect, warm up, measure, wait for what is under way.
pub(crate) fn run(flow: &Flow) -> Result<Measurement, Error> {
    run_beside(flow, |_| Ok(()))
}

/// The same beside receivers of another kind, which `begin` starts and whose end is that of what it returns.
pub(crate) fn run_beside<R>(
    flow: &Flow,
    begin: impl FnOnce(Tap) -> Result<R, Error>,
) -> Result<Measurement, Error> {
    flow.check()?;
    let flow = Arc::new(flow.clone());
    let shared = Arc::new(Shared::new(flow.receivers_per_message));
    let receivers = begin(Tap { shared: Arc::clone(&shared) })?;
    let crew = Crew::prepare(&flow, &shared)?;
    crew.start();
    std::thread::sleep(flow.load.warmup);
    let before = Mark::now(&flow, &shared)?;
    shared.record_latencies(true);
    std::thread::sleep(flow.load.duration);
    let after = Mark::now(&flow, &shared)?;
    shared.record_latencies(false);
    shared.stop();
    drain(&shared);
    drop((crew, receivers));
    let measured = measurement(&flow, &before, &after, &shared.snapshot());
    let latency = Latency::of(&shared.latencies());
    Ok(Measurement { latency, ..measured }.with_expected(shared.owed()))
}

/// Connects to sessions that exist, and counts what they get until it is `owed` or nothing more comes.
pub(crate) fn collect(target: &Target, client_ids: &[String], owed: u64) -> Result<u64, Error> {
    let shared = Arc::new(Shared::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Thread { source })?;
    runtime.block_on(async {
        for client in clients(target, Role::Subscriber, client_ids).await? {
            tokio::spawn(Receiver::new(client, false, Arc::clone(&shared)).run());
        }
        let mut watch = Watch::new();
        while shared.snapshot().delivered < owed && watch.is_moving(&shared.snapshot()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(shared.snapshot().delivered)
    })
}

/// Subscribes to a stream from its first record on, and counts what comes until it is `owed` or nothing more comes.
/// Also how long that took, from the SUBSCRIBE.
pub(crate) fn read_stream(
    target: &Target,
    filter: &str,
    qos: Qos,
    owed: u64,
) -> Result<(u64, Duration), Error> {
    let shared = Arc::new(Shared::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Thread { source })?;
    runtime.block_on(async {
        let mut clients = clients(target, Role::Subscriber, &[name("r", 0)]).await?;
        let Some(mut client) = clients.pop() else { return Err(Error::NoAddress) };
        let begun = Instant::now();
        client.begin_subscribe(&[Subscription::new(filter, qos)], &[(STREAM_OFFSET, "earliest")]).await?;
        tokio::spawn(Receiver::new(client, false, Arc::clone(&shared)).run());
        let mut watch = Watch::new();
        while shared.snapshot().delivered < owed && watch.is_moving(&shared.snapshot()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok((shared.snapshot().delivered, begun.elapsed()))
    })
}

/// Waits until all is delivered, or nothing moves any more.
fn drain(shared: &Shared) {
    let mut watch = Watch::new();
    loop {
        let now = shared.snapshot();
        let is_idle = shared.counters.busy_publishers.load(Relaxed) == 0;
        if is_idle && now.delivered >= shared.owed() || !watch.is_moving(&now) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Notices when the counters have come to rest.
struct Watch {
    began: Instant,
    moved: Instant,
    last: (u64, u64),
}

impl Watch {
    fn new() -> Watch {
        Watch { began: Instant::now(), moved: Instant::now(), last: (0, 0) }
    }

    fn is_moving(&mut self, now: &Snapshot) -> bool {
        let state = (now.delivered, now.acknowledged + now.refused);
        if state != self.last {
            self.last = state;
            self.moved = Instant::now();
        }
        self.moved.elapsed() < QUIET && self.began.elapsed() < DRAIN_MAX
    }
}

/// The counters and CPU times at one moment.
struct Mark {
    at: Instant,
    counters: Snapshot,
    server_cpu: Option<Duration>,
    own_cpu: Duration,
}

impl Mark {
    fn now(flow: &Flow, shared: &Shared) -> Result<Mark, Error> {
        let server_cpu = flow.target.servers().map(|servers| servers.cpu_time()).transpose()?;
        let own_cpu = Process::own().cpu_time()?;
        Ok(Mark { at: Instant::now(), counters: shared.snapshot(), server_cpu, own_cpu })
    }
}

fn measurement(flow: &Flow, before: &Mark, after: &Mark, total: &Snapshot) -> Measurement {
    let seconds = (after.at - before.at).as_secs_f64();
    let published = after.counters.published - before.counters.published;
    let delivered = after.counters.delivered - before.counters.delivered;
    // Without receivers the message is done when it is acknowledged.
    let done = match flow.receivers_per_message {
        0 => after.counters.acknowledged - before.counters.acknowledged,
        _ => delivered,
    };
    let per_message = |cpu: Duration| cpu.as_secs_f64() * 1e6 / done.max(1) as f64;
    let server_cpu = after.server_cpu.zip(before.server_cpu).map(|(after, before)| after - before);
    let topic = flow.topics.first().map_or("", String::as_str);
    let frame_bytes = batch::Batch::new(&flow.shape(topic), 1).frame_bytes();
    Measurement {
        seconds,
        published: total.published,
        acknowledged: total.acknowledged,
        delivered: total.delivered,
        refused: total.refused,
        disconnected: total.disconnected,
        published_per_second: Some(published as f64 / seconds),
        delivered_per_second: Some(done as f64 / seconds),
        server_cpu_us_per_message: server_cpu.map(per_message),
        generator_cpu_us_per_message: Some(per_message(after.own_cpu - before.own_cpu)),
        write_messages: Some(flow.write_messages() as u64),
        write_bytes: Some((flow.write_messages() * frame_bytes) as u64),
        connections: (flow.topics.len() + flow.filters.len()) as u64,
        ..Measurement::default()
    }
}
