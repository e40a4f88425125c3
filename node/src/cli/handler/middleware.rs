//! Middleware, as `weir handler bind` is told of it and as bindings are shown.

use clap::ValueEnum;
use serde_json::{Value, json};
use weir_admin::proto::{HandlerHook, HandlerMiddleware, HandlerOnFailure};

/// Where it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Hook {
    /// Before a connection is accepted.
    Connect,
    /// After the policies have allowed a publish to a topic, or a subscription.
    Authorize,
    /// Before a publish reaches anybody.
    Publish,
    /// Before a message is sent to one receiver.
    Deliver,
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnFailure {
    /// It is as if it had said no.
    Refuse,
    /// It is as if it were not there.
    Pass,
}

#[derive(Debug, clap::Args)]
pub struct Middleware {
    /// Ask the handler whether connections and messages go on, here; separated by commas.
    #[arg(long, value_name = "HOOKS", value_enum, value_delimiter = ',', conflicts_with_all = ["topic", "stream"])]
    middleware: Vec<Hook>,
    /// Of middleware: ask it only about these topics; as often as wanted.
    #[arg(long, value_name = "FILTER", requires = "middleware")]
    filter: Vec<String>,
    /// Of middleware: the lowest is asked first.
    #[arg(long, value_name = "NUMBER", requires = "middleware", allow_negative_numbers = true)]
    order: Option<i32>,
    /// Of middleware: what it means when it does not answer; left out, `refuse`.
    #[arg(long, value_enum, requires = "middleware")]
    on_failure: Option<OnFailure>,
}

impl Middleware {
    /// `None` = it is not said.
    pub fn source(&self) -> Option<HandlerMiddleware> {
        let hook = |hook: &Hook| match hook {
            Hook::Connect => HandlerHook::Connect,
            Hook::Authorize => HandlerHook::Authorize,
            Hook::Publish => HandlerHook::Publish,
            Hook::Deliver => HandlerHook::Deliver,
        };
        let on_failure = match self.on_failure {
            None | Some(OnFailure::Refuse) => HandlerOnFailure::Refuse,
            Some(OnFailure::Pass) => HandlerOnFailure::Pass,
        };
        (!self.middleware.is_empty()).then(|| HandlerMiddleware {
            hooks: self.middleware.iter().map(|known| hook(known).into()).collect(),
            filters: self.filter.clone(),
            order: self.order.unwrap_or(0),
            on_failure: on_failure.into(),
        })
    }
}

/// Where it is asked, for people.
pub fn from(middleware: &HandlerMiddleware) -> String {
    let filters: String = middleware.filters.iter().map(|filter| format!(" {filter}")).collect();
    format!("middleware {}{filters}", hooks(middleware).join(","))
}

pub fn told(middleware: &HandlerMiddleware) -> Value {
    let on_failure = match middleware.on_failure() {
        HandlerOnFailure::Pass => "pass",
        HandlerOnFailure::Unspecified | HandlerOnFailure::Refuse => "refuse",
    };
    json!({
        "hooks": hooks(middleware),
        "filters": middleware.filters,
        "order": middleware.order,
        "on_failure": on_failure,
    })
}

fn hooks(middleware: &HandlerMiddleware) -> Vec<&'static str> {
    let word = |hook| match hook {
        HandlerHook::Unspecified => "?",
        HandlerHook::Connect => "connect",
        HandlerHook::Authorize => "authorize",
        HandlerHook::Publish => "publish",
        HandlerHook::Deliver => "deliver",
    };
    middleware.hooks().map(word).collect()
}
