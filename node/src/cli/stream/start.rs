//! Places in a stream as they are typed.

use std::time::UNIX_EPOCH;

use weir_admin::proto::stream_start::From;
use weir_admin::proto::{StreamEnd, StreamStart};
use weir_model::Position;

/// `earliest`, `latest`, a position to go on after, or a time.
pub fn parse(text: &str) -> Result<StreamStart, String> {
    let from = match text {
        "earliest" => From::End(StreamEnd::Earliest.into()),
        "latest" => From::End(StreamEnd::Latest.into()),
        _ => match text.strip_prefix("time:") {
            Some(time) => From::UnixMs(unix_ms(time)?),
            None if text.parse::<Position>().is_ok() => From::After(text.to_owned()),
            None => {
                return Err(
                    "it is `earliest`, `latest`, a position (EPOCH:MS-SEQ: what comes after it), or \
                            `time:` with milliseconds since 1970 or 2026-01-31T00:00:00Z"
                        .to_owned(),
                );
            }
        },
    };
    Ok(StreamStart { from: Some(from) })
}

fn unix_ms(time: &str) -> Result<u64, String> {
    if let Ok(ms) = time.parse() {
        return Ok(ms);
    }
    let at = humantime::parse_rfc3339_weak(time).map_err(|error| error.to_string())?;
    let since = at.duration_since(UNIX_EPOCH).map_err(|_| "it is before 1970".to_owned())?;
    u64::try_from(since.as_millis()).map_err(|_| "it is too late".to_owned())
}

/// A place for people.
pub fn told(start: Option<&StreamStart>) -> String {
    match start.and_then(|start| start.from.as_ref()) {
        Some(From::End(end)) if *end == i32::from(StreamEnd::Latest) => "latest".to_owned(),
        Some(From::After(position)) => format!("after {position}"),
        Some(From::UnixMs(ms)) => super::super::admin::time(*ms),
        _ => "earliest".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_typed_as_end_position_or_time() {
        let from = |text: &str| parse(text).unwrap().from.unwrap();
        assert_eq!(from("latest"), From::End(StreamEnd::Latest.into()));
        assert_eq!(from("1:22-3"), From::After("1:22-3".to_owned()));
        assert_eq!(from("time:1700000000000"), From::UnixMs(1_700_000_000_000));
        assert_eq!(from("time:2023-11-14T22:13:20Z"), From::UnixMs(1_700_000_000_000));
        for bad in ["", "now", "time:", "time:x", "1:2", "time:1969-01-01T00:00:00Z"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
