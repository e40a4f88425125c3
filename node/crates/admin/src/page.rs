//! Pages: how many entries, and where the next one begins.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::error::Refused;

/// Bytes of a page token: of the longest names there are, twice.
const TOKEN_BYTES_MAX: usize = 1 << 20;

/// How many entries a page has.
///
/// # Errors
/// More than `admin.page_size_max` are asked for.
pub fn size(config: &Config, asked: u32) -> Result<usize, Refused> {
    match asked {
        0 => Ok(config.page_size.max(1) as usize),
        _ if asked <= config.page_size_max => Ok(asked as usize),
        _ => {
            let hint = format!("0 to {}", config.page_size_max);
            Err(Refused::field("page_size", format!("{asked} is too large"), hint))
        }
    }
}

/// Where the next page begins, as a text that only this API reads.
pub fn token(behind: &impl Serialize) -> String {
    serde_json::to_vec(behind).map(|json| URL_SAFE_NO_PAD.encode(json)).unwrap_or_default()
}

/// Reads it back; `None` = from the first.
///
/// # Errors
/// It is not one of this method's.
pub fn behind<T: DeserializeOwned>(token: &str) -> Result<Option<T>, Refused> {
    if token.is_empty() {
        return Ok(None);
    }
    let wrong = || {
        let hint = "take `next_page_token` of an answer to the same call, unchanged";
        let refused = Refused::field("page_token", "it is not one of this call", hint);
        Refused { reason: "page_token", ..refused }
    };
    if token.len() > TOKEN_BYTES_MAX {
        return Err(wrong());
    }
    let json = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
    serde_json::from_slice(&json).map(Some).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_any_name() {
        let place = ("r".to_owned(), "a/{b}\n\u{1F600}".repeat(5_000));
        assert_eq!(behind(&token(&place)).unwrap(), Some(place));
        assert_eq!(behind::<(String, String)>("").unwrap(), None);
    }

    #[test]
    fn a_token_of_something_else_is_refused_by_its_field() {
        for text in ["?", "bm9wZQ", &token(&7), &"A".repeat(2 << 20)] {
            let refused = behind::<(String, String)>(text).unwrap_err();
            assert_eq!((refused.reason, refused.field), ("page_token", "page_token"));
        }
    }

    #[test]
    fn a_page_has_as_many_as_asked_for_up_to_the_limit() {
        let config = Config { page_size: 5, page_size_max: 10, ..Config::default() };
        assert_eq!(size(&config, 0), Ok(5));
        assert_eq!(size(&config, 10), Ok(10));
        assert_eq!(size(&config, 11).unwrap_err().field, "page_size");
    }
}
