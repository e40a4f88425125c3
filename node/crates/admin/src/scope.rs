//! Scopes: what a token or a certificate lets do, and what a method asks.

use std::collections::BTreeSet;
use std::fmt;

/// The package of the services; what is not below it is gRPC's own.
const PACKAGE: &str = "/weir.admin.v1.";

/// Services that are told apart by `<service>:read` and `<service>:write`.
const SERVICES: [&str; 7] = ["sessions", "topics", "cluster", "accounts", "config", "streams", "handlers"];

/// How the name of a method begins that changes nothing. Every other method asks for `write`.
const READS: [&str; 9] = ["List", "Get", "Show", "Explain", "Validate", "Diff", "Info", "Read", "Consume"];

/// Everything.
const ADMIN: &str = "admin";
const WATCH: &str = "watch";

/// A set of scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes(BTreeSet<String>);

/// A text that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no scope; there are `admin`, `watch`, and `read`, `write` or `*` of sessions, topics, cluster, accounts, \
     config, streams and handlers, as in `sessions:read`",
    .0.escape_debug()
)]
pub struct NotAScope(String);

/// What a method asks of its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needed {
    /// Nothing: health.
    Nothing,
    /// To be anybody: reflection, and methods there are not.
    Anybody,
    /// This scope.
    Scope(String),
}

impl Scopes {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Self(BTreeSet::from([ADMIN.to_owned()]))
    }

    /// Reads them.
    ///
    /// # Errors
    /// The first that is none.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, NotAScope> {
        let check = |text: &S| match is_scope(text.as_ref()) {
            true => Ok(text.as_ref().to_owned()),
            false => Err(NotAScope(text.as_ref().chars().take(64).collect())),
        };
        texts.iter().map(check).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a scope is among them, or one that holds it.
    #[must_use]
    pub fn allow(&self, scope: &str) -> bool {
        let service = scope.split_once(':').map(|(service, _)| format!("{service}:*"));
        self.0.contains(ADMIN) || self.0.contains(scope) || service.is_some_and(|all| self.0.contains(&all))
    }

    /// Whether all of `others` are among them: nobody gives what they do not have.
    #[must_use]
    pub fn cover(&self, others: &Scopes) -> bool {
        let holds = |scope: &String| match scope.strip_suffix(":*") {
            Some(service) => ["read", "write"].iter().all(|verb| self.allow(&format!("{service}:{verb}"))),
            None => self.allow(scope),
        };
        others.0.iter().all(holds)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of the alphabet.
    #[must_use]
    pub fn to_vec(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_vec().join(","))
    }
}

fn is_scope(text: &str) -> bool {
    if matches!(text, ADMIN | WATCH) {
        return true;
    }
    let parts = text.split_once(':');
    parts.is_some_and(|(service, verb)| SERVICES.contains(&service) && matches!(verb, "read" | "write" | "*"))
}

/// The service and the method of a path, `/weir.admin.v1.Sessions/List`.
fn parts(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix(PACKAGE)?.split_once('/')
}

impl Needed {
    /// What the method of this path asks.
    #[must_use]
    pub fn of(path: &str) -> Self {
        if path.starts_with("/grpc.health.v1.Health/") {
            return Self::Nothing;
        }
        let Some((service, method)) = parts(path) else { return Self::Anybody };
        let service = service.to_ascii_lowercase();
        if service == WATCH {
            return Self::Scope(WATCH.to_owned());
        }
        if !SERVICES.contains(&service.as_str()) {
            return Self::Anybody;
        }
        let reads = READS.iter().any(|verb| method.starts_with(verb));
        Self::Scope(format!("{service}:{}", if reads { "read" } else { "write" }))
    }

    /// Whether it is a change.
    #[must_use]
    pub fn is_change(&self) -> bool {
        matches!(self, Self::Scope(scope) if scope.ends_with(":write"))
    }
}

/// The service of a path, as a label of metrics: of a small fixed set.
#[must_use]
pub fn label(path: &str) -> &'static str {
    let service = parts(path).map(|(service, _)| service.to_ascii_lowercase()).unwrap_or_default();
    let known = SERVICES.into_iter().chain([WATCH]).find(|known| *known == service);
    known.unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(texts: &[&str]) -> Scopes {
        Scopes::parse(texts).unwrap()
    }

    #[test]
    fn a_scope_allows_itself_and_a_star_its_service_alone() {
        let some = scopes(&["sessions:read", "topics:*"]);
        assert!(some.allow("sessions:read") && some.allow("topics:write") && some.allow("topics:read"));
        assert!(!some.allow("sessions:write") && !some.allow("watch") && !some.allow("config:read"));
        assert!(Scopes::all().allow("streams:write") && Scopes::all().allow("watch"));
    }

    #[test]
    fn nobody_covers_more_than_they_have() {
        assert!(scopes(&["topics:read", "topics:write"]).cover(&scopes(&["topics:*"])));
        assert!(!scopes(&["topics:read"]).cover(&scopes(&["topics:*"])));
        assert!(!scopes(&["topics:*", "watch"]).cover(&Scopes::all()));
        assert!(Scopes::all().cover(&scopes(&["admin", "watch"])));
    }

    #[test]
    fn what_is_no_scope_is_named() {
        for text in ["", "sessions", "sessions:", "sessions:all", "*", "Admin", "views:read"] {
            assert!(Scopes::parse(&[text]).is_err(), "{text}");
        }
    }

    #[test]
    fn a_method_that_is_not_known_to_read_asks_for_write() {
        let needed = |path: &str| Needed::of(path);
        let scope = |text: &str| Needed::Scope(text.to_owned());
        assert_eq!(needed("/weir.admin.v1.Sessions/List"), scope("sessions:read"));
        assert_eq!(needed("/weir.admin.v1.Sessions/Kick"), scope("sessions:write"));
        assert_eq!(needed("/weir.admin.v1.Streams/Whatever"), scope("streams:write"));
        assert_eq!(needed("/weir.admin.v1.Watch/Events"), scope("watch"));
        assert_eq!(needed("/grpc.health.v1.Health/Check"), Needed::Nothing);
        assert_eq!(needed("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"), Needed::Anybody);
    }
}
