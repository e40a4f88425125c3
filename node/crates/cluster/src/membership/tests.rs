use std::collections::BTreeMap;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn facts(store: StoreKind) -> Facts {
    Facts {
        protocol: 1,
        protocol_min: 1,
        release: "0.1.0".to_owned(),
        store,
        store_id: "s-1".to_owned(),
        listeners: BTreeMap::new(),
        others: BTreeMap::new(),
    }
}

fn state_with(facts: Facts) -> State {
    let node_id = "me".parse().expect("a name");
    let me = Member { node_id, incarnation: 10, address: address(1), facts };
    State::new(me, Patience { suspicion: SECOND, after_stall: 3 * SECOND, memory: 60 * SECOND })
}

fn state() -> State {
    state_with(facts(StoreKind::Redis))
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn node(name: &str, incarnation: u64) -> Candidate {
    let facts = Ok(facts(StoreKind::Redis));
    Candidate { name: name.into(), incarnation, address: address(2), facts, leaving: false }
}

fn names(state: &State) -> Vec<String> {
    state.members().peers().map(|member| member.node_id.to_string()).collect()
}

fn refusals(changes: &[Change]) -> Vec<Refusal> {
    changes
        .iter()
        .filter_map(|change| match change {
            Change::Refused { why, .. } => Some(*why),
            _ => None,
        })
        .collect()
}

#[test]
fn who_is_shown_joins_once() {
    let (mut state, now) = (state(), Instant::now());
    assert!(matches!(&state.observe(now, vec![node("a", 1)])[..], [Change::Joined(_)]));
    assert_eq!(state.observe(now, vec![node("a", 1)]), []);
    assert_eq!(names(&state), ["a"]);
    assert_eq!(state.members().count(), 2);
}

#[test]
fn a_silent_node_stays_a_member_until_the_suspicion_is_over() {
    let (mut state, now) = (state(), Instant::now());
    state.observe(now, vec![node("a", 1)]);
    assert_eq!(state.observe(now, vec![]), []);
    assert_eq!(state.members().suspected().len(), 1);
    assert_eq!(state.expire(now + SECOND / 2), []);
    assert_eq!(names(&state), ["a"]);
    assert!(matches!(&state.expire(now + SECOND)[..], [Change::Died(_)]));
    assert_eq!(names(&state), [""; 0]);
    assert_eq!(state.members().lost().len(), 1);
}

#[test]
fn a_sign_of_life_ends_the_suspicion() {
    let (mut state, now) = (state(), Instant::now());
    state.observe(now, vec![node("a", 1)]);
    state.observe(now, vec![]);
    state.observe(now + SECOND / 2, vec![node("a", 1)]);
    assert_eq!(state.expire(now + 5 * SECOND), []);
    assert!(state.members().suspected().is_empty());
}

#[test]
fn a_node_that_stood_still_itself_declares_nobody_dead_at_once() {
    let (mut state, now) = (state(), Instant::now());
    state.observe(now, vec![node("a", 1)]);
    let woken = now + 30 * SECOND;
    state.stalled(woken);
    assert_eq!(state.observe(woken, vec![]), []);
    assert_eq!(state.expire(woken + 2 * SECOND), []);
    assert_eq!(state.observe(woken + 2 * SECOND, vec![node("a", 1)]), []);
    assert_eq!(names(&state), ["a"]);
}

#[test]
fn a_node_started_anew_replaces_itself_while_both_are_shown() {
    let (mut state, now) = (state(), Instant::now());
    state.observe(now, vec![node("a", 1)]);
    let changes = state.observe(now, vec![node("a", 1), node("a", 2)]);
    assert!(matches!(&changes[..], [Change::Died(old), Change::Joined(new)]
        if old.incarnation == 1 && new.incarnation == 2));
    assert_eq!(state.members().count(), 2);
}

#[test]
fn an_old_incarnation_is_refused_even_when_the_new_one_is_gone() {
    let (mut state, now) = (state(), Instant::now());
    state.observe(now, vec![node("a", 2)]);
    state.observe(now, vec![]);
    state.expire(now + SECOND);
    let changes = state.observe(now + SECOND, vec![node("a", 1)]);
    assert_eq!(refusals(&changes), [Refusal::OldIncarnation]);
    assert_eq!(names(&state), [""; 0]);
}

#[test]
fn who_leaves_is_gone_at_once_and_not_lost() {
    let (mut state, now) = (state(), Instant::now());
    state.observe(now, vec![node("a", 1)]);
    let leaving = Candidate { leaving: true, ..node("a", 1) };
    assert!(matches!(&state.observe(now, vec![leaving.clone()])[..], [Change::Left(_)]));
    assert_eq!(state.observe(now, vec![leaving]), []);
    assert!(state.members().lost().is_empty());
    assert_eq!(names(&state), [""; 0]);
}

#[test]
fn a_node_that_returns_is_not_lost_any_more() {
    let (mut state, now) = (state(), Instant::now());
    state.observe(now, vec![node("a", 1)]);
    state.observe(now, vec![]);
    state.expire(now + SECOND);
    assert!(state.members().sees_half());
    state.observe(now + SECOND, vec![node("a", 2)]);
    assert!(state.members().lost().is_empty());
}

#[test]
fn who_sees_less_than_half_of_the_last_known_knows_it() {
    let (mut state, now) = (state(), Instant::now());
    state.observe(now, vec![node("a", 1), node("b", 1)]);
    state.observe(now, vec![]);
    assert!(state.members().sees_half());
    state.expire(now + SECOND);
    assert!(!state.members().sees_half());
    state.expire(now + 100 * SECOND);
    assert!(state.members().sees_half(), "who is forgotten does not count");
}

#[test]
fn a_node_with_another_store_is_refused_by_name_and_told_once() {
    let (mut state, now) = (state(), Instant::now());
    let with = |store, id: &str| Candidate {
        facts: Ok(Facts { store_id: id.to_owned(), ..facts(store) }),
        ..node("a", 1)
    };
    let embedded = with(StoreKind::Embedded, "");
    assert_eq!(refusals(&state.observe(now, vec![embedded.clone()])), [Refusal::EmbeddedStore]);
    assert_eq!(state.observe(now, vec![embedded]), []);
    let other = with(StoreKind::Redis, "s-2");
    assert_eq!(refusals(&state.observe(now, vec![other])), [Refusal::OtherStore]);
    let memory = Candidate { incarnation: 2, ..with(StoreKind::Memory, "") };
    assert_eq!(refusals(&state.observe(now, vec![memory])), [Refusal::OtherStore]);
    assert_eq!(state.members().count(), 1);
}

#[test]
fn a_node_with_an_embedded_store_refuses_everybody() {
    let mut state = state_with(facts(StoreKind::Embedded));
    let changes = state.observe(Instant::now(), vec![node("a", 1)]);
    assert_eq!(refusals(&changes), [Refusal::EmbeddedStore]);
}

#[test]
fn neighbouring_versions_work_together_and_newer_ones_are_refused() {
    let (mut state, now) = (state(), Instant::now());
    let speaks = |protocol_min, protocol| Candidate {
        facts: Ok(Facts { protocol, protocol_min, ..facts(StoreKind::Redis) }),
        ..node("a", 1)
    };
    assert_eq!(refusals(&state.observe(now, vec![speaks(2, 3)])), [Refusal::NewerProtocol]);
    assert_eq!(refusals(&state.observe(now, vec![speaks(0, 0)])), [Refusal::OlderProtocol]);
    assert_eq!(refusals(&state.observe(now, vec![speaks(1, 2)])), []);
    assert_eq!(names(&state), ["a"]);
}

#[test]
fn a_newer_process_of_the_own_name_is_noticed_once_and_an_older_never() {
    let (mut state, now) = (state(), Instant::now());
    assert_eq!(state.observe(now, vec![node("me", 9)]), []);
    assert!(!state.members().superseded());
    assert_eq!(state.observe(now, vec![node("me", 11)]), [Change::Superseded { incarnation: 11 }]);
    assert_eq!(state.observe(now, vec![node("me", 11)]), []);
    assert!(state.members().superseded());
}

#[test]
fn a_name_that_cannot_be_in_a_certificate_is_refused() {
    let changes = state().observe(Instant::now(), vec![node("a/b", 1)]);
    assert_eq!(refusals(&changes), [Refusal::Name]);
}
