//! A walk over everything on the shelf, in key order, that stops where somebody says so or a row cannot be read.

use std::ops::ControlFlow;

use super::{Bodies, Shelf, last_key};
use crate::embedded::tables::TablesError;
use crate::row::{Key, Kind, Row, kind_key};

/// Why a walk did not come to its end.
#[derive(Debug)]
pub(crate) enum Broken {
    /// This row cannot be read.
    Row { key: Key, cause: String },
    /// The tables cannot be, behind the row with this key.
    Tables { after: Option<Key>, cause: TablesError },
}

impl Shelf {
    /// Every row, as far as it is told to go on. Writers wait meanwhile.
    pub fn walk(&self, row: &mut dyn FnMut(&Key, &Row) -> ControlFlow<()>) -> Result<(), Broken> {
        let layers = self.layers.read();
        let mut front = layers.merged(kind_key(Kind::Applied)..=last_key()).peekable();
        let (mut bodies, mut after, mut told) = (Bodies::default(), None, ControlFlow::Continue(()));
        let tables = self.tables().map_err(|cause| Broken::Tables { after: None, cause })?;
        for stored in tables.all() {
            let (key, value) = stored.map_err(|cause| Broken::Tables { after: after.take(), cause })?;
            let key = Key::from_slice(&key);
            while let Some((before, entry)) = front.next_if(|(front, _)| **front < key) {
                bodies.pass(before, entry, &mut |key, stands| go_on(&mut told, || row(key, stands)));
            }
            if front.peek().is_none_or(|(front, _)| **front != key) {
                let mut pass = |key: &Key, stands: &Row| go_on(&mut told, || row(key, stands));
                let passed = bodies.pass_stored(&key, &value, &mut pass);
                passed.map_err(|cause| Broken::Row { key: key.clone(), cause: cause.to_string() })?;
            }
            if told.is_break() {
                return Ok(());
            }
            after = Some(key);
        }
        for (key, entry) in front {
            bodies.pass(key, entry, &mut |key, stands| go_on(&mut told, || row(key, stands)));
            if told.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn go_on(told: &mut ControlFlow<()>, row: impl FnOnce() -> ControlFlow<()>) {
    if told.is_continue() {
        *told = row();
    }
}
