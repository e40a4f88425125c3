//! The chain: the middleware of a realm in the order in which it is asked, and the programs it asks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use tokio::sync::Notify;
use weir_model::Filter;
use weir_model::topic::is_reserved;

use super::super::definition::{Binding, Hook, OnFailure, Source};
use super::super::logs::Journal;
use super::super::work::Work;
use crate::clock;

/// How long a client that connects waits for programs that are being loaded.
const LOADING_MAX: Duration = Duration::from_secs(5);

/// Who stands in the way of a realm's clients. It follows the rows of bindings at once; what a link asks is there as soon
/// as its program is loaded.
#[derive(Default)]
pub struct Chain {
    /// A bit for each [`Hook`] that somebody wants: all that is looked at where nothing is bound.
    hooks: AtomicU8,
    /// Moves whenever a verdict may have changed.
    version: AtomicU64,
    links: ArcSwap<Vec<Link>>,
    /// Of all middleware of the realm, of what is paused too. Changed one at a time.
    programs: Mutex<HashMap<Arc<str>, Arc<Program>>>,
    /// A program was loaded.
    provided: Notify,
}

/// One binding in the chain.
pub(super) struct Link {
    pub name: Arc<str>,
    hooks: u8,
    filters: Vec<Filter>,
    order: i32,
    pub on_failure: OnFailure,
    pub journal: Arc<Journal>,
    program: Arc<Program>,
}

/// What a binding asks; what was asked before a change of it is asked until there is something else.
struct Program {
    work: ArcSwapOption<Work>,
    wanted_ms: u64,
}

impl Hook {
    pub const ALL: [Hook; 4] = [Hook::Connect, Hook::Authorize, Hook::Publish, Hook::Deliver];

    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Hook::Connect => "connect",
            Hook::Authorize => "authorize",
            Hook::Publish => "publish",
            Hook::Deliver => "deliver",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Chain {
    /// Whether anybody wants to be asked here: one load.
    #[inline]
    pub fn wants(&self, hook: Hook) -> bool {
        self.hooks.load(Ordering::Relaxed) & hook.bit() != 0
    }

    /// Whether anybody wants to be asked here about a topic.
    #[inline]
    pub fn wants_of(&self, hook: Hook, topic: &str) -> bool {
        self.wants(hook) && self.links.load().iter().any(|link| link.is_asked(hook) && link.covers(topic))
    }

    /// Moves whenever a verdict may have changed.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Waits while programs are loaded that were wanted a moment ago; whether they come or not.
    pub async fn ready(&self) {
        if self.hooks.load(Ordering::Relaxed) == 0 {
            return;
        }
        loop {
            let provided = self.provided.notified();
            let now_ms = clock::now_ms();
            let left = |link: &Link| link.program.loads_for(now_ms);
            let Some(left) = self.links.load_full().iter().filter_map(left).max() else { return };
            let _ = tokio::time::timeout(left, provided).await;
        }
    }

    /// The bindings of the realm are these from now on.
    pub(super) fn set(
        &self,
        bindings: &[(Arc<str>, Arc<Binding>)],
        journal: impl Fn(&Arc<str>) -> Arc<Journal>,
    ) {
        let mut programs = self.programs.lock();
        if programs.is_empty() && !bindings.iter().any(|(_, binding)| binding.source.is_middleware()) {
            return;
        }
        let mut links = Vec::new();
        let before = std::mem::take(&mut *programs);
        for (name, binding) in bindings {
            let Source::Middleware { hooks, filters, order, on_failure } = &binding.source else { continue };
            let program = before.get(name).cloned().unwrap_or_else(|| {
                let (work, wanted_ms) = (ArcSwapOption::empty(), clock::now_ms());
                Arc::new(Program { work, wanted_ms })
            });
            programs.insert(name.clone(), program.clone());
            if binding.is_paused {
                continue;
            }
            links.push(Link {
                name: name.clone(),
                hooks: hooks.iter().fold(0, |bits, hook| bits | hook.bit()),
                filters: filters.clone(),
                order: *order,
                on_failure: *on_failure,
                journal: journal(name),
                program,
            });
        }
        links.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
        let hooks = links.iter().fold(0, |bits, link| bits | link.hooks);
        self.links.store(Arc::new(links));
        self.hooks.store(hooks, Ordering::Release);
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// What a binding asks is loaded, or may be another version than before.
    pub(in super::super) fn provide(&self, work: &Arc<Work>) {
        if let Some(program) = self.programs.lock().get(&work.name.1) {
            program.work.store(Some(work.clone()));
        }
        self.version.fetch_add(1, Ordering::AcqRel);
        self.provided.notify_waiters();
    }

    pub(super) fn links(&self) -> arc_swap::Guard<Arc<Vec<Link>>> {
        self.links.load()
    }
}

impl Link {
    pub fn is_asked(&self, hook: Hook) -> bool {
        self.hooks & hook.bit() != 0
    }

    /// Whether it is asked about a topic.
    pub fn covers(&self, topic: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| filter.matches(topic))
    }

    /// Whether it is asked about some topic that a filter matches.
    pub fn meets(&self, filter: &Filter) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|mine| meet(mine.pattern(), filter.pattern()))
    }

    pub fn work(&self) -> Option<Arc<Work>> {
        self.program.work.load_full()
    }
}

