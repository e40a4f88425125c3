//! The guard before all services: whether there is a node yet, who calls, whether they may, and how long it may take.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use metrics::counter;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::service::Routes;
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;

use crate::audit;
use crate::caller::Caller;
use crate::config::Config;
use crate::error::Refused;
use crate::machine::Machine;
use crate::scope::{Needed, Scopes, label};
use crate::server::Peer;
use crate::standing::Proof;
use crate::tokens::{NotTaken, Tokens};

/// The guard answers a little before tonic does, which would call it cancelled.
const AHEAD: Duration = Duration::from_millis(2);

/// Who is let through, and to whom.
pub struct Gate {
    config: Config,
    pub tokens: Arc<Tokens>,
    node: OnceLock<Node>,
}

/// Who answers.
struct Node {
    machine: Arc<dyn Machine>,
    /// All services but health.
    routes: Routes,
}

#[derive(Clone)]
pub struct GuardLayer(pub Arc<Gate>);

#[derive(Clone)]
pub struct Guard<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, gate: self.0.clone() }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Answer {
        let service = label(request.uri().path());
        let (wait, routes) = match self.gate.let_through(&mut request) {
            Ok(through) => through,
            Err(refused) => {
                count(service, refused.code);
                let response = Status::from(refused).into_http();
                return Box::pin(async { Ok(response) });
            }
        };
        let answers: Answer = match routes {
            Some(mut routes) => Box::pin(routes.call(request)),
            None => Box::pin(self.inner.call(request)),
        };
        Box::pin(async move {
            let response = within(wait, answers).await;
            if let Ok(response) = &response {
                let status = Status::from_header_map(response.headers());
                count(service, status.map_or(Code::Ok, |status| status.code()));
            }
            response
        })
    }
}

/// What answers, unless that takes too long; then it is stopped.
async fn within(
    wait: Option<Duration>,
    answers: impl Future<Output = Result<Response<Body>, Infallible>>,
) -> Result<Response<Body>, Infallible> {
    let Some(wait) = wait else { return answers.await };
    tokio::time::timeout(wait, answers).await.unwrap_or_else(|_| {
        let late = "the time the caller gave is over; nothing of it goes on";
        Ok(Status::deadline_exceeded(late).into_http())
    })
}

impl Gate {
    /// Closed to all but health.
    #[must_use]
    pub fn new(config: Config, tokens: Arc<Tokens>) -> Self {
        Self { config, tokens, node: OnceLock::new() }
    }

    /// From now on these answer. A second time does nothing.
    pub fn opens(&self, machine: Arc<dyn Machine>, routes: Routes) {
        let _ = self.node.set(Node { machine, routes });
    }

    /// Notes who calls; how long the answer may take, and who gives it: `None` = health.
    fn let_through(
        &self,
        request: &mut Request<Body>,
    ) -> Result<(Option<Duration>, Option<Routes>), Refused> {
        let wait = timeout(request.headers())?;
        let default = Duration::from_secs(self.config.deadline_seconds);
        let within = wait.or((!default.is_zero()).then_some(default));
        let within = within.map(|time| time.saturating_sub(AHEAD));
        let needed = Needed::of(request.uri().path());
        if needed == Needed::Nothing {
            return Ok((within, None));
        }
        let starting =
            || Refused::new(Code::Unavailable, "not_here", "the node is starting").hint("try again");
        let node = self.node.get().ok_or_else(starting)?;
        let peer = request.extensions().get::<Peer>().cloned().ok_or_else(Refused::no_credentials)?;
        let (who, scopes, proof) =
            self.know(request.headers(), &peer, &*node.machine).inspect_err(|refused| {
                counter!("weir_admin_refused_total", "reason" => refused.reason).increment(1);
            })?;
        let deadline = wait.map(|wait| Instant::now() + wait);
        let caller = Caller { who, from: peer.address, scopes: Arc::new(scopes), proof, deadline };
        if let Needed::Scope(scope) = &needed
            && !caller.scopes.allow(scope)
        {
            counter!("weir_admin_refused_total", "reason" => "scope").increment(1);
            if needed.is_change() {
                audit::denied(&caller, request.uri().path());
            }
            let message = format!("this takes the scope {scope}");
            let hint = format!("the caller has {}", caller.scopes);
            return Err(Refused::new(Code::PermissionDenied, "scope", message).hint(hint));
        }
        request.extensions_mut().insert(caller);
        Ok((within, Some(node.routes.clone())))
    }

