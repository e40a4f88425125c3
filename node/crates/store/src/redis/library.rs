//! The library of functions that all steps run in, and how it gets onto a primary.

use std::collections::HashMap;

use redis::{RedisError, Value};

use super::servers::Connection;

/// The library, from what others build on to the entry points.
const SOURCE: &str = concat!(
    "#!lua name=weir_1\n",
    include_str!("lua/base.lua"),
    include_str!("lua/session.lua"),
    include_str!("lua/queue.lua"),
    include_str!("lua/open.lua"),
    include_str!("lua/check.lua"),
    include_str!("lua/topic.lua"),
    include_str!("lua/table.lua"),
    include_str!("lua/partition.lua"),
    include_str!("lua/effects.lua"),
    include_str!("lua/stream.lua"),
    include_str!("lua/batch.lua"),
    include_str!("lua/due.lua"),
    include_str!("lua/rollback.lua"),
    include_str!("lua/copy.lua"),
);

/// Applies a batch.
pub(super) const GROW: &str = "weir_1_grow";
/// Applies a batch, but refuses what grows; runs also when Redis is out of memory.
pub(super) const FREE: &str = "weir_1_free";
/// Claims what is due.
pub(super) const DUE: &str = "weir_1_due";
/// Reads a page of sessions.
pub(super) const SCAN: &str = "weir_1_scan";
/// Reads the row of a shard.
pub(super) const ACCOUNT: &str = "weir_1_account";
/// Raises the epoch of a shard after a rollback.
pub(super) const RAISE: &str = "weir_1_raise";
/// Begins to fill a shard with a copy.
pub(super) const COPY_BEGIN: &str = "weir_1_copy_begin";
/// Removes some of what an unfinished copy has left.
pub(super) const COPY_CLEAR: &str = "weir_1_copy_clear";
/// Takes in a page of a copy.
pub(super) const COPY_IN: &str = "weir_1_copy_in";
/// Ends filling a shard.
pub(super) const COPY_END: &str = "weir_1_copy_end";

/// Puts the library onto a primary, in place of another version of it. Replicas get it from there.
pub(super) async fn load(connection: &mut Connection) -> Result<(), RedisError> {
    redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(SOURCE).query_async::<String>(connection).await?;
    Ok(())
}

/// Whether a primary has this very library. Needs no memory, as loading does.
pub(super) async fn is_current(connection: &mut Connection) -> Result<bool, RedisError> {
    let mut list = redis::cmd("FUNCTION");
    list.arg("LIST").arg("LIBRARYNAME").arg("weir_1").arg("WITHCODE");
    let found: Vec<HashMap<String, Value>> = list.query_async(connection).await?;
    let code = found.first().and_then(|library| library.get("library_code"));
    Ok(code == Some(&Value::BulkString(SOURCE.as_bytes().to_vec())))
}
