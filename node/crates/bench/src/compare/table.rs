//! The comparison as a Markdown table: a column for each broker, and what weir reached of the best of the others.

use std::fmt::{self, Display, Formatter};

use super::row::Figure;
use super::{Cell, ComparedRow, Comparison};
use crate::report::Measurement;
use crate::report::text::{micros, short};

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ratios: Vec<String> = self.others().map(|(_, name)| format!("to {name}")).collect();
        let heads: Vec<&str> =
            ["scenario"].into_iter().chain(self.brokers.iter().chain(&ratios).map(String::as_str)).collect();
        writeln!(f, "| {} |", heads.join(" | "))?;
        writeln!(f, "|{}", "---|".repeat(heads.len()))?;
        for row in &self.rows {
            let figure = row.name.figure();
            let cells =
                row.cells.iter().map(|cell| cell.as_ref().map_or("-".to_owned(), |cell| text(cell, figure)));
            let ratios = self.others().map(|(at, _)| ratio(row, at, figure).unwrap_or("-".to_owned()));
            let columns: Vec<String> = cells.chain(ratios).collect();
            writeln!(f, "| {} | {} |", row.title, columns.join(" | "))?;
        }
        writeln!(f)?;
        writeln!(f, "msgs/s delivered (broker CPU us a message); {}", medians(self.runs))
    }
}

impl Comparison {
    /// The brokers beside weir, which stands first; nobody is compared to when it was left out.
    fn others(&self) -> impl Iterator<Item = (usize, &String)> {
        let has_weir = self.brokers.first().is_some_and(|name| name.starts_with("weir"));
        self.brokers.iter().enumerate().skip(1).filter(move |_| has_weir)
    }
}

fn medians(runs: u32) -> String {
    if runs == 1 { "one run".to_owned() } else { format!("medians of {runs} runs") }
}

fn text(cell: &Cell, figure: Figure) -> String {
    if cell.runs.is_empty() {
        return "failed".to_owned();
    }
    let run = &cell.median;
    let cpu = run.server_cpu_us_per_message.unwrap_or_default();
    let main = match figure {
        Figure::Messages => format!("{} ({cpu:.3})", short(run.delivered_per_second.unwrap_or_default())),
        Figure::Paced => {
            let p99 = run.latency.map_or(0.0, |latency| latency.p99_us);
            format!("{cpu:.2} us, p99 {}", micros(p99))
        }
        Figure::Memory => format!("{:.0} bytes", run.rss_bytes_per_connection.unwrap_or_default()),
        Figure::Connects => format!("{}/s ({cpu:.0})", short(run.connections_per_second.unwrap_or_default())),
    };
    let lost = if run.lost > 0 { format!(", lost {:.2} %", run.lost_percent) } else { String::new() };
    let mark = if run.is_result { "" } else { ", **not a result**" };
    format!("{main}{lost}{mark}")
}

/// Weir's figure as a multiple of the broker's in column `at`.
fn ratio(row: &ComparedRow, at: usize, figure: Figure) -> Option<String> {
    let measured = |at: usize| row.cells.get(at)?.as_ref().filter(|cell| !cell.runs.is_empty());
    let (ours, theirs) = (&measured(0)?.median, &measured(at)?.median);
    let times = |field: fn(&Measurement) -> Option<f64>| {
        let (ours, theirs) = (field(ours)?, field(theirs)?);
        (theirs > 0.0).then(|| ours / theirs)
    };
    let cpu = times(|run| run.server_cpu_us_per_message);
    let cpu = cpu.map_or(String::new(), |cpu| format!("CPU {cpu:.2} x"));
    Some(match figure {
        Figure::Messages => format!("{:.1} x, {cpu}", times(|run| run.delivered_per_second)?),
        Figure::Paced => format!("{cpu}, p99 {:.2} x", times(|run| run.latency.map(|l| l.p99_us))?),
        Figure::Memory => format!("{:.2} x", times(|run| run.rss_bytes_per_connection)?),
        Figure::Connects => format!("{:.1} x, {cpu}", times(|run| run.connections_per_second)?),
    })
}

#[cfg(test)]
mod tests {
    use super::super::row::RowName;
    use super::*;

    fn cell(rate: f64, cpu: f64) -> Option<Cell> {
        let median = Measurement {
            delivered_per_second: Some(rate),
            server_cpu_us_per_message: Some(cpu),
            is_result: true,
            ..Measurement::default()
        };
        Some(Cell { runs: vec![median.clone()], median, failures: 0, last_failure: None })
    }

    fn comparison(cells: Vec<Option<Cell>>) -> Comparison {
        let brokers = vec!["weir 0.1".to_owned(), "nats v2".to_owned()];
        let rows = vec![ComparedRow { name: RowName::P2p, title: "p2p".to_owned(), cells }];
        Comparison { brokers, runs: 5, rows }
    }

    #[test]
    fn a_row_shows_both_figures_and_the_ratio() {
        let table = comparison(vec![cell(20e6, 0.08), cell(2e6, 0.8)]).to_string();
        assert!(table.contains("| p2p | 20.0 M (0.080) | 2.00 M (0.800) | 10.0 x, CPU 0.10 x |"), "{table}");
    }

    #[test]
    fn a_broker_without_the_listener_and_one_that_failed_are_told_apart() {
        let failed = Cell { failures: 5, ..Cell::empty() };
        let table = comparison(vec![Some(failed), None]).to_string();
        assert!(table.contains("| p2p | failed | - | - |"), "{table}");
    }
}
