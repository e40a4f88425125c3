//! Rows of tables on their way to the mirror. Their versions rise in the order of the changes, so that what the stream
//! and the answers tell of the same row is told apart by them.

use super::*;
use crate::TableRow;
use crate::redis::layout::row_id;

/// Rows of tables in one answer, about.
const TABLE_PAGE: usize = 256;

/// What is known of the tables of one shard.
#[derive(Default)]
pub(super) struct TableRows {
    known: HashMap<Box<str>, KnownRow>,
    /// The newest version that the stream has told.
    told: u64,
}

struct KnownRow {
    version: u64,
    is_there: bool,
    /// By an answer, and the stream has not told it yet.
    is_ahead: bool,
}

impl TableRows {
    /// The store went back: what the stream has not told it may never tell.
    pub fn forget_ahead(&mut self) {
        self.known.values_mut().for_each(|row| row.is_ahead = false);
    }

    /// A step of this node was answered so. Says whether it is news.
    fn note(&mut self, name: &str, version: u64, is_there: bool) -> bool {
        let is_old =
            version <= self.told || self.known.get(name).is_some_and(|known| known.version >= version);
        if !is_old {
            self.known.insert(name.into(), KnownRow { version, is_there, is_ahead: true });
        }
        !is_old
    }

    /// The stream tells it. Says whether it is news.
    fn tell(&mut self, name: &str, version: u64, is_there: bool) -> bool {
        self.told = self.told.max(version);
        let known = self.known.get(name).map(|known| known.version);
        if known.is_some_and(|known| known > version) {
            return false;
        }
        if is_there {
            self.known.insert(name.into(), KnownRow { version, is_there, is_ahead: false });
        } else {
            self.known.remove(name);
        }
        known != Some(version)
    }

    /// A load finds it. Says whether it is news.
    fn find(&mut self, name: &str, version: u64) -> bool {
        match self.known.get(name) {
            Some(known) if known.is_ahead || known.version == version => false,
            _ => {
                self.known.insert(name.into(), KnownRow { version, is_there: true, is_ahead: false });
                true
            }
        }
    }

    /// A load has found these and no others: what is gone, each with a version above all it had.
    fn take_back(&mut self, found: &hashbrown::HashSet<Box<str>>) -> Vec<(Box<str>, u64)> {
        let is_gone = |name: &str, row: &KnownRow| row.is_there && !row.is_ahead && !found.contains(name);
        let gone: Vec<_> = self.known.iter().filter(|(name, row)| is_gone(name, row)).collect();
        let gone: Vec<(Box<str>, u64)> =
            gone.into_iter().map(|(name, row)| (name.clone(), row.version + 1)).collect();
        for (name, _) in &gone {
            self.known.remove(name);
        }
        gone
    }
}

impl Rows {
    /// A step of this node was answered that a row is now this, or gone; to be called before its caller hears of it.
    pub fn table(&self, row: TableRow) {
        // Before everything is restored nobody has heard anything: a load finds it.
        if self.mirror.get().is_none() {
            return;
        }
        let name = row_id(row.table, &row.key);
        let mut rows = self.shards[self.layout.index(self.layout.of_row(row.table, &row.key))].lock();
        if rows.tables.note(&name, row.version, row.value.is_some()) {
            self.hand_on_row_of_table(row);
        }
    }

    pub(super) fn hear_table(&self, rows: &mut ShardRows, row: TableRow) {
        if rows.tables.tell(&row_id(row.table, &row.key), row.version, row.value.is_some()) {
            self.hand_on_row_of_table(row);
        }
    }

    fn hand_on_row_of_table(&self, row: TableRow) {
        if let Some(mirror) = self.mirror.get() {
            mirror.table(row);
        }
    }

    pub(super) async fn load_tables(
        &self,
        shard: Shard,
        connection: &mut Connection,
    ) -> Result<(), RedisError> {
        let at = self.layout.index(shard);
        let (mut found, mut cursor) = (hashbrown::HashSet::new(), 0_u64);
        loop {
            let mut page = redis::cmd("HSCAN");
            page.arg(self.layout.key(shard, "tables")).arg(cursor).arg("COUNT").arg(TABLE_PAGE);
            let (next, values): (u64, Vec<(String, Vec<u8>)>) = page.query_async(connection).await?;
            for (name, value) in values {
                match decode::table_row(&name, &value) {
                    Ok(row) => {
                        let mut rows = self.shards[at].lock();
                        if rows.tables.find(&name, row.version) {
                            self.hand_on_row_of_table(row);
                        }
                    }
                    Err(error) => unreadable(shard, &error),
                }
                found.insert(Box::<str>::from(name));
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let mut rows = self.shards[at].lock();
        for (name, version) in rows.tables.take_back(&found) {
            if let Some((table, key)) = row_of(&name) {
                self.hand_on_row_of_table(TableRow { table, key, version, value: None });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_and_its_echo_are_told_once_whichever_comes_first() {
        let mut rows = TableRows::default();
        assert!(rows.note("a", 5, true));
        assert!(!rows.tell("a", 5, true), "its own echo");
        assert!(rows.tell("a", 9, true));
        assert!(!rows.note("a", 9, true), "the answer is late");
        assert!(rows.tell("a", 12, false) && !rows.note("a", 10, true), "gone since");
    }

    #[test]
    fn what_a_load_does_not_find_is_gone_unless_it_is_newer_than_the_stream() {
        let mut rows = TableRows::default();
        assert!(rows.find("old", 3));
        assert!(rows.note("new", 8, true));
        assert_eq!(rows.take_back(&hashbrown::HashSet::new()), [("old".into(), 4)]);
        rows.forget_ahead();
        assert_eq!(rows.take_back(&hashbrown::HashSet::new()), [("new".into(), 9)]);
    }
}
