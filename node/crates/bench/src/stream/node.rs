//! One node with a stream that captures what the generator publishes.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use url::Url;
use weir_admin::client::{Caller, Client, Target as Administered};
use weir_admin::proto::streams_client::StreamsClient;
use weir_admin::proto::{
    GroupSpec, StreamSpec, StreamsCreateGroupRequest, StreamsCreateRequest, StreamsGetRequest,
};
use weir_wire::mqtt::Version;

use super::{FILTER, STREAM, Setup};
use crate::Error;
use crate::args::Target;
use crate::local::{self, Directory, Program, WEIR_ENVIRONMENT};
use crate::process::Process;

/// How long a node may take to be ready, or to answer a call.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Records that may be with the members of a group, of the one partition.
const ACK_PENDING_MAX: u32 = 10_000;

/// A node that is ready and has the stream, and a group of the same name that begins with the first record.
pub(super) struct Node {
    process: Program,
    mqtt: Url,
    admin: String,
}

impl Node {
    /// With the store's address and what an acknowledgement promises; `auto` = all that the store proves.
    pub(super) fn start(setup: &Setup, store: &str, level: &str) -> Result<Node, Error> {
        let directory = Arc::new(Directory::new()?);
        let mut command = Command::new(&setup.program);
        command.args(["serve", "--store", store, "--log", "warn", "--mqtt", "127.0.0.1:0"]);
        command.args(["--admin", "127.0.0.1:0", "--http", "127.0.0.1:0", "--mqtts", "off", "--https", "off"]);
        command.args(["--quic", "off", "--peer", "off", "--data-dir"]).arg(directory.path().join("data"));
        command.envs(WEIR_ENVIRONMENT).env("WEIR__STORE__LEVEL", level);
        let mut process = Program::start("weir", command, &directory)?;
        let mut addresses = Vec::new();
        process.wait(ANSWER_MAX, |process| {
            addresses = local::listening(&process.stdout());
            !addresses.is_empty()
        })?;
        let address = |listener: &str| {
            let found = addresses.iter().find(|(name, _)| name == listener);
            found.map(|(_, address)| address.clone()).ok_or(Error::NoAddress)
        };
        let mqtt = Url::parse(&format!("mqtt://{}", address("mqtt")?)).map_err(|_| Error::NoAddress)?;
        let node = Node { process, mqtt, admin: address("admin")? };
        runtime()?.block_on(node.create())?;
        Ok(node)
    }

    /// Clients of MQTT 5 with clean sessions.
    pub(super) fn target(&self) -> Target {
        Target { version: Version::V5, ..Target::of(vec![self.mqtt.clone()], vec![self.process.pid()]) }
    }

    pub(super) fn process(&self) -> Process {
        Process::of(self.process.pid())
    }

    pub(super) async fn streams(&self) -> Result<StreamsClient<Caller>, Error> {
        let target =
            Administered { server: self.admin.clone(), timeout: ANSWER_MAX, ..Administered::default() };
        Ok(Client::connect(&target).await?.streams())
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

/// What a call was for, when it is refused.
pub(super) fn call(doing: &'static str) -> impl FnOnce(weir_admin::tonic::Status) -> Error {
    move |status| Error::Call { doing, reason: status.message().to_owned() }
}

pub(super) fn runtime() -> Result<Runtime, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| Error::Thread { source })
}
