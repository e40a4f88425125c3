//! Bindings: as they are asked for, and as they are told.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use weir_broker::binding::definition::MIDDLEWARE_TIME;
use weir_broker::binding::{self, Binding, CallResult, Reduction, Source, Which};
use weir_broker::runtime::{Isolation, Limits};
use weir_model::Filter;

use super::super::streams::groups;
use super::{Shared, define, middleware, named, realm_name, told};
use crate::error::Refused;
use crate::page;
use crate::proto::handler_binding_spec::Source as Asked;
use crate::proto::{
    HandlerBinding, HandlerBindingSpec, HandlerLimits, HandlerStream, HandlerTopics,
    HandlersAlterBindingRequest, HandlersAlterBindingResponse, HandlersBindRequest, HandlersBindResponse,
    HandlersGetBindingRequest, HandlersGetBindingResponse, HandlersListBindingsRequest,
    HandlersListBindingsResponse,
};

/// Fields of a spec that can be altered.
const FIELDS: [&str; 14] = [
    "handler",
    "alias",
    "digest",
    "outputs",
    "concurrency",
    "queue_max",
    "attempts_max",
    "backoff_ms",
    "dead_letter",
    "limits",
    "config",
    "secrets",
    "shadow",
    "middleware",
];

pub async fn bind(shared: &Shared, request: HandlersBindRequest) -> Result<HandlersBindResponse, Refused> {
    let (realm, name) = named(&request.realm, &request.name)?;
    let spec = request.spec.unwrap_or_default();
    let source = source(spec.source.as_ref())?;
    let reduction = match &spec.source {
        Some(Asked::Stream(HandlerStream { changelog: true, .. })) => {
            Some(Reduction { is_changelog: true, ..Reduction::default() })
        }
        _ => None,
    };
    let mut binding = Binding { source, reduction, ..Binding::default() };
    change(&mut binding, &spec, &[])?;
    shared.broker.bind(&realm, &name, binding).await?;
    Ok(HandlersBindResponse { binding: Some(one(shared, &realm, &name).await?) })
}

pub async fn alter(
    shared: &Shared,
    request: HandlersAlterBindingRequest,
) -> Result<HandlersAlterBindingResponse, Refused> {
    let (realm, name) = named(&request.realm, &request.name)?;
    let mask = request.update_mask.unwrap_or_default().paths;
    if !mask.iter().all(|path| FIELDS.contains(&path.as_str())) {
        let hint = FIELDS.join(", ");
        return Err(Refused::field("update_mask", "a binding has no such field to alter", hint));
    }
    let spec = request.spec.unwrap_or_default();
    let mut tried = Binding::default();
    if let Some(asked @ Asked::Middleware(_)) = &spec.source {
        tried.source = source(Some(asked))?;
    }
    change(&mut tried, &spec, &mask)?;
    let altered = |binding: &mut Binding| drop(change(binding, &spec, &mask));
    shared.broker.alter_binding(&realm, &name, request.version, altered).await?;
    Ok(HandlersAlterBindingResponse { binding: Some(one(shared, &realm, &name).await?) })
}

pub fn list(
    shared: &Shared,
    request: &HandlersListBindingsRequest,
) -> Result<HandlersListBindingsResponse, Refused> {
    let max = page::size(&shared.config, request.page_size)?;
    let after: Option<String> = page::behind(&request.page_token)?;
    let realm = realm_name(&request.realm);
    let all = shared.broker.bindings_of(&realm);
    let is_meant = |name: &str| after.as_deref().is_none_or(|after| name > after);
    let mut meant = all.iter().filter(|(name, ..)| is_meant(name));
    let bindings: Vec<_> = meant
        .by_ref()
        .take(max)
        .map(|(name, binding, version)| binding_told(&realm, name, binding, *version))
        .collect();
    let last = bindings.last().filter(|_| meant.next().is_some());
    let next_page_token = last.map(|last| page::token(&last.name)).unwrap_or_default();
    Ok(HandlersListBindingsResponse { bindings, next_page_token })
}

