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

/// What is said when no method of the client's can be used.
const NO_AUTH_METHOD: &str = "wamp.error.no_auth_method";

/// The methods there are, each by the name that the client lists and the one it is welcomed with.
const METHODS: [&str; 4] = ["anonymous", "ticket", "wampcra", "cryptosign"];

/// A client that is to say who it is.
struct Asking<'a, 'o> {
    shared: &'a Shared,
    opening: Opening<'o>,
    hello: &'a Hello<'a>,
    session: Id,
    /// What is known of it whatever it says.
    credentials: Credentials,
}

/// Finds out who a client is, by the first of its methods that works here.
pub async fn prove(
    shared: &Shared,
    opening: Opening<'_>,
    hello: &Hello<'_>,
    session: Id,
    credentials: Credentials,
) -> Result<(Identity, &'static str), Refused> {
    let asked = hello.details.authmethods.as_deref().unwrap_or_default();
    let wanted = asked.iter().filter_map(|name| METHODS.iter().find(|known| *name == **known));
    let wanted: Vec<&'static str> = match asked.is_empty() {
        true => vec!["anonymous"],
        // Each once, in the client's order.
        false => wanted.take(METHODS.len()).copied().collect(),
    };
    if wanted.is_empty() {
        return Err(Refused::new(NO_AUTH_METHOD, "none of these methods is known here"));
    }
    let mut asking = Asking { shared, opening, hello, session, credentials };
    for method in wanted {
        let found = match method {
            "anonymous" => asking.anonymous().await?,
            "ticket" => Some(asking.ticket().await?),
            _ => asking.exchange(method).await?,
        };
        if let Some(identity) = found {
            return Ok((identity, method));
        }
    }
    let what =
        if asked.is_empty() { "nobody is let in unknown" } else { "none of these methods lets anybody in" };
    Err(Refused::new(NO_AUTH_METHOD, what))
}

impl Asking<'_, '_> {
    /// `None` = nobody is let in so.
    async fn anonymous(&self) -> Result<Option<Identity>, Refused> {
        match self.shared.broker.access().authenticate(&self.credentials).await {
            Ok(identity) => Ok(Some(identity)),
            Err(Reason::BadCredentials) => Ok(None),
            Err(reason) => Err(refused(self.shared, &self.credentials, reason)),
        }
    }

    /// The password of an account, or a token.
    async fn ticket(&mut self) -> Result<Identity, Refused> {
        let mut credentials = self.named();
        let ticket = self.challenge("ticket", ChallengeExtra::default()).await?;
        credentials.password = Some(ticket.into_bytes());
        let identity = self.shared.broker.access().authenticate(&credentials).await;
        identity.map_err(|reason| refused(self.shared, &credentials, reason))
    }

    /// A challenge and its signature. `None` = nobody here has keys for this method.
    async fn exchange(&mut self, method: &'static str) -> Result<Option<Identity>, Refused> {
        let (shared, credentials) = (self.shared, self.named());
        let access = shared.broker.access();
        let is_refused = |reason| refused(shared, &credentials, reason);
        let Some(mut exchange) = access.exchange(method, &credentials) else { return Ok(None) };
        let first = match method {
            "cryptosign" => self.public_key()?,
            _ => self.session.to_string(),
        };
        let extra: Extra = match exchange.step(first.as_bytes()).await.map_err(is_refused)? {
            Step::Continue(asked) => {
                serde_json::from_slice(&asked).map_err(|_| Refused::of(Reason::Internal))?
            }
            Step::Done { .. } => return Err(Refused::of(Reason::Internal)),
        };
        let answer = self.challenge(method, extra.said()).await?;
        match exchange.step(answer.as_bytes()).await.map_err(is_refused)? {
            Step::Done { identity, .. } => access.admit(identity).map(Some).map_err(is_refused),
            Step::Continue(_) => Err(Refused::of(Reason::Internal)),
        }
    }

    fn named(&self) -> Credentials {
        let username = self.hello.details.authid.as_deref().map(str::to_owned);
        Credentials { username, ..self.credentials.clone() }
    }

    /// The key that the client will sign with, which HELLO says for cryptosign.
    fn public_key(&self) -> Result<String, Refused> {
        let said = |name| self.hello.details.authextra.and_then(|extra| extra.get(name)?.text());
        if said("channel_binding").is_some() {
            return Err(Refused::new(NO_AUTH_METHOD, "channel binding is not offered"));
        }
        let key = said("pubkey").ok_or_else(|| {
            Refused::new("wamp.error.authentication_failed", "`authextra.pubkey` is missing")
        })?;
        Ok(key.into_owned())
    }

    /// Sends CHALLENGE and hears AUTHENTICATE.
    async fn challenge(&mut self, method: &str, extra: ChallengeExtra<'_>) -> Result<String, Refused> {
        let Asking { shared, opening, .. } = self;
        let serialization = opening.serialization;
        let mut out = Vec::new();
        framed(&mut out, &Message::Challenge(Challenge { method: method.into(), extra }), serialization);
        let lost = |what: &'static str| Refused::new(PROTOCOL_VIOLATION, what);
        write(opening.stream, &out).await.map_err(lost)?;
        let limits = shared.config.wamp.limits();
        let bytes_max = limits.message_bytes_max;
        let answer =
            next_message(opening.stream, opening.rest, serialization, bytes_max).await.map_err(lost)?;
        match decode(&answer, serialization.format, &limits) {
            Ok(Message::Authenticate(authenticate)) => Ok(authenticate.signature.0.into_owned()),
            Ok(Message::Abort(_)) => Err(Refused::new("wamp.close.goodbye_and_out", "")),
            Ok(other) => {
                let what = format!("{} instead of AUTHENTICATE", other.message_type());
                Err(Refused::new(PROTOCOL_VIOLATION, what))
            }
            Err(error) => Err(Refused::new(PROTOCOL_VIOLATION, error.to_string())),
        }
    }
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

/// Notes a refusal, for the limit of guesses and for the operator.
fn refused(shared: &Shared, credentials: &Credentials, reason: Reason) -> Refused {
    if let (Reason::BadCredentials, Some(address)) = (reason, credentials.address) {
        shared.failures.failed(address);
    }
    counter!("weir_gateway_wamp_sessions_refused_total", "reason" => reason.as_str()).increment(1);
    crate::mqtt::authenticate::note_refusal(credentials, reason);
    Refused::new(reason::uri(reason, false), reason.to_string())
}
