//! Records appended to one partition of a stream by many callers, and read back, through the store contract.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use weir_model::{Message, Qos};
use weir_store::{
    Append, Outcome, Page, PartitionKey, PartitionOp, Retention, Start, Step, Store, raw_append_rate,
};

use super::append::{open_store, submit, topic};
use super::{Case, Measured, StoreArgs};

/// Records in one page that is read.
const PAGE_RECORDS: usize = 500;

/// Records that are there to be read, in submits of so many.
const CONSUMED_RECORDS: usize = 1_000_000;
const FILL_RECORDS: usize = 1000;

/// Most records in one group commit, and with them in one of the bare ones beside it.
const COMMIT_RECORDS_MAX: usize = 4096;

/// Measures one case and removes what was appended.
pub fn run(url: &str, args: &StoreArgs, directory: &Path) -> anyhow::Result<Measured> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let mut measured = runtime.block_on(measure(url, args, &directory.join("contract")))?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    if args.case == Case::Capture && url == "embedded" {
        let batch = (args.callers as usize * args.batch()).min(COMMIT_RECORDS_MAX);
        let bare = directory.join("bare");
        let rate = raw_append_rate(&bare, measured.level, batch, args.size, args.duration)?;
        measured.bare = Some(rate);
    }
    Ok(measured)
}

async fn measure(url: &str, args: &StoreArgs, directory: &Path) -> anyhow::Result<Measured> {
    let store = open_store(url, directory).await?;
    let partition = Arc::new(Partition::of_this_process(args.size));
    let configure = PartitionOp::Configure { retention: Retention::default() };
    partition.ask(&*store, vec![configure]).await.context("no partition to append to")?;
    let measured = match args.case {
        Case::Consume => consume(&store, &partition).await,
        _ => capture(&store, &partition, args).await,
    };
    let dropped = partition.ask(&*store, vec![PartitionOp::Drop]).await;
    store.leave().await;
    store.close().await;
    dropped.context("the partition cannot be removed")?;
    measured
}

/// The partition that is appended to and read, made for it and dropped again.
struct Partition {
    key: PartitionKey,
    payload: Bytes,
}

/// All callers at once, until the time is over.
async fn capture(
    store: &Arc<dyn Store>,
    partition: &Arc<Partition>,
    args: &StoreArgs,
) -> anyhow::Result<Measured> {
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let deadline = begun + Duration::from_secs_f64(args.duration);
    let callers: Vec<_> = (0..args.callers)
        .map(|_| {
            let (store, partition, batch) = (Arc::clone(store), Arc::clone(partition), args.batch());
            tokio::spawn(async move {
                let (mut appended, mut refused) = (0, 0);
                while Instant::now() < deadline {
                    let steps = (0..batch).map(|_| partition.step(vec![partition.append()])).collect();
                    let answer = submit(&*store, steps).await?;
                    let taken = answer.iter().filter(|outcomes| outcomes.is_ok()).count() as u64;
                    appended += taken;
                    refused += answer.len() as u64 - taken;
                }
                anyhow::Ok((appended, refused))
            })
        })
        .collect();
    let (mut appended, mut refused) = (0u64, 0u64);
    for caller in callers {
        let one = caller.await.context("a caller panicked")??;
        (appended, refused) = (appended + one.0, refused + one.1);
    }
    let records_per_second = appended as f64 / begun.elapsed().as_secs_f64();
    let records_per_cpu_second = Some(appended as f64 / (cpu_seconds() - cpu));
    Ok(Measured { records_per_second, level: store.level(), refused, records_per_cpu_second, bare: None })
}

/// One reader, from the first record to the last.
async fn consume(store: &Arc<dyn Store>, partition: &Arc<Partition>) -> anyhow::Result<Measured> {
    for _ in 0..CONSUMED_RECORDS / FILL_RECORDS {
        let records = (0..FILL_RECORDS).map(|_| partition.append()).collect();
        partition.ask(&**store, records).await.context("nothing to read")?;
    }
    let (mut read, mut start) = (0, Start::Earliest);
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    loop {
        let page = Page { rows_max: PAGE_RECORDS, bytes_max: usize::MAX };
        let page = store.read_stream(partition.key.clone(), start, page).await?;
        let Some(last) = page.records.last() else { break };
        start = Start::After(last.mark.position);
        read += page.records.len();
    }
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    if read != CONSUMED_RECORDS {
        bail!("{read} of {CONSUMED_RECORDS} records were read");
    }
    Ok(Measured {
        records_per_second: read as f64 / seconds,
        level: store.level(),
        refused: 0,
        records_per_cpu_second: Some(read as f64 / cpu),
        bare: None,
    })
}

impl Partition {
    fn of_this_process(payload_bytes: usize) -> Partition {
        let stream = format!("bench-{}", std::process::id()).into();
        let key = PartitionKey { realm: "bench".into(), stream, generation: 1, partition: 0 };
        Partition { key, payload: Bytes::from(vec![b'x'; payload_bytes]) }
    }

    fn append(&self) -> PartitionOp {
        let message = Message {
            topic: topic(),
            payload: self.payload.clone(),
            qos: Qos::AtLeastOnce,
            retain: false,
            expires_at: None,
            properties: None,
        };
        PartitionOp::Append(Append { id: None, key: Bytes::new(), message: Arc::new(message) })
    }

    fn step(&self, ops: Vec<PartitionOp>) -> Step {
        Step::Partition { key: self.key.clone(), ops: ops.into() }
    }

    async fn ask(&self, store: &dyn Store, ops: Vec<PartitionOp>) -> anyhow::Result<Vec<Outcome>> {
        let answer = submit(store, vec![self.step(ops)]).await?.pop().context("no answer")?;
        Ok(answer?.into_vec())
    }
}

/// CPU time that this process has used so far.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
