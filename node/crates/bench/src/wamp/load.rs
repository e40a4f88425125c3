//! The load: publishers, subscribers, callers and callees on one thread, and what they have seen of it.
//!
//! All loops are closed: a publisher is never further ahead of its subscribers than its window, so that a router is as
//! busy as it can be and nothing is lost; an event that does not come within [`ARRIVE_MAX`] is an error.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::link::{Ear, Mouth};
use super::speech::{self, Packets, Protocol, Template};
use crate::Error;
use crate::generator::Histogram;
use crate::process::{Process, Processes};

/// How long a thread naps that has nothing to do: what arrives meanwhile is taken with one read.
const NAP: Duration = Duration::from_micros(50);

/// How often a paced publisher sends what is due.
const TICK: Duration = Duration::from_millis(1);

/// After this long, what has not arrived is lost.
const ARRIVE_MAX: Duration = Duration::from_secs(20);

/// How long a run lasts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) warmup: Duration,
    pub(super) measured: Duration,
}

/// What was seen of one run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub(super) per_second: f64,
    /// CPU time of the router, and of the generator, in microseconds for each event or call.
    pub(super) cpu_us: f64,
    pub(super) generator_us: f64,
    /// Seconds.
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// What all connections of a run share.
pub(super) struct Tally {
    begun: Instant,
    /// Events at subscribers, or results at callers.
    arrived: Cell<u64>,
    latencies: RefCell<Histogram>,
    is_over: Cell<bool>,
    failed: RefCell<Option<Error>>,
}

/// A publisher and its subscribers.
pub(super) struct Flow {
    window: u64,
    /// How often each event arrives.
    copies: u64,
    published: Cell<u64>,
    /// Copies that have arrived, or events that were acknowledged.
    returned: Cell<u64>,
    wake: Notify,
}

impl Flow {
    pub(super) fn new(window: u64, copies: u64) -> Rc<Flow> {
        let (published, returned) = (Cell::new(0), Cell::new(0));
        Rc::new(Flow { window, copies, published, returned, wake: Notify::new() })
    }

    /// Events that may be published now.
    fn room(&self) -> u64 {
        self.window.saturating_sub(self.published.get() - self.returned.get() / self.copies)
    }

    fn returns(&self, count: u64) {
        self.returned.set(self.returned.get() + count);
        self.wake.notify_one();
    }

    fn is_complete(&self) -> bool {
        self.returned.get() >= self.published.get() * self.copies
    }
}

impl Tally {
    pub(super) fn new() -> Rc<Tally> {
        Rc::new(Tally {
            begun: Instant::now(),
            arrived: Cell::new(0),
            latencies: RefCell::default(),
            is_over: Cell::new(false),
            failed: RefCell::default(),
        })
    }

