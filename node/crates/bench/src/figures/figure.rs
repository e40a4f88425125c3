//! One number of a run, its unit, and what is wanted of it.

use serde::Serialize;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    MessagesPerSecond,
    /// CPU time of all nodes, or of the server, for each message.
    MicrosecondsPerMessage,
    Seconds,
    Bytes,
    Percent,
    /// A ratio.
    Times,
}

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    AtMost(f64),
    AtLeast(f64),
}

/// A number that was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) value: f64,
    pub(crate) reach: Option<Reach>,
}

impl Reach {
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Reach::AtMost(most) => value <= most,
            Reach::AtLeast(least) => value >= least,
        }
    }
}

impl Figure {
    pub(crate) fn new(name: &'static str, unit: Unit, value: f64) -> Figure {
        Figure { name, unit, value, reach: None }
    }

    /// `value` as a multiple of `base`, which is zero only when nothing was measured.
    pub(crate) fn ratio(name: &'static str, value: f64, base: f64) -> Figure {
        Figure::new(name, Unit::Times, if base > 0.0 { value / base } else { 0.0 })
    }

    pub(crate) fn at_most(self, most: f64) -> Figure {
        Figure { reach: Some(Reach::AtMost(most)), ..self }
    }

    pub(crate) fn at_least(self, least: f64) -> Figure {
        Figure { reach: Some(Reach::AtLeast(least)), ..self }
    }
}
