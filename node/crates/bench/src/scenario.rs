//! The scenarios of `weir bench`, from their arguments to their report.

mod connect;
mod durable;
mod flow;
mod idle;

pub(crate) use idle::at_rest;

use weir_model::Qos;

use crate::Error;
use crate::args::{Args, Load, Scenario};
use crate::report::{LoadReport, Measurement, Report};
use crate::{cluster, compare, handlers, stream, wamp};

/// Does what `args` ask for. It makes its own threads and runtimes and blocks until they are done, so it must
/// not be called from an async task.
///
/// # Errors
///
/// A broker that cannot be reached or refuses, a process that cannot be read, arguments that contradict
/// each other. What goes wrong during a measurement is counted in the report.
pub fn run(args: Args) -> Result<Report, Error> {
    Ok(match args.scenario {
        Scenario::Compare(args) => Report::Compare(compare::run(&args)?),
        Scenario::Cluster(args) => Report::Figures(cluster::run(&args)?),
        Scenario::Stream(args) => Report::Figures(stream::run(&args)?),
        Scenario::Handlers(args) => Report::Figures(handlers::run(&args)?),
        Scenario::Wamp(args) => Report::Figures(wamp::run(&args)?),
        other => Report::Load(Box::new(measure(&other)?)),
    })
}

/// Runs one scenario as often as asked.
fn measure(scenario: &Scenario) -> Result<LoadReport, Error> {
    let (name, target) = match scenario {
        Scenario::Connect(args) => ("connect", &args.target),
        Scenario::Idle(args) => ("idle", &args.target),
        Scenario::P2p(args) => ("p2p", &args.target),
        Scenario::Fanout(args) => ("fanout", &args.target),
        Scenario::Fanin(args) => ("fanin", &args.target),
        Scenario::Durable(args) => ("durable", &args.target),
        Scenario::Compare(_)
        | Scenario::Cluster(_)
        | Scenario::Stream(_)
        | Scenario::Handlers(_)
        | Scenario::Wamp(_) => {
            return Err(Error::NoPeers);
        }
    };
    let url = target.addresses();
    let runs = (0..runs(scenario)).map(|_| once(scenario)).collect::<Result<Vec<_>, _>>()?;
    Ok(LoadReport::new(name, url, settings(scenario), runs))
}

fn runs(scenario: &Scenario) -> u32 {
    match scenario {
        Scenario::Connect(args) => args.runs.get(),
        Scenario::P2p(args) => args.load.runs.get(),
        Scenario::Fanout(args) => args.load.runs.get(),
        Scenario::Fanin(args) => args.load.runs.get(),
        Scenario::Durable(args) => args.load.runs.get(),
        Scenario::Idle(_)
        | Scenario::Compare(_)
        | Scenario::Cluster(_)
        | Scenario::Stream(_)
        | Scenario::Handlers(_)
        | Scenario::Wamp(_) => 1,
    }
}

/// Runs one scenario once.
pub(crate) fn once(scenario: &Scenario) -> Result<Measurement, Error> {
    match scenario {
        Scenario::Connect(args) => connect::run(args),
        Scenario::Idle(args) => idle::run(args),
        Scenario::P2p(args) => flow::p2p(args),
        Scenario::Fanout(args) => flow::fanout(args),
        Scenario::Fanin(args) => flow::fanin(args),
        Scenario::Durable(args) => durable::run(args),
        Scenario::Compare(_)
        | Scenario::Cluster(_)
        | Scenario::Stream(_)
        | Scenario::Handlers(_)
        | Scenario::Wamp(_) => Err(Error::NoPeers),
    }
}

/// What was asked for, in a few words.
fn settings(scenario: &Scenario) -> String {
    match scenario {
        Scenario::Connect(args) => format!("{} at a time, {:?}", args.parallel, args.duration),
        Scenario::Idle(args) => format!("{} connections", args.connections),
        Scenario::P2p(args) => format!("{} pairs, {}", args.pairs, of_load(&args.load)),
        Scenario::Fanout(args) => format!("1 to {}, {}", args.subscribers, of_load(&args.load)),
        Scenario::Fanin(args) => format!("{} to 1, {}", args.publishers, of_load(&args.load)),
        Scenario::Durable(args) => {
            let load = of_load(&Load { qos: Qos::AtLeastOnce, ..args.load.clone() });
            format!("{} publishers, {} offline sessions, {load}", args.publishers, args.sessions)
        }
        Scenario::Compare(_)
        | Scenario::Cluster(_)
        | Scenario::Stream(_)
        | Scenario::Handlers(_)
        | Scenario::Wamp(_) => String::new(),
    }
}

fn of_load(load: &Load) -> String {
    let speed = load.rate.map_or("flat out".to_owned(), |rate| format!("{rate} msgs/s"));
    let window = match load.qos {
        Qos::AtMostOnce => String::new(),
        _ => format!(", window {}", load.window),
    };
    format!("QoS {}{window}, {} bytes, {speed}, {:?}", load.qos as u8, load.size, load.duration)
}
