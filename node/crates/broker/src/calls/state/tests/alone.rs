//! Promises of calls, step by step.

use std::sync::Arc;

use super::world::{World, exact, payload, result, take_all};
use crate::calls::mailbox::{Delivery, Endpoint};
use crate::calls::{
    Answer, CallOptions, CancelMode, Config, Invoke, Misfit, Payload, Procedure, RegisterError,
    RegisterOptions, Why,
};
use weir_model::Filter;

/// One node with a caller, and callees of `p` with these options.
fn scene(options: &[RegisterOptions]) -> (World, Arc<Endpoint>, Vec<Arc<Endpoint>>) {
    let mut world = World::new(1, &Config { queued_max: 2, ..Config::default() });
    let caller = world.join(1);
    let mut callees = Vec::new();
    for options in options {
        let callee = world.join(1);
        world.register(1, &callee, "p", *options);
        callees.push(callee);
    }
    callees.iter().for_each(|callee| drop(take_all(callee)));
    (world, caller, callees)
}

fn shared(invoke: Invoke, concurrency: u32) -> RegisterOptions {
    RegisterOptions { invoke, concurrency, ..RegisterOptions::default() }
}

fn invocations(endpoint: &Endpoint) -> Vec<u64> {
    let number = |delivery| match delivery {
        Delivery::Invocation(invocation) => Some(invocation.number),
        _ => None,
    };
    take_all(endpoint).into_iter().filter_map(number).collect()
}

fn failed(request: u64, why: Why) -> Delivery {
    Delivery::Failed { request, why, payload: Payload::default() }
}

fn done(request: u64, text: &str) -> Delivery {
    Delivery::Result { request, progress: false, payload: payload(text) }
}

#[test]
fn a_call_reaches_its_callee_and_the_result_its_caller() {
    let (mut world, caller, callees) = scene(&[RegisterOptions::default()]);
    world.call(1, &caller, 7, "p");
    assert_eq!(invocations(&callees[0]), [1]);
    assert!(world.answer(1, &callees[0], 1, Answer::Progress(payload("half"))));
    assert!(world.answer(1, &callees[0], 1, result("whole")));
    let half = Delivery::Result { request: 7, progress: true, payload: payload("half") };
    assert_eq!(take_all(&caller), [half, done(7, "whole")]);
}

#[test]
fn what_a_callee_says_goes_through_with_its_arguments() {
    let (mut world, caller, callees) = scene(&[RegisterOptions::default()]);
    world.call(1, &caller, 1, "p");
    let why = Why::Callee("app.error".into());
    world.answer(1, &callees[0], 1, Answer::Failed { why: why.clone(), payload: payload("because") });
    assert_eq!(take_all(&caller), [Delivery::Failed { request: 1, why, payload: payload("because") }]);
}

#[test]
fn what_nobody_has_registered_is_no_such_procedure() {
    let (mut world, caller, _) = scene(&[]);
    world.call(1, &caller, 1, "p");
    assert_eq!(take_all(&caller), [failed(1, Why::NoSuchProcedure)]);
}

#[test]
fn exact_beats_the_longest_prefix_and_that_a_wildcard() {
    let mut world = World::new(1, &Config::default());
    let caller = world.join(1);
    let wildcard = Procedure::Wildcard(Filter::new("a/+/c").unwrap());
    let prefix = |text: &str| Procedure::Prefix(text.into());
    let procedures = [exact("a/b/c"), prefix("a/b"), prefix("a/"), wildcard];
    let register = |procedure| {
        let callee = world.join(1);
        world.at(1, |state| state.register(callee.id(), 1, procedure, RegisterOptions::default()));
        take_all(&callee);
        callee
    };
    let callees: Vec<_> = procedures.into_iter().map(register).collect();
    let asked = |world: &mut World, topic: &str, request| {
        world.call(1, &caller, request, topic);
        let asked: Vec<_> = callees.iter().map(|callee| invocations(callee).len()).collect();
        asked.iter().position(|count| *count == 1)
    };
    assert_eq!(asked(&mut world, "a/b/c", 1), Some(0));
    assert_eq!(asked(&mut world, "a/bc", 2), Some(1));
    assert_eq!(asked(&mut world, "a/x/c", 3), Some(2));
    world.at(1, |state| state.leave(callees[2].id()));
    assert_eq!(asked(&mut world, "a/x/c", 4), Some(3));
    assert_eq!(asked(&mut world, "b/x/c", 5), None);
}

