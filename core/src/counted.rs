//! Counts with their nouns, for display.

use std::fmt::Display;

/// Formats `1 block`, `2 blocks`. For nouns whose plural ends in s.
#[allow(clippy::needless_pass_by_value, reason = "a number")]
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, what: &str) -> String {
    let s = if count == N::from(1) { "" } else { "s" };
    format!("{count} {what}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        assert_eq!(
            [counted(0_u64, "block"), counted(1_usize, "block"), counted(2_i64, "block")],
            ["0 blocks", "1 block", "2 blocks"]
        );
    }
}