pub async fn get(
    shared: &Shared,
    request: &HandlersGetBindingRequest,
) -> Result<HandlersGetBindingResponse, Refused> {
    let (realm, name) = named(&request.realm, &request.name)?;
    let info = shared.broker.binding_info(&realm, &name).await?;
    let counts = &info.journal.counts;
    let calls = CallResult::ALL.map(|result| (result.as_str().to_owned(), counts.get(result)));
    let stream = match &info.binding.source {
        Source::Stream { stream, .. } => stream,
        Source::Live { .. } | Source::Middleware { .. } => "",
    };
    Ok(HandlersGetBindingResponse {
        binding: Some(binding_told(&realm, &info.name, &info.binding, info.version)),
        calls: calls.into_iter().collect(),
        events: counts.events.load(Ordering::Relaxed),
        dropped: counts.dropped.load(Ordering::Relaxed),
        shadow_same: counts.shadow_same.load(Ordering::Relaxed),
        shadow_differs: counts.shadow_differs.load(Ordering::Relaxed),
        group: info.groups.first().map(|group| groups::state(shared, &realm, stream, group)),
        reducing: info.groups.get(1).map(|group| groups::state(shared, &realm, "", group)),
    })
}

async fn one(shared: &Shared, realm: &std::sync::Arc<str>, name: &str) -> Result<HandlerBinding, Refused> {
    let info = shared.broker.binding_info(realm, name).await?;
    Ok(binding_told(realm, &info.name, &info.binding, info.version))
}

fn source(asked: Option<&Asked>) -> Result<Source, Refused> {
    match asked {
        Some(Asked::Topics(HandlerTopics { filters: texts })) => {
            Ok(Source::Live { filters: filters("spec.topics.filters", texts)? })
        }
        Some(Asked::Stream(HandlerStream { stream, start, .. })) => {
            define::name("spec.stream.stream", stream)?;
            let start = define::start("spec.stream.start", start.as_ref())?;
            Ok(Source::Stream { stream: stream.as_str().into(), start })
        }
        Some(Asked::Middleware(asked)) => middleware::source(asked),
        None => Err(Refused::field("spec.source", "it is not said", "topics, a stream or middleware")),
    }
}

fn filters(field: &'static str, texts: &[String]) -> Result<Vec<Filter>, Refused> {
    texts.iter().map(|text| define::filter(field, text)).collect()
}

/// Takes over what the mask names; all of it if it names nothing.
fn change(binding: &mut Binding, spec: &HandlerBindingSpec, mask: &[String]) -> Result<(), Refused> {
    let wants = |field: &str| mask.is_empty() || mask.iter().any(|path| path == field);
    let texts = |map: &std::collections::HashMap<String, String>| -> BTreeMap<Box<str>, Box<str>> {
        map.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect()
    };
    if wants("handler") {
        define::name("spec.handler", &spec.handler)?;
        binding.handler = spec.handler.as_str().into();
    }
    if wants("alias") || wants("digest") {
        binding.which = which(&spec.alias, &spec.digest);
    }
    if wants("outputs") {
        binding.outputs = filters("spec.outputs", &spec.outputs)?;
    }
    if wants("concurrency") {
        binding.concurrency = or(spec.concurrency, Binding::default().concurrency);
    }
    if wants("queue_max") {
        binding.queue_max = or(spec.queue_max, Binding::default().queue_max);
    }
    if wants("attempts_max") {
        binding.attempts_max = spec.attempts_max.unwrap_or(Binding::default().attempts_max);
    }
    if wants("backoff_ms") {
        let asked = spec.backoff_ms.clone();
        binding.backoff_ms = if asked.is_empty() { Binding::default().backoff_ms } else { asked };
    }
    if wants("dead_letter") {
        binding.dead_letter = Some(spec.dead_letter.as_str()).filter(|name| !name.is_empty()).map(Into::into);
    }
    if wants("middleware")
        && binding.source.is_middleware()
        && let Some(Asked::Middleware(asked)) = &spec.source
    {
        binding.source = middleware::source(asked)?;
    }
    if wants("limits") {
        binding.limits = limits(spec.limits.as_ref());
        if binding.source.is_middleware() && spec.limits.as_ref().is_none_or(|limits| limits.time_ms == 0) {
            binding.limits.time = MIDDLEWARE_TIME;
        }
    }
    if wants("config") {
        binding.config = texts(&spec.config);
    }
    if wants("secrets") {
        binding.secrets = texts(&spec.secrets);
    }
    if wants("shadow") {
        binding.shadow = Some(&spec.shadow).filter(|name| !name.is_empty()).map(|name| which(name, ""));
    }
    Ok(())
}