    /// Who it is. What is shown has to be good; who shows nothing is let in where nobody has to.
    fn know(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        machine: &dyn Machine,
    ) -> Result<(Arc<str>, Scopes, Proof), Refused> {
        if let Some(value) = headers.get("authorization") {
            let text = value.to_str().ok().and_then(bearer);
            let taken = text.map_or(Err(NotTaken::Unknown), |text| self.tokens.check(text));
            let token = taken.map_err(|problem| {
                let reason = match problem {
                    NotTaken::Unknown => "bad_token",
                    NotTaken::Expired => "expired",
                };
                Refused::new(Code::Unauthenticated, reason, problem.to_string())
            })?;
            let scopes = Scopes::parse(&token.scopes).map_err(|_| Refused::no_credentials())?;
            let who = Arc::from(format!("token {} ({})", token.id, token.name));
            return Ok((who, scopes, Proof::Token(token)));
        }
        if let Some(shown) = &peer.certificate
            && let Some((name, until)) = shown.subject()
            && let Some(scopes) = self.config.certificate_scopes.get(&name)
        {
            if !shown.is_believed() {
                return Err(Refused::not_believed());
            }
            let scopes = Scopes::parse(scopes).map_err(|_| Refused::no_credentials())?;
            let proof = Proof::Certificate { shown: shown.clone(), until };
            return Ok((Arc::from(format!("certificate {name}")), scopes, proof));
        }
        if peer.local && peer.address.ip().is_loopback() && machine.is_open() {
            return Ok((Arc::from("loopback"), Scopes::all(), Proof::Loopback));
        }
        Err(Refused::no_credentials())
    }
}

/// The token of `authorization: Bearer <token>`.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// How long the caller waits (`grpc-timeout`: up to 8 digits and a unit).
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Refused> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let parse = || {
        let (digits, unit) = value.to_str().ok()?.split_at_checked(value.len().checked_sub(1)?)?;
        let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = is_number.then(|| digits.parse().ok())??;
        Some(match unit {
            "H" => Duration::from_secs(number * 3600),
            "M" => Duration::from_secs(number * 60),
            "S" => Duration::from_secs(number),
            "m" => Duration::from_millis(number),
            "u" => Duration::from_micros(number),
            "n" => Duration::from_nanos(number),
            _ => return None,
        })
    };
    let bad = || Refused::new(Code::InvalidArgument, "bad_field", "grpc-timeout is not a number and a unit");
    parse().map(Some).ok_or_else(bad)
}

fn count(service: &'static str, code: Code) {
    counter!("weir_admin_requests_total", "service" => service, "code" => word(code)).increment(1);
}

/// A code as a label.
fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::Unauthenticated => "unauthenticated",
        Code::Unknown | Code::DataLoss => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(text: &str) -> Result<Option<Duration>, Refused> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().unwrap());
        timeout(&headers)
    }

    #[test]
    fn a_deadline_is_read_in_all_its_units() {
        assert_eq!(waits("2H").unwrap(), Some(Duration::from_secs(7200)));
        assert_eq!(waits("99999999S").unwrap(), Some(Duration::from_secs(99_999_999)));
        assert_eq!(waits("250m").unwrap(), Some(Duration::from_millis(250)));
        assert_eq!(timeout(&HeaderMap::new()).unwrap(), None);
        for text in ["", "S", "12", "1s", "123456789S", "-1S", "+1S"] {
            assert!(waits(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn what_takes_longer_than_its_caller_waits_is_stopped_and_told_so() {
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let work = async move {
            let _alive = alive;
            std::future::pending().await
        };
        let Ok(answer) = within(Some(Duration::from_millis(1)), work).await;
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(ended.await.is_err(), "it goes on");
    }

    #[test]
    fn a_bearer_token_is_found_in_any_case_of_the_word() {
        assert_eq!(bearer("Bearer weir_a_b"), Some("weir_a_b"));
        assert_eq!(bearer("bearer weir_a_b"), Some("weir_a_b"));
        assert_eq!(bearer("Basic weir_a_b"), None);
        assert_eq!(bearer("weir_a_b"), None);
    }
}
