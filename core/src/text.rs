//! Limits the length of texts from outside before they are kept.

/// Cuts a text that is longer than `max_bytes`, and marks the cut with two dots. Copies what is kept, because a
/// truncated string would still hold the memory of the whole.
pub fn truncate_at_char_boundary(text: &mut String, max_bytes: usize) {
    if text.len() > max_bytes {
        let end = (0..=max_bytes).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        *text = [&text[..end], ".."].concat();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_long_text_holds_no_more_memory_than_it_needs() {
        let mut text = "é".repeat(50_000);
        truncate_at_char_boundary(&mut text, 101);
        assert_eq!(text, format!("{}..", "é".repeat(50)));
        assert!(text.capacity() < 200, "{}", text.capacity());
        let mut short = "as it is".to_owned();
        truncate_at_char_boundary(&mut short, 8);
        assert_eq!(short, "as it is");
    }
}
