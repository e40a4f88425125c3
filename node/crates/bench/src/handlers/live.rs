//! A live binding: commands in by MQTT, events out by MQTT.

use weir_model::Qos;

use super::node::Node;
use super::{Figure, IN, OUT, Setup, Unit, not_a_result, rate, run_flow};
use crate::Error;
use crate::report::{LOST_PERCENT_MAX, Latency};

/// What is wanted of it: of the rate without a handler, and of what it adds to the median, in seconds.
const RATIO_MIN: f64 = 0.6;
const ADDED_MAX: f64 = 60e-6;

/// Beside a publish that nobody wants and one that goes to a subscriber, each measured alone: what one machine does of
/// both together is what each leaves of it.
pub(super) fn flat_out(setup: &Setup, qos: Qos) -> Result<Vec<Figure>, Error> {
    let (alone, delivered) = {
        let node = Node::start(setup, "embedded")?;
        let alone = run_flow(&setup.flow(node.target(), qos, IN, None))?;
        (alone, run_flow(&setup.flow(node.target(), qos, OUT, Some(OUT)))?)
    };
    let node = Node::start(setup, "embedded")?;
    node.upload(&setup.handler)?;
    node.bind_live()?;
    let run = run_flow(&setup.flow(node.target(), qos, IN, Some(OUT)))?;
    let published = alone.published_per_second.unwrap_or_default();
    let both = 1.0 / (1.0 / published + 1.0 / rate(&delivered));
    Ok(vec![
        Figure::new("without a handler", Unit::MessagesPerSecond, both),
        Figure::new("with", Unit::MessagesPerSecond, rate(&run)),
        Figure::new("CPU", Unit::MicrosecondsPerMessage, run.server_cpu_us_per_message.unwrap_or_default()),
        Figure::new("lost", Unit::Percent, run.lost_percent),
        Figure::ratio("of it", rate(&run), both).at_least(RATIO_MIN),
    ])
}

pub(super) fn latency(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let paced = |node: &Node, said, heard| -> Result<Latency, Error> {
        let mut flow = setup.flow(node.target(), Qos::AtMostOnce, said, Some(heard));
        flow.load.rate = Some(setup.rate);
        let run = run_flow(&flow)?;
        let latency = run.latency.filter(|_| run.lost_percent <= LOST_PERCENT_MAX);
        latency.ok_or_else(|| not_a_result(&run))
    };
    let node = Node::start(setup, "embedded")?;
    let direct = paced(&node, OUT, OUT)?;
    node.upload(&setup.handler)?;
    node.bind_live()?;
    let handled = paced(&node, IN, OUT)?;
    let seconds = |name, micros: f64| Figure::new(name, Unit::Seconds, micros / 1e6);
    Ok(vec![
        seconds("p50 without", direct.p50_us),
        seconds("p50 with", handled.p50_us),
        seconds("p99 with", handled.p99_us),
        seconds("added p50", handled.p50_us - direct.p50_us).at_most(ADDED_MAX),
    ])
}
