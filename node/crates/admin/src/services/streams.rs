//! `Streams`: made and altered, published to, read, and consumed in groups.

mod consume;
pub mod define;
mod errors;
pub mod groups;
mod info;
mod publish;
mod read;
mod records;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::Stream as Answering;
use metrics::gauge;
use tonic::{Code, Request, Response, Status, Streaming};

pub use info::node;

use super::{Shared, realm_name};
use crate::audit;
use crate::caller::Caller;
use crate::error::Refused;
use crate::page;
use crate::proto::{
    StreamsAlterGroupRequest, StreamsAlterGroupResponse, StreamsAlterRequest, StreamsAlterResponse,
    StreamsConsumeRequest, StreamsConsumeResponse, StreamsCreateGroupRequest, StreamsCreateGroupResponse,
    StreamsCreateRequest, StreamsCreateResponse, StreamsDeleteGroupRequest, StreamsDeleteGroupResponse,
    StreamsDeleteRequest, StreamsDeleteResponse, StreamsGetRequest, StreamsGetResponse,
    StreamsListGroupsRequest, StreamsListGroupsResponse, StreamsListRequest, StreamsListResponse,
    StreamsPauseGroupRequest, StreamsPauseGroupResponse, StreamsPublishManyRequest,
    StreamsPublishManyResponse, StreamsPublishRequest, StreamsPublishResponse, StreamsReadRequest,
    StreamsReadResponse, StreamsRedriveGroupRequest, StreamsRedriveGroupResponse, StreamsResumeGroupRequest,
    StreamsResumeGroupResponse, StreamsSeekGroupRequest, StreamsSeekGroupResponse, streams_server,
};

pub struct Streams {
    shared: Shared,
    /// Calls of `Read`, `Consume` and `PublishMany` that are open.
    open: Arc<AtomicUsize>,
}

type Answers<T> = Pin<Box<dyn Answering<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl streams_server::Streams for Streams {
    type PublishManyStream = Answers<StreamsPublishManyResponse>;
    type ReadStream = Answers<StreamsReadResponse>;
    type ConsumeStream = Answers<StreamsConsumeResponse>;

    async fn create(
        &self,
        request: Request<StreamsCreateRequest>,
    ) -> Result<Response<StreamsCreateResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = request.name.clone();
        let done = self.create_stream(request).await;
        audit::changed(&caller, "streams.create", &name, "", done)
    }

    async fn alter(
        &self,
        request: Request<StreamsAlterRequest>,
    ) -> Result<Response<StreamsAlterResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = request.name.clone();
        let done = self.alter_stream(request).await;
        audit::changed(&caller, "streams.alter", &name, "", done)
    }

    async fn delete(
        &self,
        request: Request<StreamsDeleteRequest>,
    ) -> Result<Response<StreamsDeleteResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let done = async {
            define::name("name", &request.name)?;
            self.shared.broker.delete_stream(&realm_name(&request.realm), &request.name).await?;
            Ok(StreamsDeleteResponse {})
        };
        let done = done.await;
        audit::changed(&caller, "streams.delete", &request.name, "", done)
    }

    async fn list(
        &self,
        request: Request<StreamsListRequest>,
    ) -> Result<Response<StreamsListResponse>, Status> {
        let request = request.into_inner();
        let max = page::size(&self.shared.config, request.page_size)?;
        let after: Option<String> = page::behind(&request.page_token)?;
        let all = self.shared.broker.streams().all(&realm_name(&request.realm));
        let is_meant = |name: &str| {
            name.starts_with(&request.name_prefix) && after.as_deref().is_none_or(|after| name > after)
        };
        let mut meant = all.iter().filter(|stream| is_meant(&stream.name));
        let streams: Vec<_> = meant.by_ref().take(max).map(|stream| define::told(stream)).collect();
        let last = streams.last().filter(|_| meant.next().is_some());
        let next_page_token = last.map(|last| page::token(&last.name)).unwrap_or_default();
        Ok(Response::new(StreamsListResponse { streams, next_page_token }))
    }

    async fn get(&self, request: Request<StreamsGetRequest>) -> Result<Response<StreamsGetResponse>, Status> {
        let request = request.into_inner();
        define::name("name", &request.name)?;
        let realm = realm_name(&request.realm);
        Ok(Response::new(info::look(&self.shared, &realm, &request.name).await?))
    }

    async fn publish(
        &self,
        request: Request<StreamsPublishRequest>,
    ) -> Result<Response<StreamsPublishResponse>, Status> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(publish::one(&self.shared, &caller, &request.into_inner()).await?))
    }

    async fn publish_many(
        &self,
        request: Request<Streaming<StreamsPublishManyRequest>>,
    ) -> Result<Response<Self::PublishManyStream>, Status> {
        let (caller, place) = (Caller::of(&request)?, self.begin()?);
        let answers = publish::many(self.shared.clone(), caller, request.into_inner(), place);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn read(&self, request: Request<StreamsReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let (caller, place) = (Caller::of(&request)?, self.begin()?);
        let answers = read::read(self.shared.clone(), caller, request.into_inner(), place).await?;
        Ok(Response::new(Box::pin(answers)))
    }

    async fn consume(
        &self,
        request: Request<Streaming<StreamsConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let (caller, place) = (Caller::of(&request)?, self.begin()?);
        let answers = consume::consume(self.shared.clone(), caller, request.into_inner(), place);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn create_group(
        &self,
        request: Request<StreamsCreateGroupRequest>,
    ) -> Result<Response<StreamsCreateGroupResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let on = groups::on(&request.stream, &request.group);
        let done = groups::create(&self.shared, request).await;
        audit::changed(&caller, "streams.create_group", &on, "", done)
    }

    async fn alter_group(
        &self,
        request: Request<StreamsAlterGroupRequest>,
    ) -> Result<Response<StreamsAlterGroupResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let on = groups::on(&request.stream, &request.group);
        let done = groups::alter(&self.shared, request).await;
        audit::changed(&caller, "streams.alter_group", &on, "", done)
    }

    async fn delete_group(
        &self,
        request: Request<StreamsDeleteGroupRequest>,
    ) -> Result<Response<StreamsDeleteGroupResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let on = groups::on(&request.stream, &request.group);
        let done = groups::delete(&self.shared, &request).await;
        audit::changed(&caller, "streams.delete_group", &on, "", done)
    }

    async fn list_groups(
        &self,
        request: Request<StreamsListGroupsRequest>,
    ) -> Result<Response<StreamsListGroupsResponse>, Status> {
        Ok(Response::new(groups::list(&self.shared, &request.into_inner()).await?))
    }

    async fn pause_group(
        &self,
        request: Request<StreamsPauseGroupRequest>,
    ) -> Result<Response<StreamsPauseGroupResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let named = groups::Named::new(&request.realm, &request.stream, &request.group);
        let done = groups::pause(&self.shared, named, true).await;
        let done = done.map(|group| StreamsPauseGroupResponse { group: Some(group) });
        audit::changed(&caller, "streams.pause_group", &groups::on(&request.stream, &request.group), "", done)
    }

    async fn resume_group(
        &self,
        request: Request<StreamsResumeGroupRequest>,
    ) -> Result<Response<StreamsResumeGroupResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let named = groups::Named::new(&request.realm, &request.stream, &request.group);
        let done = groups::pause(&self.shared, named, false).await;
        let done = done.map(|group| StreamsResumeGroupResponse { group: Some(group) });
        audit::changed(
            &caller,
            "streams.resume_group",
            &groups::on(&request.stream, &request.group),
            "",
            done,
        )
    }

    async fn seek_group(
        &self,
        request: Request<StreamsSeekGroupRequest>,
    ) -> Result<Response<StreamsSeekGroupResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let done = groups::seek(&self.shared, &request).await;
        audit::changed(&caller, "streams.seek_group", &groups::on(&request.stream, &request.group), "", done)
    }

    async fn redrive_group(
        &self,
        request: Request<StreamsRedriveGroupRequest>,
    ) -> Result<Response<StreamsRedriveGroupResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let done = groups::redrive(&self.shared, &request).await;
        audit::changed(
            &caller,
            "streams.redrive_group",
            &groups::on(&request.stream, &request.group),
            "",
            done,
        )
    }
}

