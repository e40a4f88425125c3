//! QoS 1 messages for persistent sessions that are offline: kept while nobody is there, counted afterwards.

use std::time::{Duration, Instant};

use weir_model::Qos;

use crate::Error;
use crate::args::{DurableArgs, Load, Role, Target};
use crate::generator::{self, Flow};
use crate::report::Measurement;

/// How long an MQTT 5 session is to outlive its connection, in seconds.
const SESSION_EXPIRY_SECONDS: u32 = 3600;

/// How long a broker is asked again to give the messages back, and how often.
const COLLECT_MAX: Duration = Duration::from_secs(60);
const COLLECT_PAUSE: Duration = Duration::from_secs(2);

/// Makes the sessions, publishes to them, and comes back for the messages.
///
/// The rate is that of acknowledged publishes; lost is what was acknowledged and did not come back.
pub(super) fn run(args: &DurableArgs) -> Result<Measurement, Error> {
    let names: Vec<String> = (0..args.sessions.get() as usize).map(|at| generator::name("d", at)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Thread { source })?;
    runtime.block_on(make_sessions(args, &names))?;
    let topics = (0..args.publishers.get()).map(|index| topic(args, index % args.sessions.get()));
    let flow = Flow {
        target: args.target.clone(),
        load: Load { qos: Qos::AtLeastOnce, ..args.load.clone() },
        topics: topics.collect(),
        filters: Vec::new(),
        receivers_per_message: 0,
    };
    let measured = generator::run(&flow)?;
    let delivered = collect(&args.target, &names, measured.acknowledged)?;
    runtime.block_on(remove_sessions(&args.target, &names))?;
    let acknowledged = measured.acknowledged;
    Ok(Measurement { delivered, ..measured }.with_expected(acknowledged))
}

/// Comes back for the messages. A broker that is still busy with what it got may refuse for a while.
fn collect(target: &Target, names: &[String], owed: u64) -> Result<u64, Error> {
    let deadline = Instant::now() + COLLECT_MAX;
    loop {
        match generator::collect(&persistent(target), names, owed) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(COLLECT_PAUSE),
            other => return other,
        }
    }
}

fn topic(args: &DurableArgs, session: u32) -> String {
    format!("{}/durable/{session}", args.load.topic_prefix)
}

fn persistent(target: &Target) -> Target {
    Target { clean: false, session_expiry_seconds: Some(SESSION_EXPIRY_SECONDS), ..target.clone() }
}

async fn make_sessions(args: &DurableArgs, names: &[String]) -> Result<(), Error> {
    remove_sessions(&args.target, names).await?;
    let clients = generator::clients(&persistent(&args.target), Role::Subscriber, names).await?;
    for (mut client, session) in clients.into_iter().zip(0..) {
        generator::subscribe(&mut client, &topic(args, session), Qos::AtLeastOnce).await?;
        client.disconnect().await?;
    }
    Ok(())
}

/// A clean start ends what an earlier session has left.
async fn remove_sessions(target: &Target, names: &[String]) -> Result<(), Error> {
    let clean = Target { clean: true, ..target.clone() };
    for client in generator::clients(&clean, Role::Subscriber, names).await? {
        client.disconnect().await?;
    }
    Ok(())
}
