//! Durations in Go's text form: `500ms`, `1h15m30.5s`.

use std::time::Duration;

/// Parses a Go duration. Returns `None` if it is malformed or out of range. The second part says whether it is
/// negative.
pub fn parse_go_duration(text: &str) -> Option<(Duration, bool)> {
    let (text, negative) = match text.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    if text == "0" {
        return Some((Duration::ZERO, false));
    }
    if text.is_empty() {
        return None;
    }
    let mut nanos: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|&n| n > 0)?;
        let (number, after) = rest.split_at(number_len);
        let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let unit_nanos: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        // Go accepts any number of leading zeros
        let whole = if whole.is_empty() { whole } else { whole.trim_start_matches('0') };
        if number == "." || whole.len() > 19 || fraction.contains('.') {
            return None;
        }
        nanos += if whole.is_empty() { 0 } else { whole.parse::<u128>().ok()? * unit_nanos };
        // digits beyond those needed for the nanoseconds of an hour change nothing
        let digits = &fraction[..fraction.len().min(18)];
        if !digits.is_empty() {
            nanos += digits.parse::<u128>().ok()? * unit_nanos / 10_u128.pow(u32::try_from(digits.len()).ok()?);
        }
        rest = after;
    }
    // Go counts nanoseconds in a signed 64-bit number
    let nanos = i64::try_from(nanos).ok()?;
    Some((Duration::from_nanos(nanos.unsigned_abs()), negative && nanos != 0))
}

/// Formats a duration as Go does: `2s`, `500ms`, `1m30s`, `1h0m0.5s`.
pub fn go_duration_text(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let fraction = |value: u32, digits: usize| {
        let text = format!("{value:0digits$}");
        let text = text.trim_end_matches('0');
        if text.is_empty() { String::new() } else { format!(".{text}") }
    };
    match (seconds, nanos) {
        (0, 0) => "0s".to_owned(),
        (0, ..1_000) => format!("{nanos}ns"),
        (0, ..1_000_000) => format!("{}{}µs", nanos / 1_000, fraction(nanos % 1_000, 3)),
        (0, _) => format!("{}{}ms", nanos / 1_000_000, fraction(nanos % 1_000_000, 6)),
        _ => {
            let below_minute = format!("{}{}s", seconds % 60, fraction(nanos, 9));
            match (seconds / 3600, seconds / 60 % 60) {
                (0, 0) => below_minute,
                (0, minutes) => format!("{minutes}m{below_minute}"),
                (hours, minutes) => format!("{hours}h{minutes}m{below_minute}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn go_durations_are_read() {
        let ms = |text| parse_go_duration(text).map(|(d, negative)| (d.as_millis(), negative));
        assert_eq!(ms("500ms"), Some((500, false)));
        assert_eq!(ms("1h15m30.5s"), Some((4_530_500, false)));
        assert_eq!(ms("-1s"), Some((1000, true)));
        assert_eq!(ms("0"), Some((0, false)));
        assert_eq!(ms("0s"), Some((0, false)));
        assert_eq!(ms(".5s"), Some((500, false)));
        for bad in ["", "soon", "5", "5 s", "s", "1.2.3s", "-", "99999999999999999999h", "3000000h", "é"] {
            assert_eq!(ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        let nanos = [0, 7, 1_500, 500_000_000, 1_000_001, 2_000_000_000, 90_500_000_000, 3_600_000_000_000];
        let texts = nanos.map(|nanos| go_duration_text(Duration::from_nanos(nanos)));
        assert_eq!(texts, ["0s", "7ns", "1.5µs", "500ms", "1.000001ms", "2s", "1m30.5s", "1h0m0s"]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos in 0u64..=i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_go_duration(&go_duration_text(duration)), Some((duration, false)));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,40}") {
            let _ = parse_go_duration(&text);
        }

        #[test]
        fn whole_milliseconds_survive(ms in 0u32..) {
            prop_assert_eq!(parse_go_duration(&format!("{ms}ms")), Some((Duration::from_millis(ms.into()), false)));
        }
    }
}
