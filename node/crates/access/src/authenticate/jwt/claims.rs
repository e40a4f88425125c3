//! What a verified token says about its holder.

use std::sync::Arc;

use serde_json::{Map, Value};
use weir_model::{Principal, UnixMillis};

use super::Refusal;
use crate::authenticate::accounts::book::is_realm;
use crate::config;

/// How many claims a token may have.
const CLAIMS_MAX: usize = 64;

/// The role of a token with a handler claim.
const HANDLER: &str = "handler";

/// Claims that are about the token and not about its holder (RFC 7519 section 4.1).
const OF_THE_TOKEN: [&str; 5] = ["exp", "nbf", "iat", "jti", "aud"];

/// Whom the token speaks of, and how long.
#[derive(Debug)]
pub(super) struct Holder {
    /// Without the client id, which is not the token's.
    pub(super) principal: Principal,
    /// The one that the token is for, if it says so.
    pub(super) realm: Option<Arc<str>>,
    /// From when on the token is refused: its `exp` and the leeway.
    pub(super) expires_at: Option<UnixMillis>,
}

/// Checks what the claims demand and reads who is meant.
pub(super) fn holder(
    claims: Map<String, Value>,
    config: &config::Jwt,
    now: UnixMillis,
) -> Result<Holder, Refusal> {
    if claims.len() > CLAIMS_MAX {
        return Err(Refusal::Claims);
    }
    let expires_at = in_time(&claims, config, now)?;
    if !names_one_of(claims.get("aud"), &config.audience) {
        return Err(Refusal::Audience);
    }
    if !names_one_of(claims.get("iss").filter(|issuer| issuer.is_string()), &config.issuer) {
        return Err(Refusal::Issuer);
    }
    let handler = handler(&claims, config);
    let mut roles = roles(claims.get(&config.roles_claim))?;
    if handler.is_some() && !roles.iter().any(|role| **role == *HANDLER) {
        roles.push(HANDLER.into());
    }
    let user_id = match claims.get(&config.user_claim) {
        Some(user) => Some(user_id(user)?),
        None => handler.and_then(handler_name),
    };
    let user_id = Some(user_id.ok_or(Refusal::User)?);
    let principal = Principal { user_id, roles, claims: facts(&claims), ..Principal::default() };
    let realm = realm(&claims, config)?;
    Ok(Holder { principal, realm, expires_at })
}

/// RFC 7519 sections 4.1.4 and 4.1.5.
fn in_time(
    claims: &Map<String, Value>,
    config: &config::Jwt,
    now: UnixMillis,
) -> Result<Option<UnixMillis>, Refusal> {
    let leeway = config.leeway_seconds.saturating_mul(1000);
    let begins = claims.get("nbf").map(time).transpose()?;
    if begins.is_some_and(|begins| begins.0 > now.0.saturating_add(leeway)) {
        return Err(Refusal::NotYet);
    }
    let ends = claims.get("exp").map(time).transpose()?;
    let ends = ends.map(|ends| UnixMillis(ends.0.saturating_add(leeway)));
    match ends {
        Some(ends) if ends <= now => Err(Refusal::Expired),
        None if config.expiry_required => Err(Refusal::NoExpiry),
        ends => Ok(ends),
    }
}

/// A NumericDate: seconds, possibly with a fraction (RFC 7519 section 2).
fn time(value: &Value) -> Result<UnixMillis, Refusal> {
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    // Beyond what fits it saturates, which is as good as never.
    seconds.map(|seconds| UnixMillis((seconds * 1000.0) as u64)).ok_or(Refusal::Time)
}

/// Whether the claim, a text or a list of them, has one of the wanted; nothing wanted is always there.
fn names_one_of(claim: Option<&Value>, wanted: &[String]) -> bool {
    let is_wanted = |value: &Value| value.as_str().is_some_and(|text| wanted.iter().any(|one| one == text));
    wanted.is_empty()
        || match claim {
            Some(Value::Array(all)) => all.iter().any(is_wanted),
            Some(one) => is_wanted(one),
            None => false,
        }
}

fn user_id(value: &Value) -> Result<Arc<str>, Refusal> {
    match value {
        Value::String(text) if is_name(text) => Ok(Arc::from(text.as_str())),
        Value::Number(number) if number.is_u64() || number.is_i64() => Ok(Arc::from(number.to_string())),
        _ => Err(Refusal::User),
    }
}

/// The realm that a token is for. One that says so in words that name none is for no realm at all.
fn realm(claims: &Map<String, Value>, config: &config::Jwt) -> Result<Option<Arc<str>>, Refusal> {
    match claims.get(&config.realm_claim).filter(|_| !config.realm_claim.is_empty()) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if is_realm(name) => Ok(Some(Arc::from(name.as_str()))),
        Some(_) => Err(Refusal::Realm),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

fn handler<'a>(claims: &'a Map<String, Value>, config: &config::Jwt) -> Option<&'a Map<String, Value>> {
    claims.get(&config.handler_claim).filter(|_| !config.handler_claim.is_empty())?.as_object()
}

/// A handler without a user of its own is known by its name, which no device's user id can be mistaken for.
fn handler_name(handler: &Map<String, Value>) -> Option<Arc<str>> {
    let name = handler.get("name")?.as_str().filter(|name| is_name(name))?;
    Some(Arc::from(format!("{HANDLER}:{name}")))
}

fn roles(claim: Option<&Value>) -> Result<Vec<Arc<str>>, Refusal> {
    match claim {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(text.split_whitespace().map(Arc::from).collect()),
        Some(Value::Array(all)) => {
            all.iter().map(|role| role.as_str().map(Arc::from).ok_or(Refusal::Roles)).collect()
        }
        Some(_) => Err(Refusal::Roles),
    }
}

/// The plain facts, for `{claim.NAME}` in policies.
fn facts(claims: &Map<String, Value>) -> Vec<(Arc<str>, Arc<str>)> {
    let plain = |value: &Value| match value {
        Value::String(text) => Some(Arc::from(text.as_str())),
        Value::Number(number) => Some(Arc::from(number.to_string())),
        Value::Bool(truth) => Some(Arc::from(truth.to_string())),
        _ => None,
    };
    let of_the_holder = claims.iter().filter(|(name, _)| !OF_THE_TOKEN.contains(&name.as_str()));
    of_the_holder.filter_map(|(name, value)| Some((Arc::from(name.as_str()), plain(value)?))).collect()
}
