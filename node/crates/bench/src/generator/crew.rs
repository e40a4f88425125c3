//! The generator's threads: each with a runtime of its own, all of them waiting for the start together.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use weir_model::Qos;

use super::batch::Batch;
use super::pace::Pace;
use super::publisher::{Manner, Publisher};
use super::receiver::Receiver;
use super::shared::Shared;
use super::{Flow, connect};
use crate::Error;
use crate::args::Load;

/// The longest a paced thread sleeps, so that acknowledgements are read and a stop is seen.
const SLEEP_MAX: Duration = Duration::from_millis(1);

/// How long a thread naps that has nothing to do.
const NAP: Duration = Duration::from_micros(200);

/// The same where publishers wait for acknowledgements: long enough to collect some, short against the
/// time in which a window passes through any broker.
const WINDOWED_NAP: Duration = Duration::from_micros(50);

/// What the threads do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Prepare,
    Run,
    End,
}

/// What one thread plays.
#[derive(Debug, Clone, Copy)]
struct Part {
    publishes: bool,
    receives: bool,
}

/// The threads of one run.
pub(super) struct Crew {
    phase: watch::Sender<Phase>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Connects everybody, and returns when all are connected and subscribed.
    pub(super) fn prepare(flow: &Arc<Flow>, shared: &Arc<Shared>) -> Result<Crew, Error> {
        let (phase, phases) = watch::channel(Phase::Prepare);
        let (ready, readiness) = mpsc::channel();
        let mut crew = Crew { phase, threads: Vec::new() };
        let is_split = flow.load.threads == 2 || flow.load.rate.is_some();
        let parts: &[Part] = if is_split {
            &[Part { publishes: false, receives: true }, Part { publishes: true, receives: false }]
        } else {
            &[Part { publishes: true, receives: true }]
        };
        for part in parts {
            let (flow, shared) = (Arc::clone(flow), Arc::clone(shared));
            let (ready, phases, part) = (ready.clone(), phases.clone(), *part);
            let play = move || play(part, &flow, &shared, ready, phases);
            let thread = std::thread::Builder::new().name("bench".to_owned()).spawn(play);
            crew.threads.push(thread.map_err(|source| Error::Thread { source })?);
        }
        drop(ready);
        for _ in parts {
            readiness.recv().unwrap_or(Err(Error::ThreadDied))?;
        }
        Ok(crew)
    }

    pub(super) fn start(&self) {
        self.phase.send_replace(Phase::Run);
    }
}

impl Drop for Crew {
    /// Closes all connections and waits for the threads.
    fn drop(&mut self) {
        self.phase.send_replace(Phase::End);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on stderr.
            let _ = thread.join();
        }
    }
}

/// A thread's runtime.
///
/// Flat out it naps before it waits for sockets: what arrives meanwhile is taken with one read, and a broker
/// that writes message by message is not measured by what waking a reader for each of them costs.
fn runtime(load: &Load) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    // Between two looks at the sockets: publishers must not starve subscribers.
    builder.enable_all().event_interval(13);
    if load.rate.is_none() {
        let nap = if load.qos == Qos::AtMostOnce { NAP } else { WINDOWED_NAP };
        builder.on_thread_park(move || std::thread::sleep(nap));
    }
    builder.build()
}

/// What one thread does from its start to its end.
fn play(
    part: Part,
    flow: &Flow,
    shared: &Arc<Shared>,
    ready: mpsc::Sender<Result<(), Error>>,
    mut phases: watch::Receiver<Phase>,
) {
    let runtime = match runtime(&flow.load) {
        Ok(runtime) => runtime,
        Err(source) => {
            let _ = ready.send(Err(Error::Thread { source }));
            return;
        }
    };
    runtime.block_on(async {
        let prepared = prepare(part, flow, shared).await;
        let (receivers, publishers) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        for receiver in receivers {
            tokio::spawn(receiver.run());
        }
        let _ = ready.send(Ok(()));
        if phases.wait_for(|phase| *phase != Phase::Prepare).await.is_err() {
            return;
        }
        if flow.load.rate.is_some() {
            pace(publishers, flow, shared).await;
        } else {
            publishers.into_iter().for_each(|publisher| drop(tokio::spawn(publisher.run())));
        }
        // The sender is gone only when the run is over too.
        let _ = phases.wait_for(|phase| *phase == Phase::End).await;
    });
    runtime.shutdown_background();
}

async fn prepare(
    part: Part,
    flow: &Flow,
    shared: &Arc<Shared>,
) -> Result<(Vec<Receiver>, Vec<Publisher>), Error> {
    let (mut receivers, mut publishers) = (Vec::new(), Vec::new());
    let load = &flow.load;
    if part.receives {
        for client in connect::subscribers(flow).await? {
            receivers.push(Receiver::new(client, load.rate.is_some(), Arc::clone(shared)));
        }
    }
    if part.publishes {
        let write_messages = flow.write_messages();
        let manner = Manner { qos: load.qos, window: load.window, write_messages };
        let clients = connect::publishers(flow).await?;
        for (client, topic) in clients.into_iter().zip(&flow.topics) {
            let batch = Batch::new(&flow.shape(topic), write_messages);
            publishers.push(Publisher::new(client, batch, manner.clone(), Arc::clone(shared)));
        }
    }
    Ok((receivers, publishers))
}

/// A paced thread: sends what is due, sleeps until more is.
///
/// It sleeps with the thread, not with the runtime, whose timers know milliseconds only.
async fn pace(mut publishers: Vec<Publisher>, flow: &Flow, shared: &Arc<Shared>) {
    let Some(rate) = flow.load.rate else { return };
    let (start, count) = (shared.elapsed(), publishers.len());
    for (index, publisher) in publishers.iter_mut().enumerate() {
        let pace = Pace::new(rate.get(), flow.write_messages() as u32, index, count);
        publisher.set_pace(pace.starting_at(start));
    }
    while !publishers.is_empty() {
        poll_fn(|cx| {
            publishers.retain_mut(|publisher| publisher.poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        let next = publishers.iter().filter_map(Publisher::next_due).min().unwrap_or_default();
        std::thread::sleep(next.saturating_sub(shared.elapsed()).min(SLEEP_MAX));
        tokio::task::yield_now().await;
    }
}
