//! How many tests ran and failed, read from what the runners print.

/// The sum over all runners.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub passed: u64,
    pub failed: u64,
}

impl Count {
    /// Takes in a line of a runner: nextest's summary or a `test result` of libtest.
    pub fn read(&mut self, line: &str) {
        let plain = without_colours(line);
        let summary = plain.trim_start();
        if summary.starts_with("Summary [") || summary.starts_with("test result:") {
            self.passed += before(summary, "passed");
            self.failed +=
                before(summary, "failed") + before(summary, "timed out") + before(summary, "exec failed");
        }
    }
}

/// The number in front of a word: 9 in `10 tests run: 9 passed (1 slow), 1 failed`.
fn before(line: &str, word: &str) -> u64 {
    let parts = line.split([',', ';', ':', '.', ']', '(', ')']);
    let numbers = parts.filter_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u64>().ok());
    numbers.sum()
}

fn without_colours(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            letters.by_ref().find(|c| c.is_ascii_alphabetic());
        } else {
            out.push(letter);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(line: &str) -> Count {
        let mut count = Count::default();
        count.read(line);
        count
    }

    #[test]
    fn a_summary_of_nextest_is_counted() {
        let line =
            "     Summary [   3.214s] 12 tests run: 9 passed (2 slow), 2 failed, 1 timed out, 4 skipped";
        assert_eq!(count(line), Count { passed: 9, failed: 3 });
    }

    #[test]
    fn a_result_of_libtest_is_counted() {
        let line = "test result: FAILED. 7 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s";
        assert_eq!(count(line), Count { passed: 7, failed: 1 });
    }

    #[test]
    fn colours_do_not_matter() {
        let line = "\u{1b}[32;1m     Summary\u{1b}[0m [ 0.1s] 1 test run: \u{1b}[1m1\u{1b}[0m \u{1b}[32mpassed\u{1b}[0m, 0 skipped";
        assert_eq!(count(line), Count { passed: 1, failed: 0 });
    }

    #[test]
    fn what_tests_print_is_not_counted() {
        assert_eq!(count("I have 5 passed, 3 failed"), Count::default());
    }
}
