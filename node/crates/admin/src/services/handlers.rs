//! `Handlers`: uploaded, bound, watched and tried.

mod bindings;
mod errors;
mod logs;
mod middleware;
mod told;
mod trial;
mod upload;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream as Answering;
use tonic::{Request, Response, Status, Streaming};
use weir_broker::binding::Share;

use super::streams::define;
use super::{Shared, realm_name};
use crate::audit;
use crate::caller::Caller;
use crate::error::Refused;
use crate::page;
use crate::proto::{
    HandlersAlterBindingRequest, HandlersAlterBindingResponse, HandlersBindRequest, HandlersBindResponse,
    HandlersDeleteAliasRequest, HandlersDeleteAliasResponse, HandlersDeleteRequest, HandlersDeleteResponse,
    HandlersDeleteSecretRequest, HandlersDeleteSecretResponse, HandlersDeleteVersionRequest,
    HandlersDeleteVersionResponse, HandlersGetBindingRequest, HandlersGetBindingResponse, HandlersGetRequest,
    HandlersGetResponse, HandlersListBindingsRequest, HandlersListBindingsResponse, HandlersListRequest,
    HandlersListResponse, HandlersListSecretsRequest, HandlersListSecretsResponse, HandlersPauseRequest,
    HandlersPauseResponse, HandlersReadLogsRequest, HandlersReadLogsResponse, HandlersReplayRequest,
    HandlersReplayResponse, HandlersResumeRequest, HandlersResumeResponse, HandlersRollbackRequest,
    HandlersRollbackResponse, HandlersSetAliasRequest, HandlersSetAliasResponse, HandlersSetSecretRequest,
    HandlersSetSecretResponse, HandlersTestRequest, HandlersTestResponse, HandlersUnbindRequest,
    HandlersUnbindResponse, HandlersUploadRequest, HandlersUploadResponse, handlers_server,
};

/// Bytes of a secret.
const SECRET_BYTES_MAX: usize = 16 << 10;

pub struct Handlers(pub Shared);

