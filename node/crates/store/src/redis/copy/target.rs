//! Filling a Redis: begun under a mark, a page of rows at a time to each shard, finished when all of it is confirmed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use rmpv::Value;
use tokio::runtime::Handle;

use super::meta;
use super::{Place, now, read, write};
use crate::PartitionKey;
use crate::config::Config;
use crate::copy::{CopyError, CopyRow, CopyTarget, Digest, Kind, Marks, Pages, Sink, Windows};
use crate::redis::EnrolError;
use crate::redis::layout::counter_above;
use crate::redis::level::Unconfirmed;
use crate::redis::library::{self, Function};
use crate::redis::mirror::EntryId;
use crate::redis::shard::Shard;

/// How often it is said that the copy goes on.
const TOUCH: Duration = Duration::from_secs(2);

/// How long the last writes may take to be confirmed.
const CONFIRM: Duration = Duration::from_secs(10);

/// A store that is made in a Redis.
pub struct RedisTarget {
    place: Place,
    cluster_id: String,
    from: String,
    windows: Windows,
    /// Tells this copy from others.
    token: String,
    touched: Instant,
    /// It may be marked as this copy's, and not finished.
    begun: bool,
    shards: HashMap<Shard, Filled>,
    /// The newest entry of the partition that is being filled.
    newest_entry: Option<(PartitionKey, EntryId)>,
}

/// A shard that is being filled.
#[derive(Debug, Default)]
struct Filled {
    /// The number of its last page.
    page: u64,
    /// Its epoch from now on.
    epoch: u64,
    /// The newest change that a Position in it names.
    newest: (u64, u64),
}

impl RedisTarget {
    /// Looks whether the store of this cluster may be made in a Redis. `from` is said to who finds it unfinished. To be
    /// called outside of the runtime it uses.
    ///
    /// # Errors
    /// It is another cluster's, of another shape or a newer layout, nodes work on it, or it holds something.
    pub fn open(
        config: &Config,
        url: &str,
        cluster_id: &str,
        from: &str,
        runtime: &Handle,
    ) -> Result<RedisTarget, CopyError> {
        let place = Place::connect(config, url, config.redis.shards, runtime)?;
        let seen = place.look()?;
        let store = place.name.clone();
        if let Some(found) = &seen.cluster {
            let newer = seen.newer_layout().filter(|_| seen.copying.is_none());
            place.check(cluster_id, found, newer)?;
        }
        let configured = config.redis.shards;
        if let Some(found) = seen.shards.filter(|found| *found != configured) {
            let cause = EnrolError::OtherShards { found: found.to_string(), configured };
            return Err(CopyError::Enrol { store, cause });
        }
        if !seen.live.is_empty() {
            return Err(in_use(&place, &seen.live.join(", ")));
        }
        if seen.copying.is_none() {
            place.must_be_empty()?;
        }
        let windows =
            Windows { ids_max: config.dedup_ids_max.max(1), delay_ids_max: config.delay_ids_max.max(1) };
        let token = format!("{:x}-{:x}", std::process::id(), now());
        let (cluster_id, from) = (cluster_id.to_owned(), from.to_owned());
        let (touched, shards) = (Instant::now(), HashMap::new());
        let (begun, newest_entry) = (false, None);
        Ok(RedisTarget { place, cluster_id, from, windows, token, touched, begun, shards, newest_entry })
    }

    fn call(&self, shard: Shard, function: Function, arguments: &[String]) -> Result<i64, CopyError> {
        let call = self.command(shard, function, arguments);
        self.place.with(shard, async |connection| call.query_async(connection).await)
    }

    fn command(&self, shard: Shard, function: Function, arguments: &[String]) -> redis::Cmd {
        let mut call = function.call();
        call.arg(1).arg(self.place.layout.tag(shard)).arg(&self.token).arg(arguments);
        call
    }

    /// What is there is removed from now on, and no node starts any more: one may have, and ended, since it was looked at.
    fn still_empty(&mut self) -> Result<(), CopyError> {
        let Err(error) = self.place.must_be_empty() else { return Ok(()) };
        self.own(&meta::finish(&self.place.layout, &self.token))?;
        self.begun = false;
        Err(error)
    }

