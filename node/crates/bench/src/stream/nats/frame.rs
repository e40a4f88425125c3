//! What a NATS server sends, found in a stream of bytes.

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Message {
        /// Where it is answered to; empty = nowhere.
        reply: &'a [u8],
        payload: &'a [u8],
    },
    Ping,
    Pong,
    /// `-ERR` and what the server says.
    Refused(&'a [u8]),
    /// `INFO` and `+OK`.
    Other,
}

/// The first frame and its length; `None` while it has not arrived whole.
///
/// # Errors
///
/// A first line that is no frame of the protocol, as text.
pub(super) fn first(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, String> {
    let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let (line, behind) = (&bytes[..end], end + 2);
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let frame = match words.next() {
        Some(b"MSG") => {
            let words: Vec<&[u8]> = words.collect();
            let (reply, size) = match words.as_slice() {
                [_, _, size] => (&b""[..], *size),
                [_, _, reply, size] => (*reply, *size),
                _ => return Err(text(line)),
            };
            let size = std::str::from_utf8(size).ok().and_then(|size| size.parse::<usize>().ok());
            let Some(end) = size.and_then(|size| behind.checked_add(size)) else { return Err(text(line)) };
            return match bytes.get(behind..end) {
                Some(payload) if bytes.len() >= end + 2 => {
                    Ok(Some((Frame::Message { reply, payload }, end + 2)))
                }
                _ => Ok(None),
            };
        }
        Some(b"PING") => Frame::Ping,
        Some(b"PONG") => Frame::Pong,
        Some(b"-ERR") => Frame::Refused(line),
        Some(b"+OK" | b"INFO") => Frame::Other,
        _ => return Err(text(line)),
    };
    Ok(Some((frame, behind)))
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_when_it_is_whole() {
        let bytes = b"MSG _INBOX.1 1 $JS.ACK.x 5\r\nhello\r\nPING\r\n";
        let message = Frame::Message { reply: b"$JS.ACK.x", payload: b"hello" };
        assert_eq!(first(bytes), Ok(Some((message, 35))));
        assert_eq!(first(&bytes[35..]), Ok(Some((Frame::Ping, 6))));
        for end in 0..35 {
            assert_eq!(first(&bytes[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn a_message_without_a_reply_has_none() {
        let message = Frame::Message { reply: b"", payload: b"" };
        assert_eq!(first(b"MSG a 1 0\r\n\r\n"), Ok(Some((message, 13))));
    }

    #[test]
    fn what_is_no_frame_is_told() {
        assert_eq!(first(b"HTTP/1.1 400\r\n"), Err("HTTP/1.1 400".to_owned()));
        assert_eq!(first(b"MSG a 1 many\r\n"), Err("MSG a 1 many".to_owned()));
        assert!(matches!(first(b"-ERR 'no'\r\n"), Ok(Some((Frame::Refused(_), 11)))));
    }
}
