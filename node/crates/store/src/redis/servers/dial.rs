//! Opening a connection to one server: address, TLS, log-in, time limits.

use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, TlsCertificates,
};

use super::target::{Address, Target};
use crate::redis::config::{Password, RedisConfig};

/// Requests that may wait to be written to one connection; those who send more wait.
const REQUESTS_WAITING_MAX: usize = 256;
/// Bytes that are encoded before they are written: one batch.
const WRITE_BYTES: usize = 64 << 10;

/// All it takes to connect to any server of one Redis.
pub(super) struct Dialer {
    tls: Option<TlsCertificates>,
    servers: RedisConnectionInfo,
    sentinels: RedisConnectionInfo,
    connect_timeout: Duration,
    response_timeout: Duration,
}

/// What the connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Commands that are answered at once.
    Commands,
    /// Blocking reads, which wait without limit.
    Blocking,
    /// Questions to a Sentinel, which has users of its own.
    Sentinel,
}

/// A file or setting that connections need is unusable.
#[derive(Debug, thiserror::Error)]
pub enum BadSetting {
    #[error("cannot read {path}: {source}", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("store.redis.certificate_file and store.redis.key_file go together, only one is set")]
    HalfPair,
    #[error("store.redis.password and store.redis.password_file are both set")]
    TwoPasswords,
    #[error("the certificates for `rediss://` cannot be used: {cause}")]
    Certificates { cause: String },
}

impl Dialer {
    /// Reads the files that the configuration names.
    pub fn new(target: &Target, config: &RedisConfig) -> Result<Dialer, BadSetting> {
        let password = match (&config.password, &config.password_file) {
            (Some(_), Some(_)) => return Err(BadSetting::TwoPasswords),
            (None, Some(path)) => {
                let text = String::from_utf8_lossy(&read(path)?).into_owned();
                Some(Password(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
            (given, None) => given.clone(),
        };
        let servers = login(config.user.as_deref(), password.as_ref()).set_db(target.database);
        let sentinels = login(config.sentinel_user.as_deref(), config.sentinel_password.as_ref());
        let tls = if target.tls { Some(certificates(config)?) } else { None };
        if target.tls {
            // An error says that a provider is installed already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let dialer = Dialer {
            tls,
            servers,
            sentinels,
            connect_timeout: config.connect_timeout(),
            response_timeout: config.response_timeout(),
        };
        // Shows now whether the certificates are any good.
        let seed = target.seeds.first().map(|seed| dialer.client(seed, Purpose::Commands));
        match seed.transpose() {
            Ok(_) => Ok(dialer),
            Err(error) => Err(BadSetting::Certificates { cause: error.to_string() }),
        }
    }

    /// Connects and logs in. The error says nothing secret.
    pub async fn dial(
        &self,
        server: &Address,
        purpose: Purpose,
    ) -> Result<MultiplexedConnection, RedisError> {
        let response_timeout = (purpose != Purpose::Blocking).then_some(self.response_timeout);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(response_timeout)
            .set_pipeline_buffer_size(REQUESTS_WAITING_MAX)
            .set_write_backpressure_boundary(WRITE_BYTES);
        let client = self.client(server, purpose)?;
        let dialing = client.get_multiplexed_async_connection_with_config(&config);
        let late = |_| RedisError::from((ErrorKind::Io, "timed out while connecting"));
        tokio::time::timeout(self.connect_timeout, dialing).await.map_err(late)?
    }

    fn client(&self, server: &Address, purpose: Purpose) -> Result<Client, RedisError> {
        let (host, port) = (server.host.to_string(), server.port);
        let login = if purpose == Purpose::Sentinel { &self.sentinels } else { &self.servers };
        let settings = TcpSettings::default().set_nodelay(true);
        let complete = |address: ConnectionAddr| {
            let info = address.into_connection_info()?;
            Ok::<_, RedisError>(info.set_tcp_settings(settings).set_redis_settings(login.clone()))
        };
        match &self.tls {
            None => Client::open(complete(ConnectionAddr::Tcp(host, port))?),
            Some(certificates) => {
                let address = ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None };
                Client::build_with_tls(complete(address)?, certificates.clone())
            }
        }
    }
}

fn login(user: Option<&str>, password: Option<&Password>) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(user) = user {
        info = info.set_username(user);
    }
    match password {
        Some(password) => info.set_password(&password.0),
        None => info,
    }
}

fn certificates(config: &RedisConfig) -> Result<TlsCertificates, BadSetting> {
    let client_tls = match (&config.certificate_file, &config.key_file) {
        (Some(certificate), Some(key)) => {
            Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
        }
        (None, None) => None,
        _ => return Err(BadSetting::HalfPair),
    };
    let root_cert = config.ca_file.as_deref().map(read).transpose()?;
    Ok(TlsCertificates { client_tls, root_cert })
}

fn read(path: &Path) -> Result<Vec<u8>, BadSetting> {
    std::fs::read(path).map_err(|source| BadSetting::File { path: path.to_owned(), source })
}
