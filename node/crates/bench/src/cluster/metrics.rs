//! What a node says of itself on `/metrics`, asked again and again.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::nodes::Node;
use crate::Error;

/// Live members, as a node sees them.
pub(super) const MEMBERS: &str = "weir_cluster_members";
/// Changes of its peers' interest that a node has taken.
pub(super) const INTEREST_CHANGES: &str = "weir_cluster_link_interest_changes_total";

/// How long a node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How often nodes are asked.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// The sum of all series of a metric; 0 when there is none yet.
pub(super) fn read(node: &Node, name: &str) -> Result<f64, Error> {
    let text = get(node.http()).map_err(|source| Error::Metrics { node: node.name().to_owned(), source })?;
    Ok(sum(&text, name))
}

/// Asks until every node has a value of the metric that `is_it`; when the last of them had.
///
/// # Errors
///
/// That did not happen within `patience`: `what` says what was waited for.
pub(super) fn wait(
    nodes: &[&Node],
    name: &str,
    is_it: impl Fn(f64) -> bool,
    what: &'static str,
    patience: Duration,
) -> Result<Instant, Error> {
    let deadline = Instant::now() + patience;
    for node in nodes {
        while !is_it(read(node, name)?) {
            if Instant::now() > deadline {
                return Err(Error::NotSeen { what, seconds: patience.as_secs() });
            }
            std::thread::sleep(ASK_AGAIN);
        }
    }
    Ok(Instant::now())
}

fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn sum(text: &str, name: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let is_it = rest.starts_with(' ') || rest.starts_with('{');
        is_it.then(|| rest.rsplit(' ').next()?.trim().parse::<f64>().ok())?
    };
    text.lines().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_metric_are_summed_and_longer_names_are_others() {
        let text = "# TYPE a counter\na 2\na_total 7\na{direction=\"sent\"} 3\r\nb 9\n";
        assert_eq!((sum(text, "a"), sum(text, "b"), sum(text, "c")), (5.0, 9.0, 0.0));
    }
}