    fn now_ns(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    fn arrives(&self, message: &[u8], now_ns: u64) {
        self.arrived.set(self.arrived.get() + 1);
        if let Some(sent_ns) = speech::stamp(message) {
            self.latencies.borrow_mut().record(now_ns.saturating_sub(sent_ns));
        }
    }

    fn fails(&self, error: Error) {
        self.failed.borrow_mut().get_or_insert(error);
    }

    /// Starts one connection's part; an error of it ends the run.
    pub(super) fn spawn(self: &Rc<Self>, part: impl Future<Output = Result<(), Error>> + 'static) {
        let tally = Rc::clone(self);
        tokio::task::spawn_local(async move {
            if let Err(error) = part.await {
                tally.fails(error);
            }
        });
    }
}

/// Publishes as the window allows.
pub(super) async fn publish(
    tally: Rc<Tally>,
    flow: Rc<Flow>,
    mut mouth: Mouth,
    mut template: Template,
) -> Result<(), Error> {
    let mut out = Vec::new();
    while !tally.is_over.get() {
        let room = flow.room();
        if room == 0 {
            flow.wake.notified().await;
            continue;
        }
        let now_ns = tally.now_ns();
        (0..room).for_each(|_| template.append(&mut out, now_ns));
        flow.published.set(flow.published.get() + room);
        mouth.write(&out).await?;
        out.clear();
    }
    stay(mouth).await
}

/// Publishes so many a second.
pub(super) async fn publish_paced(
    tally: Rc<Tally>,
    flow: Rc<Flow>,
    mut mouth: Mouth,
    mut template: Template,
    per_second: f64,
) -> Result<(), Error> {
    let (begun, mut tick) = (Instant::now(), tokio::time::interval(TICK));
    let mut out = Vec::new();
    while !tally.is_over.get() {
        tick.tick().await;
        let due = (begun.elapsed().as_secs_f64() * per_second) as u64;
        let count = due.saturating_sub(flow.published.get());
        (0..count).for_each(|_| template.append(&mut out, tally.now_ns()));
        flow.published.set(flow.published.get() + count);
        mouth.write(&out).await?;
        out.clear();
    }
    stay(mouth).await
}

/// Dropped, a mouth would tell that nothing more comes, and what is on its way to the other side's ear would be lost.
async fn stay(_mouth: Mouth) -> Result<(), Error> {
    std::future::pending().await
}

/// Hears what a publisher is told: acknowledgements, which its flow waits for, and refusals.
pub(super) async fn hear_answers(flow: Rc<Flow>, mut ear: Ear) -> Result<(), Error> {
    loop {
        let (mut acknowledged, mut refusal) = (0, None);
        ear.read(|message| match speech::code(message) {
            17 => acknowledged += 1,
            _ => refusal = Some(refused(message)),
        })
        .await?;
        refusal.map_or(Ok(()), Err)?;
        flow.returns(acknowledged);
    }
}

/// Hears events. `frees`: they make room in the flow's window.
pub(super) async fn subscribe(
    tally: Rc<Tally>,
    flow: Rc<Flow>,
    mut ear: Ear,
    protocol: Protocol,
    frees: bool,
) -> Result<(), Error> {
    let mut packets = Packets::default();
    loop {
        let (mut now_ns, mut arrived) = (None, 0);
        let mut event = |message: &[u8]| {
            arrived += 1;
            tally.arrives(message, *now_ns.get_or_insert_with(|| tally.now_ns()));
        };
        ear.read(|message| match protocol {
            Protocol::Wamp if speech::code(message) == 36 => event(message),
            Protocol::Wamp => tally.fails(refused(message)),
            Protocol::Mqtt => packets.take(message, &mut event),
        })
        .await?;
        if frees {
            flow.returns(arrived);
        }
    }
}

/// Calls, as many at a time as the window allows.
pub(super) async fn call(
    tally: Rc<Tally>,
    flow: Rc<Flow>,
    mut ear: Ear,
    mut mouth: Mouth,
    mut template: Template,
) -> Result<(), Error> {
    let mut out = Vec::new();
    loop {
        let room = if tally.is_over.get() { 0 } else { flow.room() };
        let now_ns = tally.now_ns();
        (0..room).for_each(|_| template.append(&mut out, now_ns));
        flow.published.set(flow.published.get() + room);
        if !out.is_empty() {
            mouth.write(&out).await?;
            out.clear();
        }
        let (mut now_ns, mut arrived) = (None, 0);
        ear.read(|message| match speech::code(message) {
            50 => {
                arrived += 1;
                tally.arrives(message, *now_ns.get_or_insert_with(|| tally.now_ns()));
            }
            _ => tally.fails(refused(message)),
        })
        .await?;
        flow.returns(arrived);
    }
}

/// Answers every call with its own argument.
pub(super) async fn answer(tally: Rc<Tally>, mut ear: Ear, mut mouth: Mouth) -> Result<(), Error> {
    let (mut out, mut scratch) = (Vec::new(), Vec::new());
    loop {
        ear.read(|message| {
            if speech::append_echo(&mut out, &mut scratch, message).is_none() {
                tally.fails(refused(message));
            }
        })
        .await?;
        mouth.write(&out).await?;
        out.clear();
    }
}

fn refused(message: &[u8]) -> Error {
    let said = String::from_utf8_lossy(&message[..message.len().min(200)]).into_owned();
    Error::NotAResult { figures: format!("a client was told {said}") }
}

/// Runs one load: `begin` connects everybody and starts their parts. `is_paced`: the thread sleeps only as the load does.
pub(super) fn run(
    times: Times,
    router: &Processes,
    is_paced: bool,
    begin: impl AsyncFnOnce(&Rc<Tally>) -> Result<Vec<Rc<Flow>>, Error>,
) -> Result<Measured, Error> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().event_interval(13);
    if !is_paced {
        builder.on_thread_park(|| std::thread::sleep(NAP));
    }
    let runtime = builder.build().map_err(|source| Error::Thread { source })?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let tally = Tally::new();
        let flows = begin(&tally).await?;
        tokio::time::sleep(times.warmup).await;
        let measured = measure(times.measured, router, &tally).await?;
        tally.is_over.set(true);
        let deadline = Instant::now() + ARRIVE_MAX;
        while !flows.iter().all(|flow| flow.is_complete()) && tally.failed.borrow().is_none() {
            if Instant::now() > deadline {
                return Err(lost(&flows));
            }
            tokio::time::sleep(TICK).await;
        }
        tally.failed.take().map_or(Ok(measured), Err)
    })
}

async fn measure(time: Duration, router: &Processes, tally: &Tally) -> Result<Measured, Error> {
    tally.latencies.take();
    let own = Process::own();
    let (cpu, own_cpu) = (router.cpu_time()?, own.cpu_time()?);
    let (arrived, begun) = (tally.arrived.get(), Instant::now());
    tokio::time::sleep(time).await;
    let (seconds, count) = (begun.elapsed().as_secs_f64(), (tally.arrived.get() - arrived) as f64);
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / count.max(1.0);
    let latencies = tally.latencies.take();
    Ok(Measured {
        per_second: count / seconds,
        cpu_us: each(router.cpu_time()?.saturating_sub(cpu)),
        generator_us: each(own.cpu_time()?.saturating_sub(own_cpu)),
        p50: latencies.quantile(0.5).as_secs_f64(),
        p99: latencies.quantile(0.99).as_secs_f64(),
    })
}

fn lost(flows: &[Rc<Flow>]) -> Error {
    let missing = |flow: &Rc<Flow>| (flow.published.get() * flow.copies).saturating_sub(flow.returned.get());
    let missing: u64 = flows.iter().map(missing).sum();
    Error::NotAResult { figures: format!("{missing} copies or answers did not come") }
}
