//! `Config`: what is set, whether a text is good, and what it would change.

use tonic::{Request, Response, Status};

use super::{Shared, blocking};
use crate::audit;
use crate::caller::Caller;
use crate::error::Refused;
use crate::proto::{
    ConfigChange, ConfigDiffRequest, ConfigDiffResponse, ConfigReloadRequest, ConfigReloadResponse,
    ConfigShowRequest, ConfigShowResponse, ConfigValidateRequest, ConfigValidateResponse, config_server,
};

/// Bytes of a configuration file's text.
const TEXT_BYTES_MAX: usize = 1 << 20;

pub struct Config(pub Shared);

#[tonic::async_trait]
impl config_server::Config for Config {
    async fn show(&self, _: Request<ConfigShowRequest>) -> Result<Response<ConfigShowResponse>, Status> {
        let shared = self.0.clone();
        let (toml, json) = blocking(move || Ok(shared.machine.config())).await?;
        Ok(Response::new(ConfigShowResponse { toml, json }))
    }

    async fn validate(
        &self,
        request: Request<ConfigValidateRequest>,
    ) -> Result<Response<ConfigValidateResponse>, Status> {
        let text = text(request.into_inner().toml)?;
        let shared = self.0.clone();
        let problem = blocking(move || Ok(shared.machine.validate(&text).err())).await?;
        let (valid, problem) = (problem.is_none(), problem.unwrap_or_default());
        Ok(Response::new(ConfigValidateResponse { valid, problem }))
    }

    async fn diff(
        &self,
        request: Request<ConfigDiffRequest>,
    ) -> Result<Response<ConfigDiffResponse>, Status> {
        let text = text(request.into_inner().toml)?;
        let shared = self.0.clone();
        let bad = |problem| Refused::field("toml", problem, "a text that Validate finds good");
        let changes = blocking(move || shared.machine.diff(&text).map_err(bad)).await?;
        let change =
            |change: crate::Change| ConfigChange { key: change.key, now: change.now, then: change.then };
        Ok(Response::new(ConfigDiffResponse { changes: changes.into_iter().map(change).collect() }))
    }

    async fn reload(
        &self,
        request: Request<ConfigReloadRequest>,
    ) -> Result<Response<ConfigReloadResponse>, Status> {
        let caller = Caller::of(&request)?;
        let mut problems = self.0.machine.reload().await;
        let shared = self.0.clone();
        problems.extend(blocking(move || Ok(shared.reload())).await?);
        audit::changed(&caller, "config.reload", "", "", Ok(ConfigReloadResponse { problems }))
    }
}

fn text(toml: String) -> Result<String, Refused> {
    match toml.len() {
        0..=TEXT_BYTES_MAX => Ok(toml),
        bytes => Err(Refused::field("toml", format!("{bytes} bytes are too many"), "at most 1 MiB")),
    }
}
