//! One node with a stream that captures what the generator publishes.

use weir_admin::client::Caller;
use weir_admin::proto::streams_client::StreamsClient;
use weir_admin::proto::{
    GroupSpec, StreamSpec, StreamsCreateGroupRequest, StreamsCreateRequest, StreamsGetRequest,
};

use super::{FILTER, STREAM, Setup};
use crate::args::Target;
use crate::node::Start;
use crate::process::Process;
use crate::{Error, node};

pub(super) use crate::node::{call, runtime};

/// Records that may be with the members of a group, of the one partition.
const ACK_PENDING_MAX: u32 = 10_000;

/// A node that is ready and has the stream, and a group of the same name that begins with the first record.
pub(super) struct Node(node::Node);

impl Node {
    /// With the store's address and what an acknowledgement promises; `auto` = all that the store proves.
    pub(super) fn start(setup: &Setup, store: &str, level: &str) -> Result<Node, Error> {
        let node = Node(node::Node::start(&Start { program: &setup.program, store, level })?);
        runtime()?.block_on(node.create())?;
        Ok(node)
    }

    pub(super) fn target(&self) -> Target {
        self.0.target()
    }

    pub(super) fn process(&self) -> Process {
        self.0.process()
    }

    pub(super) async fn streams(&self) -> Result<StreamsClient<Caller>, Error> {
        Ok(self.0.admin().await?.streams())
    }

    /// Records in the stream, and the Redis key they are under; empty without a Redis.
    pub(super) fn records(&self) -> Result<(u64, String), Error> {
        runtime()?.block_on(async {
            let request = StreamsGetRequest { name: STREAM.to_owned(), ..Default::default() };
            let found = self.streams().await?.get(request).await.map_err(call("looking at the stream"))?;
            let mut generations = found.into_inner().generations.into_iter();
            let partition = generations.next().and_then(|one| one.partitions.into_iter().next());
            Ok(partition.map_or((0, String::new()), |one| (one.records, one.redis_key)))
        })
    }

    async fn create(&self) -> Result<(), Error> {
        let mut streams = self.streams().await?;
        let spec = StreamSpec { filters: vec![FILTER.to_owned()], partitions: 1, ..Default::default() };
        let stream = StreamsCreateRequest { name: STREAM.to_owned(), spec: Some(spec), ..Default::default() };
        streams.create(stream).await.map_err(call("making the stream"))?;
        let spec = GroupSpec { ack_pending_max: Some(ACK_PENDING_MAX), ..Default::default() };
        let (stream, group) = (STREAM.to_owned(), STREAM.to_owned());
        let group = StreamsCreateGroupRequest { stream, group, spec: Some(spec), ..Default::default() };
        streams.create_group(group).await.map_err(call("making the group"))?;
        Ok(())
    }
}
