//! What an idle connection with one subscription costs the broker in memory.

use std::time::{Duration, Instant};

use weir_model::Qos;

use crate::Error;
use crate::args::{IdleArgs, Role, Target};
use crate::client::Client;
use crate::generator;
use crate::process::Processes;
use crate::report::Measurement;

/// Connections made first and not counted, so that what a broker sets up once is not counted either.
const FIRST: usize = 100;

/// A broker's memory has come to rest when two looks this far apart agree within [`REST_BYTES`].
const LOOK: Duration = Duration::from_millis(250);
const REST_BYTES: u64 = 64 * 1024;

/// The longest wait for that.
const REST_MAX: Duration = Duration::from_secs(10);

/// Opens the connections, subscribes each, and reads the broker's memory before and after.
pub(super) fn run(args: &IdleArgs) -> Result<Measurement, Error> {
    let server = args.target.servers().ok_or(Error::NeedsPid)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Thread { source })?;
    let connections = args.connections.get() as usize;
    let prefix = &args.topic_prefix;
    let start = Instant::now();
    let (before, after) = runtime.block_on(async {
        let first = open(&args.target, prefix, 0..FIRST).await?;
        let before = at_rest(&server).await?;
        let rest = open(&args.target, prefix, FIRST..FIRST + connections).await?;
        let after = at_rest(&server).await?;
        drop((first, rest));
        Ok::<_, Error>((before, after))
    })?;
    Ok(Measurement {
        seconds: start.elapsed().as_secs_f64(),
        connections: args.connections.get().into(),
        rss_bytes_per_connection: Some(after.saturating_sub(before) as f64 / connections as f64),
        is_result: true,
        ..Measurement::default()
    })
}

async fn open(target: &Target, prefix: &str, range: std::ops::Range<usize>) -> Result<Vec<Client>, Error> {
    let names: Vec<String> = range.clone().map(|index| generator::name("i", index)).collect();
    let mut clients = generator::clients(target, Role::Subscriber, &names).await?;
    for (client, index) in clients.iter_mut().zip(range) {
        generator::subscribe(client, &format!("{prefix}/idle/{index}"), Qos::AtMostOnce).await?;
    }
    Ok(clients)
}

/// The broker's memory once it no longer changes.
pub(crate) async fn at_rest(server: &Processes) -> Result<u64, Error> {
    let deadline = Instant::now() + REST_MAX;
    let mut last = server.rss_bytes()?;
    loop {
        tokio::time::sleep(LOOK).await;
        let now = server.rss_bytes()?;
        if now.abs_diff(last) < REST_BYTES || Instant::now() > deadline {
            return Ok(now);
        }
        last = now;
    }
}
