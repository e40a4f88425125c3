//! The raw rate: how fast rows go through log, mark and tables when nothing is decided or answered.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;
use weir_model::{Message, Qos, Topic};

use super::recover::{self, Places};
use super::writer::CommitError;
use super::{assemble, lock::Lock, log::AppendError};
use crate::clock::wall_clock;
use crate::config::Config;
use crate::recovery::{OpenError, io_error};
use crate::row::{Change, Kind, Row, Write, number_key};
use crate::{Delivery, Level};

/// Records per second of group commits of `batch` queue rows with `payload_bytes` each, for about
/// `seconds`, in a store made for it in `dir`. What a store can do at most at that batch size.
pub fn raw_append_rate(
    dir: &Path,
    level: Level,
    batch: usize,
    payload_bytes: usize,
    seconds: f64,
) -> Result<f64, OpenError> {
    let places = Places::within(dir);
    std::fs::create_dir_all(&places.dir).map_err(io_error("create", &places.dir))?;
    let _lock = Lock::take(&places.dir)?;
    let config = Config { level: level.into(), ..Config::default() };
    let opened = recover::open(&config, &places, &wall_clock())?;
    let (mut writer, _) = assemble(&config, &places, opened, None)?;
    let mut number = 0;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs_f64(seconds) {
        let rows = (number..number + batch as u64).map(|number| row(number, payload_bytes)).collect();
        number += batch as u64;
        writer.commit_rows(rows).map_err(|error| failed(&places, error))?;
    }
    let rate = number as f64 / begun.elapsed().as_secs_f64();
    writer.checkpoints.stop();
    Ok(rate)
}

fn row(number: u64, payload_bytes: usize) -> Write {
    let message = Message {
        topic: topic(),
        payload: Bytes::from(vec![b'.'; payload_bytes]),
        qos: Qos::AtLeastOnce,
        retain: false,
        expires_at: None,
        properties: None,
    };
    let delivery = Delivery {
        message: Arc::new(message),
        qos: Qos::AtLeastOnce,
        retain: false,
        subscription_ids: SmallVec::new(),
        group: None,
    };
    let key = number_key(Kind::Queue, 1, number + 1);
    Write { key, change: Change::Fresh(Row::Waiting { delivery, body: 0 }) }
}

fn topic() -> Topic {
    match Topic::new("bench/store") {
        Ok(topic) => topic,
        Err(_) => unreachable!("a literal topic without wildcards is valid"),
    }
}

fn failed(places: &Places, error: CommitError) -> OpenError {
    let source = match error {
        CommitError::Append(AppendError::Failed { source, .. }) | CommitError::Mark(source) => source,
        CommitError::Append(AppendError::Full) => std::io::ErrorKind::StorageFull.into(),
    };
    OpenError::Io { action: "write", path: places.log.clone(), source }
}
