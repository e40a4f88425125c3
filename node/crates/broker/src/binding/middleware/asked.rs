//! One link is asked, and what its answer, or its failure, comes to.

use std::sync::Arc;

use weir_model::{Reason, UnixMillis};
use weir_runtime::{Changed, Client, Failure, Invocation, Level, Passage, Pool, Verdict};

use super::super::definition::{Hook, OnFailure};
use super::super::logs::CallResult;
use super::super::work::reason;
use super::chain::Link;
use super::{Altered, Refusal, Who, count};
use crate::clock;

/// Bytes of a reason that a client is told.
const WHY_BYTES_MAX: usize = 256;

/// Bytes of a name in a line of the log: clients choose them.
const NAME_BYTES_MAX: usize = 256;

/// What a link is asked about.
pub(super) struct Question<'a> {
    pub hook: Hook,
    pub who: &'a Who<'a>,
    /// Empty where there is none.
    pub topic: &'a str,
}

/// It goes on.
#[derive(Default)]
pub(super) struct Passed {
    /// Instead of what was there.
    pub altered: Option<Altered>,
    /// Only because a failure counts as that.
    pub is_unsure: bool,
}

/// It does not.
pub(super) struct Stopped {
    pub refusal: Refusal,
    /// Only because a failure counts as that.
    pub is_unsure: bool,
}

/// An answer of any hook.
pub(super) enum Answer {
    Pass,
    Change(Box<Changed>),
    Refuse(String),
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Answer {
        match verdict {
            Verdict::Pass => Answer::Pass,
            Verdict::Refuse(reason) => Answer::Refuse(reason),
        }
    }
}

impl From<Passage> for Answer {
    fn from(passage: Passage) -> Answer {
        match passage {
            Passage::Pass => Answer::Pass,
            Passage::Change(changed) => Answer::Change(changed),
            Passage::Refuse(reason) => Answer::Refuse(reason),
        }
    }
}

impl Link {
    /// Asks. `read` makes what it has changed into what goes on, or says why that cannot be.
    pub fn ask(
        &self,
        question: &Question<'_>,
        call: impl FnOnce(&Pool, &Client<'_>, UnixMillis) -> Invocation<Answer>,
        read: impl FnOnce(Changed) -> Result<Altered, String>,
    ) -> Result<Passed, Stopped> {
        let who = question.who;
        let picked = self.work().and_then(|work| {
            let called = work.versions.pick(who.client_id.as_bytes(), 0)?;
            Some((work, called))
        });
        let Some((work, called)) = picked else {
            self.journal.called(CallResult::Busy);
            return self.failed(question.hook, Reason::Busy);
        };
        let address = who.address.map(|address| address.to_canonical().to_string()).unwrap_or_default();
        let client = Client {
            client_id: who.client_id,
            user: who.user,
            realm: who.realm,
            protocol: who.protocol,
            address: &address,
        };
        let mut invocation = call(&called.pool, &client, clock::unix());
        work.take_log(&called, &mut invocation);
        let (result, level, said, outcome) = self.judge(question, invocation.result, read);
        self.journal.called(result);
        called.count(result, invocation.took);
        if let Some(said) = said {
            self.journal.write(level, called.number, told(question, result, &said));
        }
        work.guard(&called);
        outcome
    }

    /// What an answer comes to: how it is counted, what the log says, and whether it goes on.
    fn judge(
        &self,
        question: &Question<'_>,
        answer: Result<Answer, Failure>,
        read: impl FnOnce(Changed) -> Result<Altered, String>,
    ) -> (CallResult, Level, Option<Arc<str>>, Result<Passed, Stopped>) {
        let failure = match answer {
            Ok(Answer::Pass) => return (CallResult::Done, Level::Info, None, Ok(Passed::default())),
            Ok(Answer::Change(changed)) => match read(*changed) {
                Ok(altered) => {
                    let passed = Passed { altered: Some(altered), is_unsure: false };
                    return (CallResult::Done, Level::Info, None, Ok(passed));
                }
                Err(why) => Failure::BadOutput(why),
            },
            Ok(Answer::Refuse(why)) => {
                count(question.hook);
                let refusal =
                    Refusal { reason: Reason::NotAuthorized, why: clean(&why, WHY_BYTES_MAX).into() };
                let said = Some(refusal.why.clone());
                return (CallResult::Refused, Level::Info, said, Err(Stopped { refusal, is_unsure: false }));
            }
            Err(failure) => failure,
        };
        let outcome = match failure {
            Failure::Busy => self.failed(question.hook, Reason::Busy),
            _ => self.failed(question.hook, Reason::NotAuthorized),
        };
        (CallResult::of(&failure), Level::Error, Some(reason(&failure)), outcome)
    }

    /// What a failure means.
    fn failed(&self, hook: Hook, reason: Reason) -> Result<Passed, Stopped> {
        match self.on_failure {
            OnFailure::Pass => Ok(Passed { altered: None, is_unsure: true }),
            OnFailure::Refuse => {
                count(hook);
                let why = format!("middleware `{}` does not answer", self.name);
                let refusal = Refusal { reason, why: clean(&why, WHY_BYTES_MAX).into() };
                Err(Stopped { refusal, is_unsure: true })
            }
        }
    }
}

/// A line about a call: what was asked about, and what came of it.
fn told(question: &Question<'_>, result: CallResult, said: &str) -> String {
    let Question { hook, who, topic } = question;
    let client = clean(who.client_id, NAME_BYTES_MAX);
    let about = match topic.is_empty() {
        true => String::new(),
        false => format!(", `{}`", clean(topic, NAME_BYTES_MAX)),
    };
    format!("{}: {} of `{client}`{about}: {said}", result.as_str(), hook.as_str())
}

/// The beginning of a text, without control characters (MQTT-1.5.4).
fn clean(text: &str, bytes_max: usize) -> String {
    let text = &text[..text.floor_char_boundary(bytes_max)];
    text.chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_are_told_is_short_and_has_no_control_characters() {
        assert_eq!(clean("not\0 to\n you", 100), "not to you");
        assert_eq!(clean("ä".repeat(200).as_str(), WHY_BYTES_MAX), "ä".repeat(128));
    }
}