type Answers<T> = Pin<Box<dyn Answering<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl handlers_server::Handlers for Handlers {
    type ReadLogsStream = Answers<HandlersReadLogsResponse>;

    async fn upload(
        &self,
        request: Request<Streaming<HandlersUploadRequest>>,
    ) -> Result<Response<HandlersUploadResponse>, Status> {
        let caller = Caller::of(&request)?;
        let mut name = String::new();
        let done = upload::upload(&self.0, &caller, request.into_inner(), &mut name).await;
        audit::changed(&caller, "handlers.upload", &name, "", done)
    }

    async fn list(
        &self,
        request: Request<HandlersListRequest>,
    ) -> Result<Response<HandlersListResponse>, Status> {
        let request = request.into_inner();
        let max = page::size(&self.0.config, request.page_size)?;
        let after: Option<String> = page::behind(&request.page_token)?;
        let realm = realm_name(&request.realm);
        let all = self.0.broker.handlers(&realm);
        let is_meant = |name: &str| after.as_deref().is_none_or(|after| name > after);
        let mut meant = all.iter().filter(|(name, _)| is_meant(name));
        let handlers: Vec<_> =
            meant.by_ref().take(max).map(|(name, handler)| told::handler(&realm, name, handler)).collect();
        let last = handlers.last().filter(|_| meant.next().is_some());
        let next_page_token = last.map(|last| page::token(&last.name)).unwrap_or_default();
        Ok(Response::new(HandlersListResponse { handlers, next_page_token }))
    }

    async fn get(
        &self,
        request: Request<HandlersGetRequest>,
    ) -> Result<Response<HandlersGetResponse>, Status> {
        let request = request.into_inner();
        let realm = realm_name(&request.realm);
        let (handler, _) = self.0.broker.handler(&realm, &request.name).map_err(Refused::from)?;
        let handler = Some(told::handler(&realm, &request.name, &handler));
        Ok(Response::new(HandlersGetResponse { handler }))
    }

    async fn delete(
        &self,
        request: Request<HandlersDeleteRequest>,
    ) -> Result<Response<HandlersDeleteResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let done = self.0.broker.delete_handler(&realm_name(&request.realm), &request.name).await;
        let done = done.map(|()| HandlersDeleteResponse {}).map_err(Refused::from);
        audit::changed(&caller, "handlers.delete", &request.name, "", done)
    }

    async fn delete_version(
        &self,
        request: Request<HandlersDeleteVersionRequest>,
    ) -> Result<Response<HandlersDeleteVersionResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let realm = realm_name(&request.realm);
        let done = self.0.broker.delete_version(&realm, &request.name, &request.digest).await;
        let done = done.map(|()| HandlersDeleteVersionResponse {}).map_err(Refused::from);
        audit::changed(&caller, "handlers.delete_version", &request.name, "", done)
    }

    async fn set_alias(
        &self,
        request: Request<HandlersSetAliasRequest>,
    ) -> Result<Response<HandlersSetAliasResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = request.name.clone();
        let done = self.point(request).await;
        audit::changed(&caller, "handlers.set_alias", &name, "", done)
    }

    async fn rollback(
        &self,
        request: Request<HandlersRollbackRequest>,
    ) -> Result<Response<HandlersRollbackResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let (realm, alias) = (realm_name(&request.realm), told::alias_name(&request.alias));
        let done = self.0.broker.roll_back_alias(&realm, &request.name, alias, None).await;
        let done = done.map(|now| HandlersRollbackResponse { alias: Some(told::alias(alias, &now)) });
        audit::changed(&caller, "handlers.rollback", &request.name, "", done.map_err(Refused::from))
    }

    async fn delete_alias(
        &self,
        request: Request<HandlersDeleteAliasRequest>,
    ) -> Result<Response<HandlersDeleteAliasResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let realm = realm_name(&request.realm);
        let done = self.0.broker.delete_alias(&realm, &request.name, &request.alias).await;
        let done = done.map(|()| HandlersDeleteAliasResponse {}).map_err(Refused::from);
        audit::changed(&caller, "handlers.delete_alias", &request.name, "", done)
    }

    async fn bind(
        &self,
        request: Request<HandlersBindRequest>,
    ) -> Result<Response<HandlersBindResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = request.name.clone();
        let done = bindings::bind(&self.0, request).await;
        audit::changed(&caller, "handlers.bind", &name, "", done)
    }

    async fn alter_binding(
        &self,
        request: Request<HandlersAlterBindingRequest>,
    ) -> Result<Response<HandlersAlterBindingResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = request.name.clone();
        let done = bindings::alter(&self.0, request).await;
        audit::changed(&caller, "handlers.alter_binding", &name, "", done)
    }

    async fn unbind(
        &self,
        request: Request<HandlersUnbindRequest>,
    ) -> Result<Response<HandlersUnbindResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let done = self.0.broker.unbind(&realm_name(&request.realm), &request.name).await;
        let done = done.map(|()| HandlersUnbindResponse {}).map_err(Refused::from);
        audit::changed(&caller, "handlers.unbind", &request.name, "", done)
    }

    async fn list_bindings(
        &self,
        request: Request<HandlersListBindingsRequest>,
    ) -> Result<Response<HandlersListBindingsResponse>, Status> {
        Ok(Response::new(bindings::list(&self.0, &request.into_inner())?))
    }

    async fn get_binding(
        &self,
        request: Request<HandlersGetBindingRequest>,
    ) -> Result<Response<HandlersGetBindingResponse>, Status> {
        Ok(Response::new(bindings::get(&self.0, &request.into_inner()).await?))
    }

    async fn pause(
        &self,
        request: Request<HandlersPauseRequest>,
    ) -> Result<Response<HandlersPauseResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let done = self.0.broker.pause_binding(&realm_name(&request.realm), &request.name, true).await;
        let done = done.map(|()| HandlersPauseResponse {}).map_err(Refused::from);
        audit::changed(&caller, "handlers.pause", &request.name, "", done)
    }

    async fn resume(
        &self,
        request: Request<HandlersResumeRequest>,
    ) -> Result<Response<HandlersResumeResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let done = self.0.broker.pause_binding(&realm_name(&request.realm), &request.name, false).await;
        let done = done.map(|()| HandlersResumeResponse {}).map_err(Refused::from);
        audit::changed(&caller, "handlers.resume", &request.name, "", done)
    }

    async fn replay(
        &self,
        request: Request<HandlersReplayRequest>,
    ) -> Result<Response<HandlersReplayResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let done = async {
            let start = define::start("start", request.start.as_ref())?;
            self.0.broker.replay_binding(&realm_name(&request.realm), &request.name, start).await?;
            Ok(HandlersReplayResponse {})
        };
        let done = done.await;
        audit::changed(&caller, "handlers.replay", &request.name, "", done)
    }

    async fn read_logs(
        &self,
        request: Request<HandlersReadLogsRequest>,
    ) -> Result<Response<Self::ReadLogsStream>, Status> {
        let caller = Caller::of(&request)?;
        let answers = logs::read(self.0.clone(), caller, request.into_inner()).await?;
        Ok(Response::new(Box::pin(answers)))
    }

    async fn test(
        &self,
        request: Request<HandlersTestRequest>,
    ) -> Result<Response<HandlersTestResponse>, Status> {
        Ok(Response::new(trial::run(&self.0, request.into_inner()).await?))
    }

    async fn set_secret(
        &self,
        request: Request<HandlersSetSecretRequest>,
    ) -> Result<Response<HandlersSetSecretResponse>, Status> {
        let caller = Caller::of(&request)?;
        let HandlersSetSecretRequest { realm, name, value } = request.into_inner();
        let done = async {
            if value.len() > SECRET_BYTES_MAX {
                let hint = format!("at most {SECRET_BYTES_MAX} bytes");
                return Err(Refused::field("value", format!("{} bytes are too many", value.len()), hint));
            }
            self.0.broker.set_secret(&realm_name(&realm), &name, &value).await?;
            Ok(HandlersSetSecretResponse {})
        };
        let done = done.await;
        audit::changed(&caller, "handlers.set_secret", &name, "", done)
    }

    async fn list_secrets(
        &self,
        request: Request<HandlersListSecretsRequest>,
    ) -> Result<Response<HandlersListSecretsResponse>, Status> {
        let names = self.0.broker.secrets(&realm_name(&request.into_inner().realm));
        let names = names.iter().map(ToString::to_string).collect();
        Ok(Response::new(HandlersListSecretsResponse { names }))
    }

    async fn delete_secret(
        &self,
        request: Request<HandlersDeleteSecretRequest>,
    ) -> Result<Response<HandlersDeleteSecretResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let done = self.0.broker.delete_secret(&realm_name(&request.realm), &request.name).await;
        let done = done.map(|()| HandlersDeleteSecretResponse {}).map_err(Refused::from);
        audit::changed(&caller, "handlers.delete_secret", &request.name, "", done)
    }
}

impl Handlers {
    async fn point(&self, request: HandlersSetAliasRequest) -> Result<HandlersSetAliasResponse, Refused> {
        let alias = told::alias_name(&request.alias);
        let percent = |field, percent: u32| match u8::try_from(percent) {
            Ok(percent @ 0..=100) => Ok(percent),
            _ => Err(Refused::field(field, "it is no percentage", "0 to 100")),
        };
        let share = |share: &crate::proto::HandlerShare| {
            let percent = percent("shares", share.percent)?;
            Ok::<_, Refused>(Share { digest: share.digest.as_str().into(), percent })
        };
        let shares = request.shares.iter().map(share).collect::<Result<Vec<_>, _>>()?;
        let guard = (percent("guard_percent", request.guard_percent)?, request.guard_calls_min);
        let realm = realm_name(&request.realm);
        let now = self.0.broker.set_alias(&realm, &request.name, alias, shares, guard).await?;
        Ok(HandlersSetAliasResponse { alias: Some(told::alias(alias, &now)) })
    }
}

/// The realm of a binding and its name.
fn named(realm: &str, name: &str) -> Result<(Arc<str>, Arc<str>), Refused> {
    define::name("name", name)?;
    Ok((realm_name(realm), name.into()))
}