    fn touch(&mut self) -> Result<(), CopyError> {
        if self.touched.elapsed() < TOUCH {
            return Ok(());
        }
        self.touched = Instant::now();
        let touch = meta::touch(&self.place.layout, &self.token);
        self.own(&touch)
    }

    /// Asks something that is answered with whether the store is this copy's.
    fn own(&self, question: &redis::Cmd) -> Result<(), CopyError> {
        let is_own: bool =
            self.place.with(Shard::Nodes, async |connection| question.query_async(connection).await)?;
        if is_own { Ok(()) } else { Err(CopyError::Superseded { store: self.place.name.clone() }) }
    }

    /// Waits until everything written to a shard is as safe as the level wants.
    fn confirm(&self, shard: Shard) -> Result<(), CopyError> {
        let prefix = self.place.layout.prefix.clone();
        let confirmed: Result<(), Unconfirmed> = self
            .place
            .with(shard, async |connection| Ok(connection.confirm(&prefix, shard, CONFIRM).await))?;
        let (store, away) = (self.place.name.clone(), |cause: Unconfirmed| cause.to_string());
        confirmed.map_err(|cause| CopyError::Away { store, cause: away(cause) })
    }
}

impl CopyTarget for RedisTarget {
    fn windows(&self) -> Windows {
        self.windows
    }

    fn begin(&mut self, source: Marks) -> Result<bool, CopyError> {
        let place = &self.place;
        for shard in place.servers.groups().into_iter().filter_map(|shards| shards.first().copied()) {
            place.with(shard, async |connection| {
                if library::is_current(connection).await? { Ok(()) } else { library::load(connection).await }
            })?;
        }
        let again = place.look()?.copying.is_some();
        self.begun = true;
        let begin = meta::begin(&place.layout, &self.cluster_id, &self.token, &self.from);
        let (what, more): (String, String) =
            place.with(Shard::Nodes, async |connection| begin.query_async(connection).await)?;
        match what.as_str() {
            "live" => return Err(in_use(place, &more)),
            "copying" => {
                let (store, seconds) = (place.name.clone(), more.parse().unwrap_or(0));
                return Err(CopyError::OtherCopy { store, seconds });
            }
            _ => {}
        }
        if !again {
            self.still_empty()?;
        }
        let epoch = now().max(source.epoch + 1).to_string();
        let shards: Vec<Shard> = self.place.layout.all().collect();
        for shard in shards {
            let begun = self.call(shard, Function::CopyBegin, std::slice::from_ref(&epoch))?;
            let epoch = u64::try_from(begun).unwrap_or(0);
            while self.call(shard, Function::CopyClear, &[])? == 1 {
                self.touch()?;
            }
            self.shards.insert(shard, Filled { epoch, ..Filled::default() });
        }
        Ok(again)
    }

    fn write(&mut self, rows: Vec<CopyRow>) -> Result<(), CopyError> {
        self.touch()?;
        let mut packed: HashMap<Shard, Vec<Value>> = HashMap::new();
        for row in &rows {
            for (shard, value) in write::row(row, self)? {
                packed.entry(shard).or_default().push(value);
            }
        }
        let mut calls = Vec::new();
        for (shard, rows) in packed {
            let page = self.shards.get_mut(&shard).map_or(0, |filled| {
                filled.page += 1;
                filled.page
            });
            let mut call = self.command(shard, Function::CopyIn, &[page.to_string()]);
            call.arg(write::packed(rows));
            calls.push((shard, call));
        }
        let place = &self.place;
        let written = try_join_all(calls.iter().map(async |(shard, call)| {
            place.try_with(*shard, async |connection| call.query_async::<()>(connection).await).await
        }));
        place.runtime.block_on(written)?;
        Ok(())
    }

    fn read_back(&mut self, sink: Sink<'_>) -> Result<(), CopyError> {
        let (touch, mut touched) = (meta::touch(&self.place.layout, &self.token), Instant::now());
        let mut touching = |rows| {
            if touched.elapsed() >= TOUCH {
                touched = Instant::now();
                self.own(&touch)?;
            }
            sink(rows)
        };
        let mut pages = Pages::new(&mut touching);
        read::everything(&self.place, &mut pages)?;
        pages.finish()
    }

