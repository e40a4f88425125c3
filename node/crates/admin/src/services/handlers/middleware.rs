//! Middleware bindings: as they are asked for, and as they are told.

use weir_broker::binding::{Hook, OnFailure, Source};

use super::define;
use crate::error::Refused;
use crate::proto::{HandlerHook, HandlerMiddleware, HandlerOnFailure};

/// Where a binding is asked, and about what.
pub fn source(asked: &HandlerMiddleware) -> Result<Source, Refused> {
    let filters = asked.filters.iter().map(|text| define::filter("spec.middleware.filters", text));
    Ok(Source::Middleware {
        hooks: asked.hooks.iter().map(|asked| hook(*asked)).collect::<Result<_, _>>()?,
        filters: filters.collect::<Result<_, _>>()?,
        order: asked.order,
        on_failure: on_failure(asked.on_failure)?,
    })
}

fn hook(asked: i32) -> Result<Hook, Refused> {
    match HandlerHook::try_from(asked) {
        Ok(HandlerHook::Connect) => Ok(Hook::Connect),
        Ok(HandlerHook::Authorize) => Ok(Hook::Authorize),
        Ok(HandlerHook::Publish) => Ok(Hook::Publish),
        Ok(HandlerHook::Deliver) => Ok(Hook::Deliver),
        Ok(HandlerHook::Unspecified) | Err(_) => {
            Err(Refused::field("spec.middleware.hooks", "there is no such hook", "values of HandlerHook"))
        }
    }
}

fn on_failure(asked: i32) -> Result<OnFailure, Refused> {
    match HandlerOnFailure::try_from(asked) {
        Ok(HandlerOnFailure::Unspecified | HandlerOnFailure::Refuse) => Ok(OnFailure::Refuse),
        Ok(HandlerOnFailure::Pass) => Ok(OnFailure::Pass),
        Err(_) => {
            let (field, hint) = ("spec.middleware.on_failure", "a value of HandlerOnFailure");
            Err(Refused::field(field, "there is no such policy", hint))
        }
    }
}

/// The same, told.
pub fn told(hooks: &[Hook], filters: Vec<String>, order: i32, on_failure: OnFailure) -> HandlerMiddleware {
    let hook = |hook: &Hook| match hook {
        Hook::Connect => HandlerHook::Connect,
        Hook::Authorize => HandlerHook::Authorize,
        Hook::Publish => HandlerHook::Publish,
        Hook::Deliver => HandlerHook::Deliver,
    };
    let on_failure = match on_failure {
        OnFailure::Refuse => HandlerOnFailure::Refuse,
        OnFailure::Pass => HandlerOnFailure::Pass,
    };
    HandlerMiddleware {
        hooks: hooks.iter().map(|known| hook(known).into()).collect(),
        filters,
        order,
        on_failure: on_failure.into(),
    }
}
