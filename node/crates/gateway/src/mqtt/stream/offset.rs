//! Where a client begins to read a stream: the user property `weir-stream-offset` of its SUBSCRIBE.

use std::time::UNIX_EPOCH;

use weir_broker::store::Start;
use weir_broker::stream::definition::PARTITIONS_MAX;
use weir_broker::stream::following::Offset;
use weir_model::{Position, UnixMillis};

/// Our own name of the property, and the one that clients of other brokers know.
const NAMES: [&str; 2] = ["weir-stream-offset", "stream-offset"];

/// Why an offset is none. Tells the whole form, for it is shown to whoever wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OffsetError {
    #[error(
        "stream-offset must be earliest, latest, a position epoch:ms-seq (to go on after it), \
         partition/epoch:ms-seq, or time: with Unix milliseconds or an RFC 3339 time"
    )]
    Form,
    #[error("stream-offset may be given once, and once for each partition")]
    Twice,
    #[error("stream-offset names a partition beyond {}", PARTITIONS_MAX - 1)]
    Partition,
}

/// What the user properties of a SUBSCRIBE say; `None` = nothing, which is `latest` for a new subscription.
pub fn read<'a>(user: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Option<Offset>, OffsetError> {
    let (mut start, mut after) = (None, Vec::new());
    for (_, value) in user.filter(|(name, _)| NAMES.contains(name)) {
        match value.split_once('/') {
            Some((partition, position)) => {
                let partition = partition.parse().map_err(|_| OffsetError::Form)?;
                if partition >= PARTITIONS_MAX {
                    return Err(OffsetError::Partition);
                }
                if after.iter().any(|(known, _)| *known == partition) {
                    return Err(OffsetError::Twice);
                }
                after.push((partition, position.parse::<Position>().map_err(|_| OffsetError::Form)?));
            }
            None if start.is_some() => return Err(OffsetError::Twice),
            None => start = Some(start_of(value)?),
        }
    }
    // Who names a place in one partition has nothing of the others yet.
    let others = if after.is_empty() { Start::Latest } else { Start::Earliest };
    let given = start.is_some() || !after.is_empty();
    Ok(given.then(|| Offset { start: start.unwrap_or(others), after }))
}

fn start_of(value: &str) -> Result<Start, OffsetError> {
    match value {
        "earliest" => return Ok(Start::Earliest),
        "latest" => return Ok(Start::Latest),
        _ => {}
    }
    if let Some(time) = value.strip_prefix("time:") {
        return time_of(time).map(Start::At).ok_or(OffsetError::Form);
    }
    value.parse().map(Start::After).map_err(|_| OffsetError::Form)
}

fn time_of(text: &str) -> Option<UnixMillis> {
    if let Ok(ms) = text.parse() {
        return Some(UnixMillis(ms));
    }
    let time = humantime::parse_rfc3339(text).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some(UnixMillis(u64::try_from(since.as_millis()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Result<Option<Offset>, OffsetError> {
        read(values.iter().map(|value| ("weir-stream-offset", *value)))
    }

    fn start(value: &str) -> Result<Start, OffsetError> {
        of(&[value]).map(|offset| offset.expect("an offset").start)
    }

    #[test]
    fn every_form_says_where_to_begin() {
        let position = Position { epoch: 3, ms: 17, seq: 2 };
        assert_eq!(start("earliest"), Ok(Start::Earliest));
        assert_eq!(start("latest"), Ok(Start::Latest));
        assert_eq!(start("3:17-2"), Ok(Start::After(position)));
        assert_eq!(start("time:1700000000000"), Ok(Start::At(UnixMillis(1_700_000_000_000))));
        assert_eq!(start("time:2023-11-14T22:13:20Z"), Ok(Start::At(UnixMillis(1_700_000_000_000))));
        assert_eq!(start("time:2023-11-14T22:13:20.5Z"), Ok(Start::At(UnixMillis(1_700_000_000_500))));
        assert_eq!(of(&[]), Ok(None));
        let both = read([("other", "x"), ("stream-offset", "earliest")].into_iter());
        assert_eq!(both.map(|offset| offset.map(|offset| offset.start)), Ok(Some(Start::Earliest)));
    }

    #[test]
    fn partitions_may_each_have_a_place_and_the_others_begin_at_the_first_record() {
        let position = Position { epoch: 1, ms: 5, seq: 0 };
        let after = vec![(0, position), (7, position)];
        assert_eq!(
            of(&["0/1:5-0", "7/1:5-0"]),
            Ok(Some(Offset { start: Start::Earliest, after: after.clone() }))
        );
        assert_eq!(of(&["latest", "0/1:5-0", "7/1:5-0"]), Ok(Some(Offset { start: Start::Latest, after })));
    }

    #[test]
    fn what_is_no_offset_is_refused() {
        let huge = "9".repeat(60_000);
        for bad in
            ["", "first", "-1", "1:2", "1-2", "1:2-3-4", "time:", "time:x", "time:-5", "x/1:2-3", "0/", &huge]
        {
            assert_eq!(of(&[bad]), Err(OffsetError::Form), "{}", &bad[..bad.len().min(20)]);
        }
        assert_eq!(of(&["time:1969-01-01T00:00:00Z"]), Err(OffsetError::Form));
        assert_eq!(of(&["earliest", "latest"]), Err(OffsetError::Twice));
        assert_eq!(of(&["0/1:2-3", "0/1:2-4"]), Err(OffsetError::Twice));
        assert_eq!(of(&["256/1:2-3"]), Err(OffsetError::Partition));
    }
}
