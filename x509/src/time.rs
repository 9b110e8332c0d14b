//! Parses times in certificates and revocation lists.
//!
//! | Rule | In Go |
//! |---|---|
//! | UTCTime: `YYMMDDhhmm` or `YYMMDDhhmmss`, then `Z` or an offset `+hhmm`, `-hhmm`. 50 to 99 are 1950 to 1999. | cryptobyte `ReadASN1UTCTime`, asn1 `parseUTCTime` |
//! | GeneralizedTime: `YYYYMMDDhhmmss`, then as above. In revocation lists a fraction of up to nine digits, the last not zero, may precede the offset. | cryptobyte `ReadASN1GeneralizedTime`, asn1 `parseGeneralizedTime` |
//! | The text is exactly what Go writes for that time: an offset of zero is `Z`, offsets have up to 24 hours and 59 minutes, and no field is out of range (no second 60, no hour 24, no 30 February). | `time.Parse`, `Time.Format` |

use time::{Date, Month, PrimitiveDateTime, Time};

/// Digits, read from the left.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn number(&mut self, digits: usize) -> Option<u16> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        number
            .iter()
            .try_fold(0_u16, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u16::from(digit - b'0')))
    }

    fn two(&mut self) -> Option<u8> {
        self.number(2).and_then(|number| u8::try_from(number).ok())
    }

    /// Reads the offset from UTC in seconds, which must be the last part of the text.
    fn offset(mut self) -> Option<i64> {
        let (&sign, rest) = self.0.split_first()?;
        self.0 = rest;
        let offset = match sign {
            b'Z' => 0,
            b'+' | b'-' => {
                let (hours, minutes) = (i64::from(self.two()?), i64::from(self.two()?));
                if hours > 24 || minutes > 59 || (hours, minutes) == (0, 0) {
                    return None;
                }
                let offset = (hours * 60 + minutes) * 60;
                if sign == b'-' { -offset } else { offset }
            }
            _ => return None,
        };
        self.0.is_empty().then_some(offset)
    }

    /// Skips a fraction of a second.
    fn skip_fraction(&mut self) -> Option<()> {
        let Some(fraction) = self.0.strip_prefix(b".") else { return Some(()) };
        let digits = fraction.iter().take_while(|octet| octet.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) || fraction[digits - 1] == b'0' {
            return None;
        }
        self.0 = &fraction[digits..];
        Some(())
    }
}

fn seconds(year: u16, mut text: Text<'_>, with_seconds: bool, with_fraction: bool) -> Option<i64> {
    let month = Month::try_from(text.two()?).ok()?;
    let date = Date::from_calendar_date(i32::from(year), month, text.two()?).ok()?;
    let (hour, minute) = (text.two()?, text.two()?);
    let second = if with_seconds { text.two()? } else { 0 };
    if with_fraction {
        text.skip_fraction()?;
    }
    let local = PrimitiveDateTime::new(date, Time::from_hms(hour, minute, second).ok()?);
    Some(local.assume_utc().unix_timestamp() - text.offset()?)
}

/// Converts the contents of a UTCTime to seconds since 1970.
pub(crate) fn utc_time(contents: &[u8]) -> Option<i64> {
    let mut text = Text(contents);
    let year = match text.number(2)? {
        year @ 50.. => 1900 + year,
        year => 2000 + year,
    };
    let with_seconds = contents.get(10).is_some_and(u8::is_ascii_digit);
    seconds(year, text, with_seconds, false)
}

/// Converts the contents of a GeneralizedTime in a certificate to seconds since 1970.
pub(crate) fn generalized_time(contents: &[u8]) -> Option<i64> {
    let mut text = Text(contents);
    let year = text.number(4)?;
    seconds(year, text, true, false)
}

/// Converts the contents of a GeneralizedTime in a revocation list to seconds since 1970.
pub(crate) fn generalized_time_with_fraction(contents: &[u8]) -> Option<i64> {
    let mut text = Text(contents);
    let year = text.number(4)?;
    seconds(year, text, true, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_times() {
        for (text, time) in [
            ("700101000000Z", Some(0)),
            ("7001010000Z", Some(0)),
            ("491231235959Z", Some(2_524_607_999)),
            ("500101000000Z", Some(-631_152_000)),
            ("700101010000+0100", Some(0)),
            ("6912312300-0100", Some(0)),
            ("700101000000+0000", None),
            ("700101000000-2459", Some(89_940)),
            ("700101000000+2500", None),
            ("700101000000+0060", None),
            ("700101000060Z", None),
            ("700101240000Z", None),
            ("700230000000Z", None),
            ("000229000000Z", Some(951_782_400)),
            ("010229000000Z", None),
            ("701301000000Z", None),
            ("700001000000Z", None),
            ("70010100000Z", None),
            ("700101000000", None),
            ("700101000000z", None),
            ("700101000000.5Z", None),
            ("700101000000Z ", None),
            ("", None),
        ] {
            assert_eq!(utc_time(text.as_bytes()), time, "{text}");
        }
    }

    #[test]
    fn generalized_times() {
        for (text, time, with_fraction) in [
            ("19700101000000Z", Some(0), Some(0)),
            ("00000101000000Z", Some(-62_167_219_200), Some(-62_167_219_200)),
            ("00000101000000+2459", Some(-62_167_309_140), Some(-62_167_309_140)),
            ("99991231235959Z", Some(253_402_300_799), Some(253_402_300_799)),
            ("197001010000Z", None, None),
            ("19700101000000.5Z", None, Some(0)),
            ("19700101000000.50Z", None, None),
            ("19700101000000.123456789Z", None, Some(0)),
            ("19700101000000.1234567891Z", None, None),
            ("19700101000000,5Z", None, None),
            ("19700101000000.Z", None, None),
        ] {
            assert_eq!(generalized_time(text.as_bytes()), time, "{text}");
            assert_eq!(generalized_time_with_fraction(text.as_bytes()), with_fraction, "{text}");
        }
    }
}
