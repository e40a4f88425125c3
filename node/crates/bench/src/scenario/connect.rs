//! How many connections a second a broker accepts: open, CONNECT, CONNACK, DISCONNECT, close.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use url::Url;

use crate::Error;
use crate::args::{ConnectArgs, Role};
use crate::client::{self, Client};
use crate::generator::{self, Histogram};
use crate::process::{Process, Processes};
use crate::report::{Latency, Measurement};

/// What one of the parallel loops has done.
#[derive(Debug, Default)]
struct Done {
    connected: u64,
    failed: u64,
    latencies: Histogram,
    last_error: Option<client::Error>,
}

/// Connects and disconnects, `parallel` at a time, for the duration.
pub(super) fn run(args: &ConnectArgs) -> Result<Measurement, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Thread { source })?;
    let server = args.target.servers();
    let server_cpu = || server.as_ref().map(Processes::cpu_time).transpose();
    let (cpu_before, own_before, start) = (server_cpu()?, Process::own().cpu_time()?, Instant::now());
    let mut done = runtime.block_on(connect_in_parallel(args))?;
    let (seconds, own) = (start.elapsed().as_secs_f64(), Process::own().cpu_time()? - own_before);
    let cpu = server_cpu()?.zip(cpu_before).map(|(after, before)| after - before);
    if let (0, Some(error)) = (done.connected, done.last_error.take()) {
        return Err(error.into());
    }
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / done.connected.max(1) as f64;
    Ok(Measurement {
        seconds,
        connections: done.connected,
        refused: done.failed,
        connections_per_second: Some(done.connected as f64 / seconds),
        latency: Latency::of(&done.latencies),
        server_cpu_us_per_message: cpu.map(each),
        generator_cpu_us_per_message: Some(each(own)),
        is_result: done.failed * 1000 <= done.connected,
        ..Measurement::default()
    })
}

async fn connect_in_parallel(args: &ConnectArgs) -> Result<Done, Error> {
    let (args, deadline) = (Arc::new(args.clone()), Instant::now() + args.duration);
    let mut loops = Vec::new();
    for index in 0..args.parallel.get() as usize {
        let turns =
            (0..args.target.urls.len()).map(|turn| args.target.url(Role::Publisher, index + turn).cloned());
        let turns = turns.collect::<Result<Vec<Url>, Error>>()?;
        let prefix = format!("{}x", generator::name("c", index));
        loops.push(tokio::spawn(connect_until(deadline, turns, Arc::clone(&args), prefix)));
    }
    let mut all = Done::default();
    for one in loops {
        let Ok(one) = one.await else { continue };
        all.connected += one.connected;
        all.failed += one.failed;
        all.latencies.merge(&one.latencies);
        all.last_error = all.last_error.or(one.last_error);
    }
    Ok(all)
}

/// To each address in turn. Every connection has a client id of its own: some brokers slow down one that comes back at once.
async fn connect_until(deadline: Instant, turns: Vec<Url>, args: Arc<ConnectArgs>, prefix: String) -> Done {
    let mut options = args.target.client(String::new());
    let mut done = Done::default();
    for url in turns.iter().cycle().take_while(|_| Instant::now() < deadline) {
        options.client_id = format!("{prefix}{}", done.connected + done.failed);
        let start = Instant::now();
        match Client::connect(url, &options).await {
            Ok(client) => {
                done.connected += 1;
                done.latencies.record(start.elapsed().as_nanos() as u64);
                leave(client).await;
            }
            Err(error) => {
                done.failed += 1;
                done.last_error = Some(error);
            }
        }
    }
    done
}

/// DISCONNECT and close, without waiting for the server to close too.
async fn leave(client: Client) {
    let (mut stream, _) = client.into_parts();
    // Whether the goodbye arrives makes no difference to what was measured.
    let _ = stream.write_all(&[0xe0, 0]).await;
    let _ = stream.shutdown().await;
}
