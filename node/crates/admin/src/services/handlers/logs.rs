//! Lines of handlers: those of the past, and those that come.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use weir_broker::binding::Line;
use weir_broker::runtime::Level;

use super::super::watch::until_over;
use super::{Shared, named};
use crate::caller::Caller;
use crate::error::Refused;
use crate::proto::{HandlersReadLogsRequest, HandlersReadLogsResponse};

/// Lines of the past that may be asked for.
const LAST_MAX: u32 = 1000;

/// Lines on their way beside HTTP/2's own window; who takes none misses some, and is told how many.
const WAITING_MAX: usize = 16;

pub async fn read(
    shared: Shared,
    caller: Caller,
    request: HandlersReadLogsRequest,
) -> Result<ReceiverStream<Result<HandlersReadLogsResponse, Status>>, Refused> {
    let (realm, name) = named(&request.realm, &request.name)?;
    if request.last > LAST_MAX {
        return Err(Refused::field("last", "so many are not kept", format!("0 to {LAST_MAX}")));
    }
    let info = shared.broker.binding_info(&realm, &name).await?;
    let (past, mut coming) = info.journal.follow(request.last as usize);
    let (sender, answers) = mpsc::channel(WAITING_MAX);
    let to = sender.clone();
    let tell = async move {
        for line in past {
            if to.send(Ok(told(&line, 0))).await.is_err() {
                return;
            }
        }
        if request.follow {
            follow(&mut coming, &to).await;
        }
    };
    tokio::spawn(async move { until_over(&shared, &caller, &sender, tell).await });
    Ok(ReceiverStream::new(answers))
}

async fn follow(
    coming: &mut broadcast::Receiver<Arc<Line>>,
    to: &mpsc::Sender<Result<HandlersReadLogsResponse, Status>>,
) {
    let mut missed = 0;
    loop {
        match coming.recv().await {
            Ok(line) => {
                if to.send(Ok(told(&line, std::mem::take(&mut missed)))).await.is_err() {
                    return;
                }
            }
            Err(RecvError::Lagged(lines)) => missed += lines,
            Err(RecvError::Closed) => return,
        }
    }
}

fn told(line: &Line, missed: u64) -> HandlersReadLogsResponse {
    let level = match line.level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    HandlersReadLogsResponse {
        unix_ms: line.at.0,
        level: level.to_owned(),
        version: line.version,
        text: line.text.clone(),
        missed,
    }
}
