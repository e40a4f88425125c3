//! Whether a node is fit to serve, as `/health/ready` says it; who asks the node is told by its owner.

use std::sync::Arc;

/// How a node is, and what it lacks (`guarantees.md` 12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub state: State,
    /// What is missing or wrong, a sentence each; empty when all is well.
    pub missing: Vec<String>,
}

/// What to expect of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// All is well.
    Ready,
    /// It serves, with less than it should have.
    Degraded,
    /// It should be given no clients now.
    NotReady,
    /// It sends its clients elsewhere, and then ends.
    Draining,
    /// It ends.
    Stopping,
}

impl State {
    /// The first line of the answer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::NotReady => "not ready",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
        }
    }

    /// Whether clients may be sent here. The strict ask for all there should be.
    #[must_use]
    pub const fn is_ready(self, strict: bool) -> bool {
        match self {
            Self::Ready => true,
            Self::Degraded => !strict,
            Self::NotReady | Self::Draining | Self::Stopping => false,
        }
    }
}

impl Health {
    /// Nothing is missing.
    pub const READY: Self = Self { state: State::Ready, missing: Vec::new() };

    /// The state, then a line for each thing that is missing.
    #[must_use]
    pub fn as_text(&self) -> String {
        let mut text = format!("{}\n", self.state.as_str());
        for missing in &self.missing {
            text.push_str(missing);
            text.push('\n');
        }
        text
    }
}

/// Tells how the node is at this moment; quick, and never blocks.
pub type LookAfter = Arc<dyn Fn() -> Health + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_degraded_node_serves_all_but_the_strict() {
        assert!(State::Degraded.is_ready(false) && !State::Degraded.is_ready(true));
        assert!(State::Ready.is_ready(true) && !State::Draining.is_ready(false));
    }

    #[test]
    fn what_is_missing_stands_below_the_state() {
        let health = Health { state: State::Degraded, missing: vec!["no link to node b".to_owned()] };
        assert_eq!(health.as_text(), "degraded\nno link to node b\n");
    }
}
