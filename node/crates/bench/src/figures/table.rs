//! The report as a Markdown table: what was measured, what is wanted, and whether it is reached.

use std::fmt::{self, Display, Formatter};

use super::{FigureRow, Figures, MedianFigure, Reach, Unit};
use crate::report::text::{micros, short};

impl Display for Figures {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | measured | ratio, time or size | reach | reached |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for row in &self.rows {
            writeln!(
                f,
                "| {} | {} | {} | {} | {} |",
                row.title,
                base(row),
                wanted(row),
                reach(row),
                reached(row)
            )?;
        }
        writeln!(f)?;
        match self.runs {
            1 => writeln!(f, "one run"),
            runs => writeln!(f, "medians of {runs} runs; a ratio is the median of the runs' own"),
        }
    }
}

fn named<'a>(
    figures: impl Iterator<Item = &'a MedianFigure>,
    text: impl Fn(&MedianFigure) -> String,
) -> String {
    figures.map(|figure| format!("{} {}", figure.name, text(figure))).collect::<Vec<_>>().join("; ")
}

/// What the figures that count were made of.
fn base(row: &FigureRow) -> String {
    let failed = row.last_failure.as_ref().map(|why| format!("**{} failed**: {why}", row.failures));
    let figures = named(row.figures.iter().filter(|figure| figure.reach.is_none()), |figure| {
        figure.unit.text(figure.median)
    });
    let parts = [Some(figures).filter(|text| !text.is_empty()), failed];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn wanted(row: &FigureRow) -> String {
    named(counting(row), |figure| figure.unit.text(figure.median))
}

fn counting(row: &FigureRow) -> impl Iterator<Item = &MedianFigure> {
    row.figures.iter().filter(|figure| figure.reach.is_some())
}

fn reach(row: &FigureRow) -> String {
    let text = |figure: &MedianFigure| match figure.reach {
        Some(Reach::AtMost(most)) => format!("<= {}", figure.unit.text(most)),
        Some(Reach::AtLeast(least)) => format!(">= {}", figure.unit.text(least)),
        None => String::new(),
    };
    counting(row).map(text).collect::<Vec<_>>().join("; ")
}

fn reached(row: &FigureRow) -> String {
    let word = |figure: &MedianFigure| match figure.reach {
        Some(reach) if reach.is_met(figure.median) => "yes",
        _ => "**no**",
    };
    let words: Vec<&str> = counting(row).map(word).collect();
    match words.as_slice() {
        [] if row.figures.is_empty() => "**failed**".to_owned(),
        [] => String::new(),
        words if words.iter().all(|word| *word == "yes") => "yes".to_owned(),
        words => words.join("; "),
    }
}

impl Unit {
    fn text(self, value: f64) -> String {
        match self {
            Unit::MessagesPerSecond => format!("{}/s", short(value)),
            Unit::MicrosecondsPerMessage => format!("{value:.3} us"),
            Unit::Seconds if value < 1.0 => micros(value * 1e6),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Bytes => format!("{value:.0} B"),
            Unit::Percent => format!("{value:.2} %"),
            Unit::Times => format!("{value:.2} x"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Figure, medians};
    use super::*;

    fn report(figures: Vec<Figure>, last_failure: Option<String>) -> String {
        let runs = if figures.is_empty() { Vec::new() } else { vec![figures] };
        let failures = u32::from(last_failure.is_some());
        let row = FigureRow {
            name: "across".to_owned(),
            title: "across",
            figures: medians(&runs),
            failures,
            last_failure,
        };
        Figures { runs: 1, rows: vec![row] }.to_string()
    }

    #[test]
    fn a_row_shows_what_it_was_made_of_and_whether_it_is_reached() {
        let figures = vec![
            Figure::new("one node", Unit::MicrosecondsPerMessage, 0.1),
            Figure::ratio("two nodes", 0.15, 0.1).at_most(1.6),
        ];
        let text = report(figures, None);
        assert!(
            text.contains("| across | one node 0.100 us | two nodes 1.50 x | <= 1.60 x | yes |"),
            "{text}"
        );
    }

    #[test]
    fn a_row_of_which_nothing_is_wanted_is_not_judged() {
        let text = report(vec![Figure::new("read", Unit::MessagesPerSecond, 5000.0)], None);
        assert!(text.contains("| across | read 5.0 k/s |  |  |  |"), "{text}");
    }

    #[test]
    fn each_of_several_wanted_figures_is_judged() {
        let figures = vec![
            Figure::new("ready", Unit::Seconds, 0.9).at_most(1.5),
            Figure::new("death", Unit::Seconds, 2.5).at_most(2.0),
        ];
        let text = report(figures, None);
        assert!(text.contains("ready 900 ms; death 2.50 s"), "{text}");
        assert!(text.contains("| <= 1.50 s; <= 2.00 s | yes; **no** |"), "{text}");
    }

    #[test]
    fn a_row_without_any_run_says_why() {
        let text = report(Vec::new(), Some("no redis".to_owned()));
        assert!(text.contains("**1 failed**: no redis") && text.contains("**failed** |"), "{text}");
    }
}
