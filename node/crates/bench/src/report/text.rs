//! A report as text: one line per fact, the medians last.

use std::fmt::{self, Display, Formatter};

use super::{LoadReport, Measurement, Report};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Report::Load(load) => load.fmt(f),
            Report::Compare(comparison) => comparison.fmt(f),
            Report::Figures(figures) => figures.fmt(f),
        }
    }
}

impl Display for LoadReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} against {}: {}", self.scenario, self.url, self.settings)?;
        if self.runs.len() > 1 {
            for (at, run) in self.runs.iter().enumerate() {
                let mark = if run.is_result { "" } else { "   NOT A RESULT" };
                writeln!(f, "run {:<2} {}{mark}", at + 1, main_figure(run))?;
            }
            writeln!(f, "medians of {} runs:", self.runs.len())?;
        }
        self.median.fmt(f)
    }
}

/// The one number a run is known by.
fn main_figure(run: &Measurement) -> String {
    if let Some(rate) = run.delivered_per_second {
        return format!("{} msgs/s", short(rate));
    }
    if let Some(rate) = run.connections_per_second {
        return format!("{} connects/s", short(rate));
    }
    format!("{:.0} bytes per connection", run.rss_bytes_per_connection.unwrap_or_default())
}

impl Display for Measurement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let rate = |f: &mut Formatter<'_>, name: &str, rate: Option<f64>| match rate {
            Some(rate) => writeln!(f, "  {name:<22}{}", short(rate)),
            None => Ok(()),
        };
        rate(f, "published msgs/s", self.published_per_second)?;
        rate(f, "delivered msgs/s", self.delivered_per_second)?;
        rate(f, "connects/s", self.connections_per_second)?;
        if let Some(latency) = self.latency {
            let [p50, p99, p999, longest] =
                [latency.p50_us, latency.p99_us, latency.p999_us, latency.longest_us].map(micros);
            writeln!(f, "  {:<22}p50 {p50}, p99 {p99}, p99.9 {p999}, longest {longest}", "latency")?;
        }
        if let Some(cpu) = self.server_cpu_us_per_message {
            writeln!(f, "  {:<22}{cpu:.3} us a message", "server CPU")?;
        }
        if let Some(cpu) = self.generator_cpu_us_per_message {
            writeln!(f, "  {:<22}{cpu:.3} us a message", "generator CPU")?;
        }
        if let (Some(messages), Some(bytes)) = (self.write_messages, self.write_bytes) {
            writeln!(f, "  {:<22}{messages} messages, {bytes} bytes", "one write")?;
        }
        if let Some(bytes) = self.rss_bytes_per_connection {
            writeln!(f, "  {:<22}{bytes:.0} bytes each, {} connections", "server memory", self.connections)?;
        }
        if self.published > 0 {
            write!(f, "  {:<22}published {}, ", "whole run", self.published)?;
            if self.acknowledged > 0 {
                write!(f, "acknowledged {}, ", self.acknowledged)?;
            }
            writeln!(f, "delivered {}, lost {} ({:.3} %)", self.delivered, self.lost, self.lost_percent)?;
        }
        if self.refused + self.disconnected > 0 {
            writeln!(f, "  {:<22}{}, disconnected {}", "refused", self.refused, self.disconnected)?;
        }
        if !self.is_result {
            writeln!(f, "  NOT A RESULT: too much was lost, or a connection, or nothing moved")?;
        }
        Ok(())
    }
}

/// `1.94 M`, `138 k`, `950`.
pub(crate) fn short(number: f64) -> String {
    match number {
        n if n >= 99.5e6 => format!("{:.0} M", n / 1e6),
        n if n >= 9.995e6 => format!("{:.1} M", n / 1e6),
        n if n >= 999.5e3 => format!("{:.2} M", n / 1e6),
        n if n >= 99.5e3 => format!("{:.0} k", n / 1e3),
        n if n >= 999.5 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

/// `0.56 ms`, `80 us`.
pub(crate) fn micros(micros: f64) -> String {
    match micros {
        us if us >= 9_950.0 => format!("{:.0} ms", us / 1e3),
        us if us >= 995.0 => format!("{:.1} ms", us / 1e3),
        us if us >= 99.5 => format!("{:.2} ms", us / 1e3),
        us => format!("{us:.0} us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_keep_three_digits() {
        let pairs = [(1.94e6, "1.94 M"), (138_000.0, "138 k"), (24.6e6, "24.6 M"), (4_400.0, "4.4 k")];
        for (number, expected) in pairs {
            assert_eq!(short(number), expected);
        }
        assert_eq!((short(950.0), micros(560.0)), ("950".to_owned(), "0.56 ms".to_owned()));
    }

    #[test]
    fn a_lossy_run_says_that_it_is_not_a_result() {
        let run = Measurement { published: 10, delivered: 5, ..Measurement::default() }.with_expected(10);
        let text = run.to_string();
        assert!(text.contains("lost 5 (50.000 %)") && text.contains("NOT A RESULT"), "{text}");
    }
}
