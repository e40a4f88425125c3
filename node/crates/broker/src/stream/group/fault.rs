//! Fault points between the end of a handled record and the last of its effects: see [`weir_store::fault`].

/// Every point, in the order in which a record's effects pass them.
pub const POINTS: &[&str] = &[
    "effects.before_commit",
    "effects.stored",
    "effects.known",
    "outputs.between",
    "outputs.published",
    "outputs.before_paid",
    "outputs.paid",
];

/// Dies here if told so.
pub(crate) fn reach(point: &'static str) {
    debug_assert!(POINTS.contains(&point), "an unlisted fault point");
    weir_store::fault::reach_above(point);
}

/// The same, if this is the case that a kill test means.
pub(crate) fn reach_if(is_meant: bool, point: &'static str) {
    if is_meant {
        reach(point);
    }
}
