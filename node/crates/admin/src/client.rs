//! The other end: a channel to a node's admin listener, over net's transports.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};
use tower_service::Service;
use url::Url;
use weir_net::client::{ClientOptions, ConnectError, Connector};

use crate::proto;

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where a node is administered, and as whom.
#[derive(Clone, Default)]
pub struct Target {
    /// `http://host:port`, `https://host:port`, or `host:port` (without TLS).
    pub server: String,
    pub token: Option<String>,
    /// PEM file with the authorities to trust; without it, the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files with the client's certificate chain and key.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Trust any server certificate.
    pub insecure: bool,
    /// For the connection, and for each call if they end.
    pub timeout: Duration,
    /// Whether calls are given up after that time; not for streams.
    pub calls_end: bool,
}

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{server:?} is no server; say http://host:port, https://host:port or host:port")]
    Server { server: String },
    #[error("the token is not a text that can be sent")]
    Token,
    #[error("{server}: {error}")]
    Connect { server: String, error: ConnectError },
    #[error("{server}: {error}")]
    Transport { server: String, error: tonic::transport::Error },
}

/// A channel that shows the caller's token.
pub type Caller = InterceptedService<Channel, Show>;

/// Puts the token into every call.
#[derive(Clone)]
pub struct Show {
    bearer: Option<AsciiMetadataValue>,
}

impl Interceptor for Show {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        Ok(request)
    }
}

/// A node's services.
#[derive(Clone)]
pub struct Client {
    caller: Caller,
    /// The channel without a token, for services of gRPC's own.
    pub channel: Channel,
}

macro_rules! services {
    ($($name:ident: $module:ident :: $client:ident,)*) => {
        impl Client {
            $(
                #[doc = concat!("`weir.admin.v1.", stringify!($name), "`.")]
                #[must_use]
                pub fn $name(&self) -> proto::$module::$client<Caller> {
                    proto::$module::$client::new(self.caller.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
                }
            )*
        }
    };
}

services! {
    sessions: sessions_client::SessionsClient,
    topics: topics_client::TopicsClient,
    cluster: cluster_client::ClusterClient,
    accounts: accounts_client::AccountsClient,
    config: config_client::ConfigClient,
    watch: watch_client::WatchClient,
    streams: streams_client::StreamsClient,
    handlers: handlers_client::HandlersClient,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn connect(target: &Target) -> Result<Client, Error> {
        let (url, uri) = addresses(&target.server)?;
        let bearer = target.token.as_ref().map(|token| {
            let mut value: AsciiMetadataValue =
                format!("Bearer {token}").parse().map_err(|_| Error::Token)?;
            value.set_sensitive(true);
            Ok(value)
        });
        let bearer = bearer.transpose()?;
        let options = ClientOptions {
            ca_file: target.ca_file.clone(),
            insecure: target.insecure,
            certificate: target.certificate.clone(),
            key: target.key.clone(),
            alpn: vec!["h2".to_owned()],
            connect_timeout: target.timeout,
            ..ClientOptions::default()
        };
        let connector = Connector::new(options);
        // The first connection is made here, so that why it fails is known whole.
        let first = connector.connect(&url).await;
        let server = || target.server.clone();
        let first = first.map_err(|error| Error::Connect { server: server(), error })?;
        let endpoint = Endpoint::from(uri);
        let endpoint = if target.calls_end { endpoint.timeout(target.timeout) } else { endpoint };
        let dial = Dial { connector: Arc::new(connector), url, first: Some(first) };
        let channel = endpoint.connect_with_connector(dial).await;
        let channel = channel.map_err(|error| Error::Transport { server: server(), error })?;
        let caller = InterceptedService::new(channel.clone(), Show { bearer });
        Ok(Client { caller, channel })
    }
}

/// What a node says of its refusal beside code and message; empty where it is not the node's own.
#[must_use]
pub fn detail(status: &Status) -> proto::ErrorDetail {
    use prost::Message as _;
    proto::ErrorDetail::decode(status.details()).unwrap_or_default()
}

/// The address as net wants it, and as HTTP/2 does.
fn addresses(server: &str) -> Result<(Url, Uri), Error> {
    let wrong = || Error::Server { server: server.to_owned() };
    let text = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    let parsed = Url::parse(&text).map_err(|_| wrong())?;
    let (scheme, default) = match parsed.scheme() {
        "http" => ("tcp", 80),
        "https" => ("ssl", 443),
        _ => return Err(wrong()),
    };
    let (host, port) = (parsed.host_str().ok_or_else(wrong)?, parsed.port().unwrap_or(default));
    let url = Url::parse(&format!("{scheme}://{host}:{port}")).map_err(|_| wrong())?;
    let uri = format!("{}://{host}:{port}", parsed.scheme()).parse().map_err(|_| wrong())?;
    Ok((url, uri))
}

/// Makes connections: hands out the first, dials later ones.
struct Dial {
    connector: Arc<Connector>,
    url: Url,
    first: Option<weir_net::Stream>,
}

impl Service<Uri> for Dial {
    type Response = hyper_util::rt::TokioIo<weir_net::Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        if let Some(first) = self.first.take() {
            return Box::pin(async { Ok(hyper_util::rt::TokioIo::new(first)) });
        }
        let (connector, url) = (self.connector.clone(), self.url.clone());
        Box::pin(async move { connector.connect(&url).await.map(hyper_util::rt::TokioIo::new) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_with_or_without_a_scheme() {
        let of = |server: &str| addresses(server).map(|(url, uri)| (url.to_string(), uri.to_string())).ok();
        let plain = of("localhost:50051").unwrap();
        assert!(
            plain.0.starts_with("tcp://localhost:50051") && plain.1.starts_with("http://localhost:50051")
        );
        assert!(of("https://[::1]:7").unwrap().0.starts_with("ssl://[::1]:7"));
        assert_eq!((of("mqtt://a:1"), of("http://")), (None, None));
    }
}