impl Program {
    /// For how long it may still be waited for; `None` = it is there, or does not come.
    fn loads_for(&self, now_ms: u64) -> Option<Duration> {
        let waited = Duration::from_millis(now_ms.saturating_sub(self.wanted_ms));
        let left = LOADING_MAX.checked_sub(waited).filter(|left| !left.is_zero())?;
        self.work.load().is_none().then_some(left)
    }
}

/// Whether there is a topic that both patterns match.
fn meet(a: &str, b: &str) -> bool {
    let hides = |wild: &str, other: &str| wild.starts_with(['+', '#']) && is_reserved(other);
    if hides(a, b) || hides(b, a) {
        return false;
    }
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (None, _) | (_, None) => return false,
            (Some("+"), _) | (_, Some("+")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(order: i32, hooks: &[Hook], filters: &[&str]) -> Arc<Binding> {
        let source = Source::Middleware {
            hooks: hooks.to_vec(),
            filters: filters.iter().map(|filter| Filter::new(filter).unwrap()).collect(),
            order,
            on_failure: OnFailure::Refuse,
        };
        Arc::new(Binding { source, ..Binding::default() })
    }

    fn set(chain: &Chain, bindings: &[(&str, Arc<Binding>)]) {
        let bindings: Vec<_> =
            bindings.iter().map(|(name, binding)| (Arc::from(*name), binding.clone())).collect();
        chain.set(&bindings, |_| Arc::default());
    }

    #[test]
    fn the_lowest_order_is_asked_first_and_of_the_same_the_first_name() {
        let chain = Chain::default();
        let hooks = [Hook::Publish];
        let (late, early) = (binding(1, &hooks, &[]), binding(-1, &hooks, &[]));
        set(&chain, &[("b", late.clone()), ("a", late), ("z", early)]);
        let names: Vec<String> = chain.links().iter().map(|link| link.name.to_string()).collect();
        assert_eq!(names, ["z", "a", "b"]);
    }

    #[test]
    fn what_nobody_wants_is_known_by_a_bit_and_what_is_paused_wants_nothing() {
        let chain = Chain::default();
        assert!(Hook::ALL.iter().all(|hook| !chain.wants(*hook)));
        let deliver = binding(0, &[Hook::Deliver], &["a/#"]);
        set(&chain, &[("m", deliver.clone())]);
        assert!(chain.wants(Hook::Deliver) && !chain.wants(Hook::Publish));
        assert!(chain.wants_of(Hook::Deliver, "a/b") && !chain.wants_of(Hook::Deliver, "b"));
        let version = chain.version();
        set(&chain, &[("m", Arc::new(Binding { is_paused: true, ..Binding::clone(&deliver) }))]);
        assert!(!chain.wants(Hook::Deliver) && chain.version() > version);
        assert!(chain.programs.lock().contains_key("m"), "it is asked at once when it goes on");
        set(&chain, &[]);
        assert!(chain.programs.lock().is_empty());
    }

    #[test]
    fn a_filter_is_met_by_every_filter_that_has_a_topic_in_common_with_it() {
        let meets =
            [("a/b", "a/b"), ("a/+", "+/b"), ("a/#", "#"), ("a/#", "a"), ("#", "+/+"), ("a/+/c", "a/b/#")];
        for (one, other) in meets {
            assert!(meet(one, other) && meet(other, one), "{one} {other}");
        }
        for (one, other) in [("a", "b"), ("a/+", "a"), ("a/b/c", "a/+"), ("#", "$SYS/#"), ("+/x", "$SYS/x")] {
            assert!(!meet(one, other) && !meet(other, one), "{one} {other}");
        }
    }

    #[test]
    fn a_program_that_is_loading_is_waited_for_and_one_that_does_not_come_is_not() {
        let program = Program { work: ArcSwapOption::empty(), wanted_ms: 1000 };
        assert_eq!(program.loads_for(1000), Some(LOADING_MAX));
        assert_eq!(program.loads_for(2000), Some(LOADING_MAX - Duration::from_secs(1)));
        assert_eq!(program.loads_for(6000), None);
    }
}
