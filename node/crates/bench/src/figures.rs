//! Rows of figures, each the median of several runs, and what is wanted of them.

mod figure;
mod table;

use std::fmt::Display;

use serde::Serialize;

use crate::Error;
use crate::report::middle;

pub(crate) use figure::Figure;
pub use figure::{Reach, Unit};

/// The whole table.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub runs: u32,
    pub rows: Vec<FigureRow>,
}

/// One row.
#[derive(Debug, Clone, Serialize)]
pub struct FigureRow {
    /// As `--only` names it.
    pub name: String,
    pub title: &'static str,
    pub figures: Vec<MedianFigure>,
    /// Runs that could not be made, and why the last of them could not.
    pub failures: u32,
    pub last_failure: Option<String>,
}

/// One number of a row.
#[derive(Debug, Clone, Serialize)]
pub struct MedianFigure {
    pub name: &'static str,
    pub unit: Unit,
    pub median: f64,
    pub runs: Vec<f64>,
    /// What is wanted of the median; `None` = it is there to be looked at.
    pub reach: Option<Reach>,
}

/// Measures one row so many times. Progress goes to stderr.
pub(crate) fn measure(
    name: impl Display,
    title: &'static str,
    runs: u32,
    run: impl Fn() -> Result<Vec<Figure>, Error>,
) -> FigureRow {
    let (mut measured, mut failures, mut last_failure) = (Vec::new(), 0, None);
    for at in 1..=runs {
        eprintln!("{name} {at}/{runs}");
        match run() {
            Ok(figures) => measured.push(figures),
            Err(error) => {
                eprintln!("  {error}");
                failures += 1;
                last_failure = Some(error.to_string());
            }
        }
    }
    FigureRow { name: name.to_string(), title, figures: medians(&measured), failures, last_failure }
}

/// The medians, figure by figure: each run has the same ones in the same order.
fn medians(runs: &[Vec<Figure>]) -> Vec<MedianFigure> {
    let Some(first) = runs.first() else { return Vec::new() };
    let of = |(at, figure): (usize, &Figure)| {
        let values: Vec<f64> = runs.iter().filter_map(|run| run.get(at)).map(|figure| figure.value).collect();
        MedianFigure {
            name: figure.name,
            unit: figure.unit,
            median: middle(values.iter().copied()),
            runs: values,
            reach: figure.reach,
        }
    };
    first.iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_the_median_of_its_own_runs() {
        let run = |first, second| {
            vec![Figure::new("a", Unit::Seconds, first), Figure::new("b", Unit::Times, second).at_most(1.6)]
        };
        let found = medians(&[run(3.0, 1.0), run(1.0, 2.0), run(2.0, 9.0)]);
        let medians: Vec<f64> = found.iter().map(|figure| figure.median).collect();
        assert_eq!(medians, [2.0, 2.0]);
        assert_eq!((found[1].runs.len(), found[1].reach), (3, Some(Reach::AtMost(1.6))));
        assert!(super::medians(&[]).is_empty());
    }

    #[test]
    fn a_run_that_cannot_be_made_is_counted_with_its_reason() {
        let row = measure("some", "a row", 2, || Err(Error::NoAddress));
        assert_eq!((row.failures, row.figures.len()), (2, 0));
        assert!(row.last_failure.is_some_and(|why| why.contains("no address")));
    }
}
