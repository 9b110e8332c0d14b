//! Makes foreign text safe for a terminal.

use std::borrow::Cow;

/// Returns a text with everything escaped that moves the cursor, or changes colours or the direction of reading,
/// because a user decides by what is displayed.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let is_odd = |c: char| {
        c.is_control() || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_odd) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| if is_odd(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escaped).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_make_lines_or_move_the_cursor() {
        assert_eq!(printable("é, 漢 and \"x\""), "é, 漢 and \"x\"");
        assert_eq!(printable("a\nto be signed by\u{1b}[2K\u{202e}"), "a\\nto be signed by\\u{1b}[2K\\u{202e}");
    }
}
