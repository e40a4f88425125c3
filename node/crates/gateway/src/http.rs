//! The one HTTP route table: health, metrics, and the WebSocket upgrade.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use weir_net::http::{Handshake, Method, Request, Response, Routes, StatusCode, header};
use weir_net::limits::{Limits, Refused};
use weir_net::ws::{MessageKind, Messages};
use weir_wire::wamp::Serialization;

use crate::health::{Health, LookAfter, State};
use crate::listeners::count_refused;

/// The subprotocols of MQTT over WebSocket (MQTT-6.0.0-3); the second one is MQTT 3.1's.
const MQTT_SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Renders `/metrics`.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

pub struct Http {
    pub render: Render,
    pub health: LookAfter,
    /// Cleared when the node begins to stop or to drain.
    pub ready: Arc<AtomicBool>,
    pub limits: Arc<Limits>,
    /// The longest message of WAMP.
    pub wamp_bytes_max: usize,
}

impl Http {
    fn answer(&self, method: &Method, path: &str, query: Option<&str>) -> Response<Bytes> {
        if method != Method::GET && method != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n".into());
        }
        match path {
            "/health/live" => text(StatusCode::OK, "live\n".into()),
            "/health/ready" => self.readiness(query),
            "/metrics" => {
                let mut answer = text(StatusCode::OK, (self.render)());
                let form = header::HeaderValue::from_static("text/plain; version=0.0.4");
                answer.headers_mut().insert(header::CONTENT_TYPE, form);
                answer
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "try /mqtt or /wamp (WebSocket), /metrics, /health/ready\n".into(),
            ),
        }
    }

    /// 200 as long as clients may be sent here; with `?strict` only while nothing is missing.
    fn readiness(&self, query: Option<&str>) -> Response<Bytes> {
        let mut health = (self.health)();
        if !self.ready.load(Ordering::Acquire) && health.state != State::Draining {
            health = Health { state: State::Stopping, missing: Vec::new() };
        }
        let names =
            query.unwrap_or_default().split('&').map(|pair| pair.split('=').next().unwrap_or_default());
        let strict = names.into_iter().any(|name| name == "strict");
        let ready = health.state.is_ready(strict);
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        text(status, health.as_text())
    }
}

impl Routes for Http {
    fn route(&self, request: Request<Bytes>, _: SocketAddr) -> BoxFuture<'_, Response<Bytes>> {
        Box::pin(async move { self.answer(request.method(), request.uri().path(), request.uri().query()) })
    }

    /// `/mqtt` and `/` speak MQTT, `/wamp` and `/` WAMP; a client must offer one of their subprotocols, and the first it
    /// offers is taken. None while the node is short of memory, or on its way to its end.
    fn upgrade(&self, handshake: &Handshake<'_>) -> Result<Option<String>, StatusCode> {
        let (mqtt, wamp) = match handshake.path {
            "/" => (true, true),
            "/mqtt" => (true, false),
            "/wamp" => (false, true),
            _ => return Err(StatusCode::NOT_FOUND),
        };
        if !self.ready.load(Ordering::Acquire) {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        if self.limits.is_paused() {
            count_refused(Refused::Pressure);
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        let is_spoken = |name: &&&str| {
            (mqtt && MQTT_SUBPROTOCOLS.contains(*name))
                || (wamp && Serialization::of_subprotocol(name).is_some())
        };
        match handshake.subprotocols.iter().find(is_spoken) {
            Some(chosen) => Ok(Some((*chosen).to_owned())),
            None => Err(StatusCode::BAD_REQUEST),
        }
    }

    /// WAMP's messages are told apart; MQTT's bytes are not.
    fn messages(&self, subprotocol: Option<&str>) -> Option<Messages> {
        let serialization = Serialization::of_subprotocol(subprotocol?)?;
        let kind = if serialization.is_binary() { MessageKind::Binary } else { MessageKind::Text };
        Some(Messages { kind, bytes_max: u32::try_from(self.wamp_bytes_max).unwrap_or(u32::MAX) })
    }
}

fn text(status: StatusCode, body: String) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(body));
    *answer.status_mut() = status;
    let form = header::HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, form);
    answer
}
