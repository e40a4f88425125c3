//! Promises about answers at another level than the store's own.

use super::*;
use crate::Level;

/// Submits at a level and waits for the answer.
pub fn ask_at(store: &dyn Store, level: Option<Level>, steps: Vec<Step>) -> Answer {
    submitted_at(store, level, steps).recv().expect("a submit is answered exactly once")
}

/// Submits at a level; the answer comes later.
pub fn submitted_at(store: &dyn Store, level: Option<Level>, steps: Vec<Step>) -> Receiver<Answer> {
    let (sender, answer) = channel();
    store.submit_at(
        steps,
        level,
        Box::new(move |answer| {
            // Nobody waits any more only when the test has failed already.
            let _ = sender.send(answer);
        }),
    );
    answer
}

/// All there are, the weakest first.
fn levels() -> [Level; 5] {
    ["stored", "fsynced", "replicated:1", "replicated:2", "replicated:all"]
        .map(|text| text.parse().expect("a level"))
}

pub fn a_level_is_proved_or_refused_and_up_to_its_own_a_store_proves_all(make: Make) {
    let store = make();
    for level in levels() {
        let proved = store.proves(level);
        assert!(level > store.level() || proved.is_ok(), "{level}: {proved:?}");
    }
    let many = "replicated:1000".parse().expect("a level");
    assert!(store.proves(many).is_err(), "nobody has so many replicas");
}

pub fn what_is_asked_for_at_any_level_is_done_once_and_in_order(make: Make) {
    let store = make();
    let key = client("a");
    let fence = open(&*store, &key, resuming()).fence;
    let proved = levels().into_iter().filter(|level| store.proves(*level).is_ok()).map(Some);
    // Raised, lowered and neither, by turns and not waited for.
    let asked: Vec<Option<Level>> = proved.chain([None]).cycle().take(5).collect();
    let submit = |(at, level): (usize, &Option<Level>)| {
        let op = enqueue(fence.generation, message(&at.to_string(), 20));
        submitted_at(&*store, *level, vec![step(&key, [op])])
    };
    let answers: Vec<_> = asked.iter().enumerate().map(submit).collect();
    for (at, answer) in answers.into_iter().enumerate() {
        let mut answer = answer.recv().expect("a submit is answered exactly once");
        assert_eq!(number(answer.remove(0).map(|mut outcomes| outcomes.remove(0))), at as u64 + 1);
        assert!(rows(&*store, &key).len() > at, "what is answered can be read");
    }
    let texts: Vec<String> = texts(&*store, &key).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4"]);
}

pub fn a_refusal_is_the_same_at_any_level(make: Make) {
    let store = make();
    let key = client("a");
    let fence = open(&*store, &key, resuming()).fence;
    open(&*store, &key, resuming());
    for level in levels().into_iter().filter(|level| store.proves(*level).is_ok()) {
        let op = SessionOp::Ack { fence, number: 1 };
        assert_eq!(ask_at(&*store, Some(level), vec![step(&key, [op])]), [Err(Refusal::Fenced)], "{level}");
    }
}