/// A version by digest, or an alias.
pub fn which(alias: &str, digest: &str) -> Which {
    match digest {
        "" => Which::Alias(told::alias_name(alias).into()),
        digest => Which::Digest(digest.to_ascii_lowercase().into()),
    }
}

fn or<T: Default + PartialEq>(asked: T, otherwise: T) -> T {
    if asked == T::default() { otherwise } else { asked }
}

/// The limits that are asked for; 0 = as by default.
pub fn limits(asked: Option<&HandlerLimits>) -> Limits {
    let (asked, by_default) = (asked.cloned().unwrap_or_default(), Limits::default());
    let millis = |asked: u64, otherwise| if asked == 0 { otherwise } else { Duration::from_millis(asked) };
    let bytes = |asked: u64, otherwise| or(usize::try_from(asked).unwrap_or(usize::MAX), otherwise);
    Limits {
        memory_bytes: bytes(asked.memory_bytes, by_default.memory_bytes),
        time: millis(asked.time_ms, by_default.time),
        wall_time: millis(asked.wall_time_ms, by_default.wall_time),
        outputs_max: or(asked.outputs_max as usize, by_default.outputs_max),
        output_bytes_max: bytes(asked.output_bytes_max, by_default.output_bytes_max),
        log_lines_max: or(asked.log_lines_max as usize, by_default.log_lines_max),
        kv_ops_max: or(asked.kv_ops_max, by_default.kv_ops_max),
        kv_value_bytes_max: bytes(asked.kv_value_bytes_max, by_default.kv_value_bytes_max),
        isolation: if asked.isolated { Isolation::PerCall } else { Isolation::Reused },
        ..by_default
    }
}

fn limits_told(limits: &Limits) -> HandlerLimits {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    HandlerLimits {
        memory_bytes: limits.memory_bytes as u64,
        time_ms: millis(limits.time),
        wall_time_ms: millis(limits.wall_time),
        outputs_max: limits.outputs_max as u32,
        output_bytes_max: limits.output_bytes_max as u64,
        log_lines_max: limits.log_lines_max as u32,
        kv_ops_max: limits.kv_ops_max,
        kv_value_bytes_max: limits.kv_value_bytes_max as u64,
        isolated: limits.isolation == Isolation::PerCall,
    }
}

fn binding_told(realm: &str, name: &str, binding: &binding::Binding, version: u64) -> HandlerBinding {
    let texts = |map: &BTreeMap<Box<str>, Box<str>>| {
        map.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    let strings = |filters: &[Filter]| filters.iter().map(|filter| filter.as_str().to_owned()).collect();
    let (alias, digest) = match &binding.which {
        Which::Alias(alias) => (alias.to_string(), String::new()),
        Which::Digest(digest) => (String::new(), digest.to_string()),
    };
    let source = match &binding.source {
        Source::Live { filters } => Asked::Topics(HandlerTopics { filters: strings(filters) }),
        Source::Stream { stream, .. } => {
            let changelog = binding.reduction.as_ref().is_some_and(|reduction| reduction.is_changelog);
            Asked::Stream(HandlerStream { stream: stream.to_string(), start: None, changelog })
        }
        Source::Middleware { hooks, filters, order, on_failure } => {
            Asked::Middleware(middleware::told(hooks, strings(filters), *order, *on_failure))
        }
    };
    let shadow = match &binding.shadow {
        Some(Which::Alias(name) | Which::Digest(name)) => name.to_string(),
        None => String::new(),
    };
    let spec = HandlerBindingSpec {
        handler: binding.handler.to_string(),
        alias,
        digest,
        source: Some(source),
        outputs: strings(&binding.outputs),
        concurrency: binding.concurrency,
        queue_max: binding.queue_max,
        attempts_max: Some(binding.attempts_max),
        backoff_ms: binding.backoff_ms.clone(),
        dead_letter: binding.dead_letter.as_deref().unwrap_or_default().to_owned(),
        limits: Some(limits_told(&binding.limits)),
        config: texts(&binding.config),
        secrets: texts(&binding.secrets),
        shadow,
    };
    HandlerBinding {
        realm: realm.to_owned(),
        name: name.to_owned(),
        version,
        spec: Some(spec),
        paused: binding.is_paused,
        created_unix_ms: binding.created_at.0,
    }
}
