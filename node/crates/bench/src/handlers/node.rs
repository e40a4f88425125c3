//! One node with the handler that is measured.

use std::time::{Duration, Instant};

use weir_admin::proto::handler_binding_spec::Source;
use weir_admin::proto::handlers_upload_request::Part;
use weir_admin::proto::{
    HandlerBindingSpec, HandlerStream, HandlerTestMessage, HandlerTopics, HandlerUpload, HandlersBindRequest,
    HandlersGetBindingRequest, HandlersGetRequest, HandlersTestRequest, HandlersUploadRequest, StreamSpec,
    StreamsCreateRequest, StreamsGetRequest, StreamsPublishRequest,
};

use super::{IN, NAME, OUT, Setup};
use crate::args::Target;
use crate::node::{ANSWER_MAX, Start, call, runtime};
use crate::process::Process;
use crate::{Error, node};

/// The streams of what goes in and of what comes out, and the partitions of each.
const STREAMS: [(&str, &str); 2] = [("in", IN), ("out", OUT)];
const PARTITIONS: u32 = 4;

/// Bytes of a program in one message of an upload.
const CHUNK_BYTES: usize = 256 << 10;

/// How long the last event may take.
const COPIED_WITHIN: Duration = Duration::from_secs(120);

/// How often it is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A node that is ready.
pub(super) struct Node(node::Node);

impl Node {
    pub(super) fn start(setup: &Setup, store: &str) -> Result<Node, Error> {
        Ok(Node(node::Node::start(&start(setup, store))?))
    }

    pub(super) fn restart(self, setup: &Setup, store: &str) -> Result<Node, Error> {
        Ok(Node(self.0.restart(&start(setup, store))?))
    }

    pub(super) fn target(&self) -> Target {
        self.0.target()
    }

    pub(super) fn process(&self) -> Process {
        self.0.process()
    }

    /// Uploads a program, whatever it is, under the one name.
    pub(super) fn upload(&self, program: &[u8]) -> Result<(), Error> {
        let header = HandlerUpload { name: NAME.to_owned(), ..Default::default() };
        let chunks = program.chunks(CHUNK_BYTES).map(|chunk| Part::Chunk(chunk.to_vec().into()));
        let parts: Vec<_> = std::iter::once(Part::Header(header))
            .chain(chunks)
            .map(|part| HandlersUploadRequest { part: Some(part) })
            .collect();
        runtime()?.block_on(async {
            let uploaded = self.0.admin().await?.handlers().upload(tokio_stream::iter(parts)).await;
            uploaded.map(drop).map_err(call("uploading the handler"))
        })
    }

    pub(super) fn bind_live(&self) -> Result<(), Error> {
        self.bind(Source::Topics(HandlerTopics { filters: vec![format!("{IN}/#")] }))?;
        runtime()?.block_on(async {
            let admin = self.0.admin().await?;
            let begun = Instant::now();
            // What is published before it works passes it by.
            while begun.elapsed() < ANSWER_MAX {
                let message = StreamsPublishRequest { topic: format!("{IN}/first"), ..Default::default() };
                admin.streams().publish(message).await.map_err(call("publishing"))?;
                let request = HandlersGetBindingRequest { name: NAME.to_owned(), ..Default::default() };
                let found = admin.handlers().get_binding(request).await;
                let found = found.map_err(call("looking at the binding"))?.into_inner();
                if found.calls.values().any(|calls| *calls > 0) {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(Error::NotSeen { what: "a call of the handler", seconds: ANSWER_MAX.as_secs() })
        })
    }

    pub(super) fn bind_stream(&self) -> Result<(), Error> {
        self.bind(Source::Stream(HandlerStream { stream: STREAMS[0].0.to_owned(), ..Default::default() }))
    }

    fn bind(&self, source: Source) -> Result<(), Error> {
        let outputs = vec![format!("{OUT}/#")];
        let spec = HandlerBindingSpec {
            handler: NAME.to_owned(),
            source: Some(source),
            outputs,
            ..Default::default()
        };
        let request = HandlersBindRequest { name: NAME.to_owned(), spec: Some(spec), ..Default::default() };
        runtime()?.block_on(async {
            let bound = self.0.admin().await?.handlers().bind(request).await;
            bound.map(drop).map_err(call("binding the handler"))
        })
    }

    pub(super) fn make_streams(&self) -> Result<(), Error> {
        runtime()?.block_on(async {
            let mut streams = self.0.admin().await?.streams();
            for (name, topics) in STREAMS {
                let spec = StreamSpec {
                    filters: vec![format!("{topics}/#")],
                    partitions: PARTITIONS,
                    ..Default::default()
                };
                let request =
                    StreamsCreateRequest { name: name.to_owned(), spec: Some(spec), ..Default::default() };
                streams.create(request).await.map_err(call("making a stream"))?;
            }
            Ok(())
        })
    }

    /// Until as many events are stored.
    pub(super) fn wait_for_copies(&self, count: u64) -> Result<(), Error> {
        let begun = Instant::now();
        runtime()?.block_on(async {
            let mut streams = self.0.admin().await?.streams();
            loop {
                let request = StreamsGetRequest { name: STREAMS[1].0.to_owned(), ..Default::default() };
                let found = streams.get(request).await.map_err(call("looking at a stream"))?.into_inner();
                let partitions = found.generations.iter().flat_map(|one| &one.partitions);
                let seen: u64 = partitions.map(|one| one.records).sum();
                if seen >= count {
                    return Ok(());
                }
                if begun.elapsed() > COPIED_WITHIN {
                    return Err(Error::NotAllConsumed { seen, records: count });
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        })
    }

    /// One call, of which nothing comes.
    pub(super) fn call(&self) -> Result<(), Error> {
        let message = HandlerTestMessage { topic: format!("{IN}/0"), ..Default::default() };
        let request =
            HandlersTestRequest { name: NAME.to_owned(), messages: vec![message], ..Default::default() };
        runtime()?.block_on(async {
            let tried = self.0.admin().await?.handlers().test(request).await;
            tried.map(drop).map_err(call("calling the handler"))
        })
    }

    /// Asks for the handler.
    pub(super) fn look(&self) -> Result<(), Error> {
        let request = HandlersGetRequest { name: NAME.to_owned(), ..Default::default() };
        runtime()?.block_on(async {
            let found = self.0.admin().await?.handlers().get(request).await;
            found.map(drop).map_err(call("looking at the handler"))
        })
    }
}

fn start<'a>(setup: &'a Setup, store: &'a str) -> Start<'a> {
    Start { program: &setup.program, store, level: "auto" }
}
