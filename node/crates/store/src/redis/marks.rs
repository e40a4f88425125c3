//! Marks and the progress of groups as text: `<epoch>:<ms>-<seq>/<number>`, and JSON of these.

use serde::{Deserialize, Serialize};
use weir_model::UnixMillis;

use super::decode::DecodeError;
use crate::{Attempt, Mark, Progress};

#[derive(Serialize, Deserialize)]
struct ProgressText {
    low: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    done: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<AttemptText>,
}

#[derive(Serialize, Deserialize)]
struct AttemptText {
    at: String,
    deliveries: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_at: Option<UnixMillis>,
}

pub(super) fn mark_text(mark: Mark) -> String {
    format!("{}/{}", mark.position, mark.number)
}

pub(super) fn mark_of(text: &str) -> Result<Mark, DecodeError> {
    let bad = || DecodeError::Number(text.to_owned());
    let (position, number) = text.split_once('/').ok_or_else(bad)?;
    Ok(Mark { position: position.parse().map_err(|_| bad())?, number: number.parse().map_err(|_| bad())? })
}

pub(super) fn progress_text(progress: &Progress) -> Vec<u8> {
    let attempt = |attempt: &Attempt| AttemptText {
        at: mark_text(attempt.at),
        deliveries: attempt.deliveries,
        retry_at: attempt.retry_at,
    };
    let run = |(first, last): &(Mark, Mark)| (mark_text(*first), mark_text(*last));
    let text = ProgressText {
        low: mark_text(progress.low),
        done: progress.done.iter().map(run).collect(),
        attempts: progress.attempts.iter().map(attempt).collect(),
    };
    let written = serde_json::to_vec(&text);
    // Texts, numbers and lists: JSON has a form for each.
    debug_assert!(written.is_ok(), "a value that JSON cannot write");
    written.unwrap_or_default()
}

pub(super) fn progress_of(text: &[u8]) -> Result<Progress, DecodeError> {
    let text: ProgressText =
        serde_json::from_slice(text).map_err(|error| DecodeError::Json(error.to_string()))?;
    let run = |(first, last): &(String, String)| Ok((mark_of(first)?, mark_of(last)?));
    let attempt = |attempt: &AttemptText| {
        let AttemptText { at, deliveries, retry_at } = attempt;
        Ok(Attempt { at: mark_of(at)?, deliveries: *deliveries, retry_at: *retry_at })
    };
    Ok(Progress {
        low: mark_of(&text.low)?,
        done: text.done.iter().map(run).collect::<Result<_, DecodeError>>()?,
        attempts: text.attempts.iter().map(attempt).collect::<Result<_, DecodeError>>()?,
    })
}

#[cfg(test)]
mod tests {
    use weir_model::Position;

    use super::*;

    #[test]
    fn progress_reads_back_as_it_was() {
        let mark =
            |number| Mark { position: Position { epoch: 3, ms: 1_700_000_000_000, seq: number }, number };
        let attempt = |retry_at| Attempt { at: mark(5), deliveries: 2, retry_at };
        for progress in [
            Progress::default(),
            Progress {
                low: mark(1),
                done: vec![(mark(3), mark(4))],
                attempts: vec![attempt(None), attempt(Some(UnixMillis(u64::MAX)))],
            },
        ] {
            assert_eq!(progress_of(&progress_text(&progress)).unwrap(), progress);
        }
        assert_eq!(progress_of(b"{\"low\":\"0:0-0/0\"}").unwrap(), Progress::default());
        assert!(mark_of("1:2-3").is_err() && mark_of("x/1").is_err());
    }
}
