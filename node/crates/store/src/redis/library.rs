//! The library of functions that all steps run in, and how it gets onto a primary.

use std::collections::HashMap;
use std::sync::LazyLock;

use redis::{Cmd, RedisError, Value};
use xxhash_rust::xxh3::xxh3_64;

use super::servers::Connection;

/// The library, from what others build on to the entry points.
const SOURCE: &str = concat!(
    include_str!("lua/base.lua"),
    include_str!("lua/session.lua"),
    include_str!("lua/queue.lua"),
    include_str!("lua/open.lua"),
    include_str!("lua/check.lua"),
    include_str!("lua/topic.lua"),
    include_str!("lua/table.lua"),
    include_str!("lua/guard.lua"),
    include_str!("lua/partition.lua"),
    include_str!("lua/effects.lua"),
    include_str!("lua/stream.lua"),
    include_str!("lua/batch.lua"),
    include_str!("lua/due.lua"),
    include_str!("lua/rollback.lua"),
    include_str!("lua/copy.lua"),
);

/// The library as this release has it. Name and functions carry the digest of the source: nodes of two releases each have
/// their own on the same server.
struct Library {
    name: String,
    source: String,
}

static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let name = format!("weir_{:016x}", xxh3_64(SOURCE.as_bytes()));
    let source = format!("#!lua name={name}\n{}", SOURCE.replace("weir_1_", &format!("{name}_")));
    Library { name, source }
});

/// A function of the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    /// Applies a batch.
    Grow,
    /// Applies a batch, but refuses what grows; runs also when Redis is out of memory.
    Free,
    /// Claims what is due.
    Due,
    /// Reads a page of sessions.
    Scan,
    /// Reads the row of a shard.
    Account,
    /// Raises the epoch of a shard after a rollback.
    Raise,
    /// Begins to fill a shard with a copy.
    CopyBegin,
    /// Removes some of what an unfinished copy has left.
    CopyClear,
    /// Takes in a page of a copy.
    CopyIn,
    /// Ends filling a shard.
    CopyEnd,
}

impl Function {
    /// `FCALL` of it, without keys and arguments.
    pub fn call(self) -> Cmd {
        let mut call = redis::cmd("FCALL");
        call.arg(format!("{}_{}", LIBRARY.name, self.suffix()));
        call
    }

    fn suffix(self) -> &'static str {
        match self {
            Function::Grow => "grow",
            Function::Free => "free",
            Function::Due => "due",
            Function::Scan => "scan",
            Function::Account => "account",
            Function::Raise => "raise",
            Function::CopyBegin => "copy_begin",
            Function::CopyClear => "copy_clear",
            Function::CopyIn => "copy_in",
            Function::CopyEnd => "copy_end",
        }
    }
}

/// Puts the library onto a primary, beside those of other releases. Replicas get it from there.
pub(super) async fn load(connection: &mut Connection) -> Result<(), RedisError> {
    redis::cmd("FUNCTION")
        .arg("LOAD")
        .arg("REPLACE")
        .arg(&LIBRARY.source)
        .query_async::<String>(connection)
        .await?;
    Ok(())
}

/// Whether a primary has this very library. Needs no memory, as loading does.
pub(super) async fn is_current(connection: &mut Connection) -> Result<bool, RedisError> {
    let mut list = redis::cmd("FUNCTION");
    list.arg("LIST").arg("LIBRARYNAME").arg(&LIBRARY.name).arg("WITHCODE");
    let found: Vec<HashMap<String, Value>> = list.query_async(connection).await?;
    let code = found.first().and_then(|library| library.get("library_code"));
    Ok(code == Some(&Value::BulkString(LIBRARY.source.as_bytes().to_vec())))
}