impl Streams {
    pub fn new(shared: Shared) -> Self {
        Self { shared, open: Arc::default() }
    }

    async fn create_stream(&self, request: StreamsCreateRequest) -> Result<StreamsCreateResponse, Refused> {
        define::name("name", &request.name)?;
        let realm = self.shared.realm(&request.realm)?;
        let spec = define::spec(request.spec.unwrap_or_default())?;
        let made = self.shared.broker.create_stream(&realm.name, &request.name, spec).await?;
        Ok(StreamsCreateResponse { stream: Some(define::told(&made)) })
    }

    async fn alter_stream(&self, request: StreamsAlterRequest) -> Result<StreamsAlterResponse, Refused> {
        define::name("name", &request.name)?;
        let realm = realm_name(&request.realm);
        let before = self.shared.broker.stream(&realm, &request.name)?;
        let mask = request.update_mask.unwrap_or_default().paths;
        let spec = define::altered(before.definition.spec(), request.spec.unwrap_or_default(), &mask)?;
        // What the mask leaves is as it was in this version.
        let version = if request.version == 0 { before.version } else { request.version };
        let now = self.shared.broker.alter_stream(&realm, &request.name, spec, version).await?;
        Ok(StreamsAlterResponse { stream: Some(define::told(&now)) })
    }

    /// Takes a place among the calls that last.
    fn begin(&self) -> Result<Place, Refused> {
        let open = self.open.fetch_add(1, Ordering::AcqRel) + 1;
        let place = Place(self.open.clone());
        gauge!("weir_admin_stream_calls").set(open as f64);
        match self.shared.config.stream_calls_max {
            max if max > 0 && open > max => {
                let message =
                    format!("{max} streams are being read or written already (`admin.stream_calls_max`)");
                Err(Refused::new(Code::ResourceExhausted, "busy", message))
            }
            _ => Ok(place),
        }
    }
}

/// A call that lasts, counted until it is dropped.
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        let open = self.0.fetch_sub(1, Ordering::AcqRel) - 1;
        gauge!("weir_admin_stream_calls").set(open as f64);
    }
}
