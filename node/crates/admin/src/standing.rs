//! Whether who has a call under way may still go on with it: what let them in may have ended meanwhile.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tonic::Code;

use crate::caller::Caller;
use crate::certificate::Shown;
use crate::error::Refused;
use crate::machine::Machine;
use crate::scope::Scopes;
use crate::tokens::{NotTaken, Token, Tokens};

/// How often is looked for what nobody tells of: the node's clock, certificates, and whether the node is still open.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What somebody was let in by.
#[derive(Debug, Clone)]
pub enum Proof {
    Token(Token),
    /// A certificate, to the end of its validity.
    Certificate {
        shown: Arc<Shown>,
        until: SystemTime,
    },
    /// Nothing: whoever is on this machine, as long as the node asks nobody.
    Loopback,
}

/// Returns when what let the caller in does not any more, and why: at once when its token is revoked or loses a scope,
/// within a second of the end of what ends by the clock, and of the reload that a certificate does not stand.
pub async fn ends(tokens: &Arc<Tokens>, machine: &Arc<dyn Machine>, caller: &Caller) -> Refused {
    let mut changes = tokens.changes();
    loop {
        changes.mark_unchanged();
        if let Err(refused) = stands(tokens, &**machine, caller, SystemTime::now()) {
            return refused;
        }
        // Whoever can change the tokens is there as long as the node.
        let _ = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
    }
}

fn stands(tokens: &Tokens, machine: &dyn Machine, caller: &Caller, now: SystemTime) -> Result<(), Refused> {
    let over = |reason, message: &str| Err(Refused::new(Code::Unauthenticated, reason, message));
    match &caller.proof {
        Proof::Token(token) => match tokens.stands(token) {
            Err(NotTaken::Expired) => over("expired", "the token has expired"),
            Err(NotTaken::Unknown) => over("revoked", "the token was revoked"),
            Ok(token) => match Scopes::parse(&token.scopes) {
                Ok(scopes) if scopes.cover(&caller.scopes) => Ok(()),
                _ => {
                    let message = "a scope was taken from the token";
                    Err(Refused::new(Code::PermissionDenied, "scope", message).hint("call again"))
                }
            },
        },
        Proof::Certificate { until, .. } if *until <= now => over("expired", "the certificate has expired"),
        Proof::Certificate { shown, .. } if !shown.is_believed() => Err(Refused::not_believed()),
        Proof::Loopback if !machine.is_open() => {
            over("no_credentials", "this node asks by now who administers it")
        }
        Proof::Certificate { .. } | Proof::Loopback => Ok(()),
    }
}
