//! One built handler, and what the broker is to it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use weir_model::UnixMillis;
use weir_runtime::{
    Away, Call, Config, Event, Failure, Host, Limits, LogLine, Pool, Runtime, Settings, World,
};

/// What is missing fails by its name: a test that does not run proves nothing.
fn built(name: &str) -> Bytes {
    let Some(directory) = std::env::var_os("WEIR_HANDLERS") else {
        panic!("WEIR_HANDLERS names no directory: `cargo xtask handlers` makes one");
    };
    let path = PathBuf::from(directory).join(format!("{name}.wasm"));
    match std::fs::read(&path) {
        Ok(bytes) => bytes.into(),
        Err(error) => panic!("{}: {error}: `cargo xtask handlers` builds it", path.display()),
    }
}

/// Values by name; all messages of a test have one key.
#[derive(Default)]
struct Values(Mutex<HashMap<String, Bytes>>);

impl Host for Values {
    fn read<'a>(&'a self, _key: &'a [u8], name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Away>> {
        let found = self.0.lock().unwrap().get(name).cloned();
        Box::pin(async { Ok(found) })
    }
}

/// A handler that was uploaded.
pub struct Handler {
    pub pool: Pool,
    values: Arc<Values>,
    pub log: Mutex<Vec<LogLine>>,
    _runtime: Arc<Runtime>,
}

impl Handler {
    pub async fn start(name: &str, world: World, config: &[(&str, &str)]) -> Handler {
        let runtime = Runtime::start(&Config::default(), None).unwrap();
        let program = runtime.prepare(built(name)).await.unwrap();
        assert_eq!(program.world(), world);
        let limits = if program.is_large() { Limits::large() } else { Limits::default() };
        let config = config.iter().map(|(name, value)| (Box::from(*name), Box::from(*value))).collect();
        let pool = Pool::new(&runtime, &program, Settings { limits, config: Arc::new(config) });
        Handler { pool, values: Arc::default(), log: Mutex::default(), _runtime: runtime }
    }

    pub async fn command(name: &str) -> Handler {
        Handler::start(name, World::Command, &[]).await
    }

    /// Topics and payloads of what it makes of a message; what it writes is kept.
    pub async fn tell(&self, topic: &str, payload: &[u8]) -> Result<Vec<(String, String)>, Failure> {
        let host: Arc<dyn Host> = Arc::clone(&self.values) as _;
        let done = self.pool.handle(&message(topic, payload), &host).await;
        let mut values = self.values.0.lock().unwrap();
        for (name, value) in done.writes {
            match value {
                Some(value) => values.insert(name.into(), value),
                None => values.remove(&*name),
            };
        }
        self.log.lock().unwrap().extend(done.log);
        Ok(done.result?.into_iter().map(topic_and_text).collect())
    }
}

pub fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Call<'a> {
    Call {
        topic,
        payload,
        key: b"",
        properties: None,
        position: None,
        id: (0, 1),
        published_at: UnixMillis(1_000),
        attempt: 1,
        now: UnixMillis(2_000),
        is_deterministic: false,
    }
}

fn topic_and_text(event: Event) -> (String, String) {
    (event.topic.into(), String::from_utf8(event.payload.into()).unwrap())
}
