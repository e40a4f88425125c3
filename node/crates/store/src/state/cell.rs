//! Rows of tables: each with a version, changed only when it is as expected.

use std::sync::Arc;

use super::{Batch, Effects, State};
use crate::row::{CellRow, Kind, Row, id_key};
use crate::{Expect, Outcome, Refusal, TABLE_VALUE_BYTES_MAX, Table, TableOp, TableRow};

/// A row that is there; its value is in the tables of the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    /// Its row lies under this.
    pub entry: u64,
    pub version: u64,
}

impl State {
    pub(super) fn apply_table(
        &mut self,
        table: Table,
        key: Arc<str>,
        op: TableOp,
        batch: &Batch,
        out: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let (value, expect) = match op {
            TableOp::Put { value, .. } if value.len() > TABLE_VALUE_BYTES_MAX => {
                return Err(Refusal::TooLarge);
            }
            TableOp::Put { .. } if !batch.may_grow => return Err(Refusal::DiskFull),
            TableOp::Put { value, expect } => (Some(value), expect),
            TableOp::Delete { expect } => (None, expect),
        };
        let place = (table, key);
        let there = self.cells.get(&place).copied();
        let version = there.map(|cell| cell.version);
        let is_expected = match expect {
            Expect::Anything => true,
            Expect::Absent => version.is_none(),
            Expect::Version(expected) => version == Some(expected),
        };
        if !is_expected {
            return Ok(Outcome::Differs { version });
        }
        if value.is_none() && there.is_none() {
            return Ok(Outcome::Put { version: 0 });
        }
        let version = self.next_number();
        let entry = there.map_or(version, |cell| cell.entry);
        match &value {
            Some(value) => {
                let row = CellRow { table, key: place.1.clone(), version, value: value.clone() };
                out.put(id_key(Kind::Cell, entry), Row::Cell(Box::new(row)));
                let before = self.cells.insert(place.clone(), Cell { entry, version });
                self.guards += usize::from(table == Table::Guards && before.is_none());
            }
            None => {
                out.delete(id_key(Kind::Cell, entry));
                self.cells.remove(&place);
                self.guards -= usize::from(table == Table::Guards);
            }
        }
        out.tables.push(TableRow { table, key: place.1, version, value });
        Ok(Outcome::Put { version })
    }
}
