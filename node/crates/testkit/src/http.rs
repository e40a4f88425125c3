//! Just enough HTTP to ask a node for its metrics and its health.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::PATIENCE;

/// An answer, headers left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// Metrics at one moment: `name{label="value"}` to number.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics(BTreeMap<String, f64>);

/// GET, in one connection of its own.
///
/// # Panics
/// There is no answer.
#[must_use]
pub fn get(address: SocketAddr, path: &str) -> Answer {
    try_get(address, path).unwrap_or_else(|error| panic!("no answer to GET {path} at {address}: {error}"))
}

/// The same for a node that may have closed its listener.
pub fn try_get(address: SocketAddr, path: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let broken = || std::io::Error::other(format!("not an HTTP answer: {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    Ok(Answer { status, body: body.to_owned() })
}

impl Metrics {
    /// Reads the Prometheus text format.
    #[must_use]
    pub fn read(text: &str) -> Metrics {
        let of_line = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Metrics(text.lines().filter(|line| !line.starts_with('#')).filter_map(of_line).collect())
    }

    /// One series by its whole name; 0 when nothing was counted yet.
    #[must_use]
    pub fn value(&self, series: &str) -> f64 {
        self.0.get(series).copied().unwrap_or(0.0)
    }

    /// All series of a metric together, whatever their labels.
    #[must_use]
    pub fn sum(&self, metric: &str) -> f64 {
        let is_of = |series: &str| series.split('{').next() == Some(metric);
        self.0.iter().filter(|(series, _)| is_of(series)).map(|(_, value)| value).sum()
    }

    /// Every series, in order of its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(series, value)| (series.as_str(), *value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_metric_are_summed_and_the_others_left_out() {
        let text = "# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_total_other 7\n";
        let metrics = Metrics::read(text);
        assert_eq!(metrics.sum("a_total"), 5.0);
        assert_eq!(metrics.value("a_total{x=\"2\"}"), 3.0);
        assert_eq!(metrics.value("missing"), 0.0);
    }
}