#[test]
fn a_second_registration_is_refused_unless_both_share() {
    let (mut world, _, _) = scene(&[RegisterOptions::default()]);
    let second = world.join(1);
    let refused = |world: &mut World, options| {
        world.register(1, &second, "p", options);
        match take_all(&second)[..] {
            [Delivery::NotRegistered { error, .. }] => Some(error),
            _ => None,
        }
    };
    assert_eq!(refused(&mut world, RegisterOptions::default()), Some(RegisterError::AlreadyExists));
    assert_eq!(refused(&mut world, shared(Invoke::First, 0)), Some(RegisterError::AlreadyExists));
    let (mut world, _, _) = scene(&[shared(Invoke::RoundRobin, 0)]);
    let third = world.join(1);
    world.register(1, &third, "p", shared(Invoke::Random, 0));
    let error = RegisterError::OtherPolicy;
    assert_eq!(take_all(&third), [Delivery::NotRegistered { request: 1, error }]);
}

#[test]
fn a_forced_registration_takes_it_from_whoever_had_it() {
    let (mut world, caller, callees) = scene(&[RegisterOptions::default()]);
    let second = world.join(1);
    world.register(1, &second, "p", RegisterOptions { force: true, ..RegisterOptions::default() });
    let registration = exact("p").id("r");
    assert_eq!(take_all(&callees[0]), [Delivery::Revoked { registration }]);
    assert_eq!(take_all(&second), [Delivery::Registered { request: 1, registration }]);
    world.call(1, &caller, 1, "p");
    assert_eq!((invocations(&callees[0]).len(), invocations(&second).len()), (0, 1));
}

#[test]
fn calls_beyond_the_limits_wait_in_order_and_beyond_the_queue_are_refused() {
    let (mut world, caller, callees) = scene(&[shared(Invoke::Single, 1)]);
    (1..=4).for_each(|request| world.call(1, &caller, request, "p"));
    assert_eq!(take_all(&caller), [failed(4, Why::NoAvailableCallee)]);
    for request in 1..=3 {
        assert_eq!(invocations(&callees[0]), [request]);
        world.answer(1, &callees[0], request, result("ok"));
        assert_eq!(take_all(&caller), [done(request, "ok")]);
    }
}

#[test]
fn fox_compat_fills_the_first_callee_before_the_next() {
    let fox = RegisterOptions { shares_always: true, ..shared(Invoke::First, 1) };
    let (mut world, caller, callees) = scene(&[fox, fox]);
    (1..=2).for_each(|request| world.call(1, &caller, request, "p"));
    assert_eq!((invocations(&callees[0]), invocations(&callees[1])), (vec![1], vec![1]));
}

#[test]
fn each_mode_of_cancel_does_what_its_name_says() {
    for mode in [CancelMode::Skip, CancelMode::Kill, CancelMode::KillNoWait] {
        let (mut world, caller, callees) = scene(&[RegisterOptions::default()]);
        world.call(1, &caller, 1, "p");
        take_all(&callees[0]);
        world.at(1, |state| state.cancel(caller.id(), 1, mode));
        let told = !take_all(&callees[0]).is_empty();
        assert_eq!(told, mode != CancelMode::Skip);
        let at_once = take_all(&caller);
        match mode {
            CancelMode::Kill => assert!(at_once.is_empty()),
            _ => assert_eq!(at_once, [failed(1, Why::Canceled)]),
        }
        world.answer(1, &callees[0], 1, result("late"));
        match mode {
            CancelMode::Kill => assert_eq!(take_all(&caller), [done(1, "late")]),
            _ => assert!(take_all(&caller).is_empty()),
        }
    }
}