    fn finish(&mut self, source: Marks) -> Result<(), CopyError> {
        if self.shards.values().any(|filled| filled.epoch <= source.epoch) {
            return Err(CopyError::Changed { store: self.from.clone() });
        }
        for (shard, filled) in &self.shards {
            let newest = match filled.newest {
                (0, 0) => String::new(),
                (ms, seq) => format!("{ms}-{seq}"),
            };
            let arguments = [counter_above(source.number).to_string(), source.group_base.to_string(), newest];
            self.call(*shard, Function::CopyEnd, &arguments)?;
            self.confirm(*shard)?;
        }
        self.own(&meta::finish(&self.place.layout, &self.token))?;
        self.begun = false;
        self.confirm(Shard::Nodes)
    }
}

impl Drop for RedisTarget {
    /// Lets the next copy begin at once. Tried once: it may begin after a while, whatever becomes of this.
    fn drop(&mut self) {
        if self.begun {
            let give_up = meta::give_up(&self.place.layout, &self.token);
            let _ = self.place.runtime.block_on(async {
                let mut connection = self.place.servers.commands(Shard::Nodes).await.ok()?;
                give_up.query_async::<()>(&mut connection).await.ok()
            });
        }
    }
}

impl write::Shards for RedisTarget {
    fn layout(&self) -> &crate::redis::layout::Layout {
        &self.place.layout
    }

    fn store(&self) -> &str {
        &self.place.name
    }

    fn epoch(&self, shard: Shard) -> u64 {
        self.shards.get(&shard).map_or(0, |filled| filled.epoch)
    }

    fn note_change(&mut self, shard: Shard, change: (u64, u64)) {
        let filled = self.shards.entry(shard).or_default();
        filled.newest = filled.newest.max(change);
    }

    fn note_entry(&mut self, key: &PartitionKey, entry: EntryId) -> bool {
        let before = self.newest_entry.take().filter(|(of, _)| of == key).map(|(_, before)| before);
        self.newest_entry = Some((key.clone(), entry));
        entry > before.unwrap_or_default()
    }
}

impl Place {
    /// That nothing lies in any shard but what remains of what was.
    fn must_be_empty(&self) -> Result<(), CopyError> {
        let mut holds = self.held(&[
            ("HLEN", "sessions"),
            ("HLEN", "retained"),
            ("HLEN", "delayed"),
            ("SCARD", "partitions"),
        ])?;
        let mut rows = Digest::default();
        let mut count = |more: Vec<CopyRow>| {
            more.iter().for_each(|row| rows.add(row));
            Ok(())
        };
        let mut pages = Pages::new(&mut count);
        read::tables(self, &mut pages)?;
        pages.finish()?;
        for (count, name) in [(rows.rows(), Kind::Tables), (read::standing_claims(self)?, Kind::Claims)] {
            holds.extend((count > 0).then(|| format!("{count} {name}")));
        }
        if holds.is_empty() {
            return Ok(());
        }
        Err(CopyError::NotEmpty { store: self.name.clone(), holds: holds.join(", ") })
    }

    /// What there is under these names in all shards together, and how much: which command counts it, and its name.
    fn held(&self, names: &[(&str, &str)]) -> Result<Vec<String>, CopyError> {
        let mut held = vec![0_u64; names.len()];
        for shard in self.layout.all() {
            let key = |name: &str| self.layout.key(shard, name);
            let mut question = redis::pipe();
            for (command, name) in names {
                question.cmd(command).arg(key(name));
            }
            question.cmd("HEXISTS").arg(key("sessions")).arg("legend");
            let mut found: Vec<u64> =
                self.with(shard, async |connection| question.query_async(connection).await)?;
            let legends = found.pop().unwrap_or(0);
            for ((sum, (_, name)), more) in held.iter_mut().zip(names).zip(found) {
                *sum += if *name == "sessions" { more - legends } else { more };
            }
        }
        let found = names.iter().zip(held).filter(|(_, rows)| *rows > 0);
        Ok(found.map(|((_, name), rows)| format!("{rows} {name}")).collect())
    }
}

fn in_use(place: &Place, nodes: &str) -> CopyError {
    let (store, by) = (place.name.clone(), format!("the nodes {nodes}"));
    CopyError::InUse { store, by, may_be_live: false }
}
