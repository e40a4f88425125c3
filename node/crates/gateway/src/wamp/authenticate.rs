//! Who a client is: anonymous, by a ticket (a password or a token), or by answering a challenge.

use metrics::counter;
use weir_broker::access::{Credentials, Identity, Step};
use weir_model::Reason;
use weir_wire::wamp::message::{Challenge, ChallengeExtra, Hello};
use weir_wire::wamp::{Id, Message, decode};

use super::handshake::{Opening, Refused, framed};
use super::introduce::{next_message, write};
use super::reason::{self, PROTOCOL_VIOLATION};
use crate::mqtt::Shared;

/// The methods there are, each by the name that the client lists and the one it is welcomed with.
const METHODS: [&str; 4] = ["anonymous", "ticket", "wampcra", "cryptosign"];

/// Finds out who a client is, by the first of its methods that works here.
pub async fn prove(
    shared: &Shared,
    mut opening: Opening<'_>,
    hello: &Hello<'_>,
    session: Id,
    mut credentials: Credentials,
) -> Result<(Identity, &'static str), Refused> {
    let asked = hello.details.authmethods.as_deref().unwrap_or_default();
    let authid = hello.details.authid.as_deref();
    let wanted = asked.iter().filter_map(|name| METHODS.iter().find(|known| *name == **known));
    let wanted: Vec<&'static str> = match asked.is_empty() {
        true => vec!["anonymous"],
        false => wanted.copied().collect(),
    };
    if wanted.is_empty() {
        return Err(Refused::new("wamp.error.no_auth_method", "none of these methods is known here"));
    }
    for method in wanted {
        match method {
            "anonymous" => match shared.broker.access().authenticate(&credentials).await {
                Ok(identity) => return Ok((identity, method)),
                Err(Reason::BadCredentials) if asked.len() > 1 => {}
                Err(Reason::BadCredentials) => {
                    return Err(Refused::new("wamp.error.no_auth_method", "nobody is let in unknown"));
                }
                Err(reason) => return Err(refused(shared, &credentials, reason)),
            },
            "ticket" => {
                credentials.username = authid.map(str::to_owned);
                let ticket = challenge(shared, &mut opening, method, ChallengeExtra::default()).await?;
                credentials.password = Some(ticket.into_bytes());
                let identity = shared.broker.access().authenticate(&credentials).await;
                return match identity {
                    Ok(identity) => Ok((identity, method)),
                    Err(reason) => Err(refused(shared, &credentials, reason)),
                };
            }
            _ => {
                credentials.username = authid.map(str::to_owned);
                let pubkey = hello.details.authextra.and_then(|extra| extra.get("pubkey")?.text());
                let first = match method {
                    "wampcra" => session.to_string(),
                    _ => pubkey.unwrap_or_default().into_owned(),
                };
                let exchange = shared.broker.access().exchange(method, &credentials);
                let Some(mut exchange) = exchange else { continue };
                let asked = exchange.step(first.as_bytes()).await;
                let asked = match asked {
                    Ok(Step::Continue(asked)) => asked,
                    Ok(Step::Done { .. }) => return Err(Refused::of(Reason::Internal)),
                    Err(reason) => return Err(refused(shared, &credentials, reason)),
                };
                let extra: Extra =
                    serde_json::from_slice(&asked).map_err(|_| Refused::of(Reason::Internal))?;
                let answer = challenge(shared, &mut opening, method, extra.said()).await?;
                return match exchange.step(answer.as_bytes()).await {
                    Ok(Step::Done { identity, .. }) => {
                        let identity = shared.broker.access().admit(identity);
                        identity.map(|identity| (identity, method)).map_err(Refused::of)
                    }
                    Ok(Step::Continue(_)) => Err(Refused::of(Reason::Internal)),
                    Err(reason) => Err(refused(shared, &credentials, reason)),
                };
            }
        }
    }
    Err(Refused::new("wamp.error.no_auth_method", "none of these methods lets anybody in here"))
}

/// What an exchange asks with, as `weir_access` says it.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Extra {
    challenge: String,
    salt: Option<String>,
    keylen: Option<u64>,
    iterations: Option<u64>,
}

impl Extra {
    fn said(&self) -> ChallengeExtra<'_> {
        ChallengeExtra {
            challenge: Some(self.challenge.as_str().into()),
            salt: self.salt.as_deref().map(Into::into),
            keylen: self.keylen,
            iterations: self.iterations,
            ..ChallengeExtra::default()
        }
    }
}

/// Sends CHALLENGE and hears AUTHENTICATE.
async fn challenge(
    shared: &Shared,
    opening: &mut Opening<'_>,
    method: &str,
    extra: ChallengeExtra<'_>,
) -> Result<String, Refused> {
    let serialization = opening.serialization;
    let mut out = Vec::new();
    framed(&mut out, &Message::Challenge(Challenge { method: method.into(), extra }), serialization);
    let lost = |what: &'static str| Refused::new(PROTOCOL_VIOLATION, what);
    write(opening.stream, &out).await.map_err(lost)?;
    let limits = shared.config.wamp.limits();
    let bytes_max = limits.message_bytes_max;
    let answer = next_message(opening.stream, opening.rest, serialization, bytes_max).await.map_err(lost)?;
    match decode(&answer, serialization.format, &limits) {
        Ok(Message::Authenticate(authenticate)) => Ok(authenticate.signature.0.into_owned()),
        Ok(Message::Abort(_)) => Err(Refused::new("wamp.close.goodbye_and_out", "")),
        Ok(other) => {
            Err(Refused::new(PROTOCOL_VIOLATION, format!("{} instead of AUTHENTICATE", other.message_type())))
        }
        Err(error) => Err(Refused::new(PROTOCOL_VIOLATION, error.to_string())),
    }
}

/// Notes a refusal, for the limit of guesses and for the operator.
fn refused(shared: &Shared, credentials: &Credentials, reason: Reason) -> Refused {
    if let (Reason::BadCredentials, Some(address)) = (reason, credentials.address) {
        shared.failures.failed(address);
    }
    counter!("weir_gateway_wamp_sessions_refused_total", "reason" => reason.as_str()).increment(1);
    crate::mqtt::authenticate::note_refusal(credentials, reason);
    Refused::new(reason::uri(reason, false), reason.to_string())
}
