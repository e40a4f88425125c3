//! One line for every change: who, what, on what, and how it went. Never a secret.

use metrics::counter;
use tonic::{Response, Status};

use crate::caller::Caller;
use crate::error::{Refused, short};

/// Says what became of a change, and counts it. `reason`: what the caller said why.
pub fn changed<T>(
    caller: &Caller,
    what: &'static str,
    on: &str,
    reason: &str,
    done: Result<T, Refused>,
) -> Result<Response<T>, Status> {
    let result = match &done {
        Ok(_) => "done",
        Err(refused) => refused.reason,
    };
    say(caller, what, on, reason, result);
    done.map(Response::new).map_err(Status::from)
}

/// Says what became of a change that took its time, and counts it.
pub fn ended(caller: &Caller, what: &'static str, on: &str, result: &'static str) {
    say(caller, what, on, "", result);
}

/// A change that was not even tried.
pub fn denied(caller: &Caller, method: &str) {
    say(caller, "denied", method, "", "scope");
}

fn say(caller: &Caller, what: &'static str, on: &str, reason: &str, result: &'static str) {
    counter!("weir_admin_changes_total", "what" => what, "result" => result).increment(1);
    let (on, reason) = (short(on), short(reason));
    tracing::info!(
        target: "weir::audit",
        who = &*caller.who,
        from = %caller.from,
        what,
        on,
        reason,
        result,
        "administration"
    );
}
