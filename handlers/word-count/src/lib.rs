//! How often each word was said: map-reduce over a stream of texts.

use weir_handler::{Failure, Message};

/// Longest word that is counted; longer ones are no words. A key may have 1024 bytes.
const WORD_BYTES_MAX: usize = 64;

/// Each word of the text once. Words are letters, digits and apostrophes, in lower case.
fn map(message: Message) -> Result<Vec<(String, u64)>, Failure> {
    let text = message.text()?.to_lowercase();
    let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '\'');
    let words = words.map(|word| word.trim_matches('\''));
    Ok(words
        .filter(|word| (1..=WORD_BYTES_MAX).contains(&word.len()))
        .map(|word| (word.to_owned(), 1))
        .collect())
}

/// A text that is replaced takes back its words; a word nobody says any more is forgotten.
fn reduce(_word: &str, count: Option<u64>, changes: Vec<(u64, i32)>) -> Option<u64> {
    let count = changes.iter().fold(count.unwrap_or(0), |count, (said, weight)| {
        let said = said.saturating_mul(u64::from(weight.unsigned_abs()));
        if *weight > 0 { count.saturating_add(said) } else { count.saturating_sub(said) }
    });
    (count > 0).then_some(count)
}

fn merge(_word: &str, counts: Vec<u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}

weir_handler::reducer!(map, reduce, merge);

#[cfg(test)]
mod tests {
    use super::*;
    use weir_handler::testing::{Reduction, message};

    #[test]
    fn words_are_counted_however_they_are_written() {
        let mut counts = Reduction::new(map, reduce);
        counts.comes(message("talk").text("To be, or not to be: that's the question.")).unwrap();
        counts.comes(message("talk").text("'Be' — QUESTION everything!")).unwrap();
        assert_eq!(counts.state("be"), Some(3));
        assert_eq!(counts.state("question"), Some(2));
        assert_eq!(counts.state("that's"), Some(1));
        assert_eq!(counts.state::<u64>("maybe"), None);
    }

    #[test]
    fn a_replaced_text_takes_back_its_words() {
        let mut counts = Reduction::new(map, reduce);
        counts.comes(message("talk").text("red red blue")).unwrap();
        counts.comes(message("talk").text("red")).unwrap();
        counts.goes(message("talk").text("red red blue")).unwrap();
        assert_eq!(counts.states().iter().collect::<Vec<_>>(), [(&"red".to_owned(), &b"1".to_vec())]);
    }

    #[test]
    fn merging_partitions_counts_as_one_would() {
        assert_eq!(merge("red", vec![2, 3]), 5);
        assert_eq!(merge("red", vec![u64::MAX, 1]), u64::MAX);
    }

    #[test]
    fn what_is_no_text_is_rejected() {
        assert!(matches!(map(message("talk").bytes([0xff])), Err(Failure::Reject(_))));
    }

    #[test]
    fn what_is_too_long_is_no_word() {
        let text = format!("{} short", "a".repeat(1024));
        assert_eq!(map(message("talk").text(text)).unwrap(), [("short".to_owned(), 1)]);
    }
}