#[test]
fn a_call_that_takes_too_long_is_ended_and_its_callee_told() {
    let (mut world, caller, callees) = scene(&[RegisterOptions::default()]);
    let options = CallOptions { timeout_ms: 50, ..CallOptions::default() };
    let call = (Arc::from("p"), payload("args"));
    world.at(1, |state| state.call(caller.id(), 1, call, options, (None, None), 1000)).unwrap().unwrap();
    take_all(&callees[0]);
    world.at(1, |state| state.expire(1049));
    assert!(take_all(&caller).is_empty());
    world.at(1, |state| state.expire(1050));
    assert_eq!(take_all(&caller), [failed(1, Why::TimedOut)]);
    let interrupt = Delivery::Interrupt { invocation: 1, mode: CancelMode::KillNoWait, why: Why::TimedOut };
    assert_eq!(take_all(&callees[0]), [interrupt]);
}

#[test]
fn a_callees_death_ends_its_calls_and_a_callers_interrupts_them() {
    let (mut world, caller, callees) = scene(&[RegisterOptions::default()]);
    world.call(1, &caller, 1, "p");
    world.at(1, |state| state.leave(callees[0].id()));
    assert_eq!(take_all(&caller), [failed(1, Why::Canceled)]);
    let (mut world, caller, callees) = scene(&[RegisterOptions::default()]);
    world.call(1, &caller, 1, "p");
    take_all(&callees[0]);
    world.at(1, |state| state.leave(caller.id()));
    assert!(matches!(take_all(&callees[0])[..], [Delivery::Interrupt { invocation: 1, .. }]));
}

#[test]
fn answers_to_what_was_never_asked_or_is_over_are_passed_over() {
    let (mut world, caller, callees) = scene(&[shared(Invoke::RoundRobin, 0), shared(Invoke::RoundRobin, 0)]);
    world.call(1, &caller, 1, "p");
    assert!(!world.answer(1, &callees[1], 1, result("another's")));
    assert!(world.answer(1, &callees[0], 1, result("ok")));
    assert!(!world.answer(1, &callees[0], 1, result("twice")));
    assert_eq!(take_all(&caller), [done(1, "ok")]);
}

#[test]
fn further_arguments_follow_a_call_under_its_number() {
    let (mut world, caller, callees) = scene(&[RegisterOptions::default()]);
    let mut call = |text, progress| {
        let options = CallOptions { progress, ..CallOptions::default() };
        let call = (Arc::from("p"), payload(text));
        world.at(1, |state| state.call(caller.id(), 1, call, options, (None, None), 0)).unwrap()
    };
    assert_eq!((call("a", true), call("b", true), call("c", false)), (Ok(()), Ok(()), Ok(())));
    assert_eq!(call("d", false), Err(Misfit::RequestInUse));
    let parts = take_all(&callees[0]).into_iter().map(|delivery| match delivery {
        Delivery::Invocation(invocation) => (invocation.number, invocation.progress, invocation.payload),
        other => panic!("{other:?}"),
    });
    let expected = [(1, true, payload("a")), (1, true, payload("b")), (1, false, payload("c"))];
    assert_eq!(parts.collect::<Vec<_>>(), expected);
}

#[test]
fn a_call_flood_is_bounded_by_the_callers_own_limit() {
    let mut world = World::new(1, &Config { calls_max: 2, ..Config::default() });
    let (caller, callee) = (world.join(1), world.join(1));
    world.register(1, &callee, "p", RegisterOptions::default());
    (1..=3).for_each(|request| world.call(1, &caller, request, "p"));
    assert_eq!(take_all(&caller), [failed(3, Why::TooMany)]);
}

#[test]
fn progress_that_is_not_taken_is_dropped_and_the_result_is_not() {
    let (mut world, caller, callees) = scene(&[RegisterOptions::default()]);
    world.call(1, &caller, 1, "p");
    let large = "x".repeat(1 << 19);
    for _ in 0..5 {
        world.answer(1, &callees[0], 1, Answer::Progress(payload(&large)));
    }
    world.answer(1, &callees[0], 1, result("end"));
    let told = take_all(&caller);
    assert_eq!(told.len(), 3, "two of five, and the end");
    assert_eq!(told[2], done(1, "end"));
}
