//! Timestamps as RFC 3339 writes them.

use std::time::Duration;

use crate::world::Timestamp;

const DAY: u64 = 86_400;
/// The second after the last of the year 9999, which is as far as four digits go.
const END: u64 = 253_402_300_800;

/// A moment's text, made once a second: the fraction alone differs between the events of one.
#[derive(Clone, Debug)]
pub(super) struct TimeText {
    second: u64,
    /// `2026-11-22T10:30:00`.
    text: [u8; 19],
}

impl TimeText {
    pub(super) fn new() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00" }
    }

    /// Appends `time` in UTC, with as many digits of the second as it needs: none, 3 or 6.
    pub(super) fn write(&mut self, time: Timestamp, out: &mut Vec<u8>) {
        let micros = time.as_micros().min(END * 1_000_000 - 1);
        let (second, fraction) = (micros / 1_000_000, micros % 1_000_000);
        if second != self.second {
            self.text = text_of(second);
            self.second = second;
        }
        // The fraction is below a million.
        let fraction = fraction as u32;
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        if let Some(whole) = text.first_chunk_mut() {
            *whole = self.text;
        }
        if fraction == 0 {
            out.extend_from_slice(&self.text);
            out.push(b'Z');
        } else if fraction.is_multiple_of(1000) {
            let [.., a, b, c, d, _, _, _] = &mut text;
            (*a, *b, *c) = digits(fraction / 1000);
            *d = b'Z';
            out.extend_from_slice(text.get(..24).unwrap_or_default());
        } else {
            let [.., a, b, c, d, e, f, _] = &mut text;
            (*a, *b, *c) = digits(fraction / 1000);
            (*d, *e, *f) = digits(fraction % 1000);
            out.extend_from_slice(&text);
        }
    }
}

/// The three digits of a number below 1000.
fn digits(number: u32) -> (u8, u8, u8) {
    (digit(number / 100), digit(number / 10 % 10), digit(number % 10))
}

fn digit(number: u32) -> u8 {
    // A digit is below ten.
    b'0' + number as u8
}

fn text_of(second: u64) -> [u8; 19] {
    let (year, month, day) = date_of_day(second / DAY);
    let time = (second % DAY) as u32;
    let mut text = *b"0000-00-00T00:00:00";
    let [y1, y2, y3, y4, _, mo1, mo2, _, d1, d2, _, h1, h2, _, mi1, mi2, _, s1, s2] = &mut text;
    let pair = |tens: &mut u8, ones: &mut u8, number: u32| {
        (*tens, *ones) = (digit(number / 10 % 10), digit(number % 10));
    };
    pair(y1, y2, year / 100);
    pair(y3, y4, year % 100);
    pair(mo1, mo2, month);
    pair(d1, d2, day);
    pair(h1, h2, time / 3600);
    pair(mi1, mi2, time / 60 % 60);
    pair(s1, s2, time % 60);
    text
}

/// The date of the day that lies `days` after 1970-01-01. Years run from March here, so that a leap
/// day comes last; 719,468 days lie between 0000-03-01 and 1970-01-01.
fn date_of_day(days: u64) -> (u32, u32, u32) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year as u32, month as u32, day as u32)
}

/// Days from 1970-01-01 to a date of the year 1 or later.
fn day_of_date(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Reads an RFC 3339 timestamp of any offset and precision; what lies below a microsecond is cut.
pub(super) fn parse(text: &str) -> Result<Timestamp, &'static str> {
    const SHAPE: &str = "is no RFC 3339 timestamp such as 2026-11-22T10:30:00Z";
    let bytes = text.as_bytes();
    let (date_time, rest) = bytes.split_first_chunk::<19>().ok_or(SHAPE)?;
    let [
        y1,
        y2,
        y3,
        y4,
        b'-',
        mo1,
        mo2,
        b'-',
        d1,
        d2,
        b'T' | b't' | b' ',
        h1,
        h2,
        b':',
        mi1,
        mi2,
        b':',
        s1,
        s2,
    ] = *date_time
    else {
        return Err(SHAPE);
    };
    let year = pair(y1, y2) * 100 + pair(y3, y4);
    let (month, day) = (pair(mo1, mo2), pair(d1, d2));
    let (hour, minute, second) = (pair(h1, h2), pair(mi1, mi2), pair(s1, s2));
    if [year, month, day, hour, minute, second].into_iter().any(|part| part >= NOT_DIGITS) {
        return Err(SHAPE);
    }
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return Err("names a day that is in no calendar");
    }
    // A leap second is 60 and counts as the first second of the next minute.
    if hour > 23 || minute > 59 || second > 60 {
        return Err("names a time that is on no clock");
    }
    let (micros, rest) = fraction(rest).ok_or(SHAPE)?;
    let offset = offset(rest).ok_or(SHAPE)?;
    let days = day_of_date(i64::from(year), i64::from(month), i64::from(day));
    let of_day = i64::from(hour * 3600 + minute * 60 + second) - offset;
    let seconds = u64::try_from(days * DAY as i64 + of_day).map_err(|_| "lies before 1970")?;
    if seconds >= END {
        return Err("lies after the year 9999");
    }
    Ok(Timestamp::from_micros(seconds * 1_000_000).plus(Duration::from_micros(u64::from(micros))))
}

/// More than any number of four digits, and so the mark of a byte that is no digit.
const NOT_DIGITS: u32 = 10_000;

fn pair(tens: u8, ones: u8) -> u32 {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    if tens > 9 || ones > 9 { NOT_DIGITS } else { u32::from(tens) * 10 + u32::from(ones) }
}

fn days_in(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        _ => 31,
    }
}

/// The microseconds of `.123456`, where there are any, and what follows.
fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let Some((b'.', mut rest)) = text.split_first() else { return Some((0, text)) };
    let (mut micros, mut unit, mut seen) = (0, 100_000, false);
    while let Some((digit @ b'0'..=b'9', after)) = rest.split_first() {
        micros += u32::from(digit - b'0') * unit;
        unit /= 10;
        (rest, seen) = (after, true);
    }
    seen.then_some((micros, rest))
}

/// The seconds that local time is ahead of UTC.
fn offset(text: &[u8]) -> Option<i64> {
    match *text {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (pair(h1, h2), pair(m1, m2));
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = i64::from(hours * 3600 + minutes * 60);
            Some(if sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(micros: u64) -> String {
        let mut out = Vec::new();
        TimeText::new().write(Timestamp::from_micros(micros), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn as_many_digits_as_are_not_zero() {
        assert_eq!(write(0), "1970-01-01T00:00:00Z");
        assert_eq!(write(1_795_343_400_000_000), "2026-11-22T10:30:00Z");
        assert_eq!(write(1_795_343_400_007_000), "2026-11-22T10:30:00.007Z");
        assert_eq!(write(1_795_343_400_120_045), "2026-11-22T10:30:00.120045Z");
        assert_eq!(write(u64::MAX), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn every_day_for_eight_thousand_years_reads_back_as_it_was_written() {
        let mut text = TimeText::new();
        let mut last = String::new();
        for day in 0..END / DAY {
            let time = Timestamp::from_micros((day * DAY + day % DAY) * 1_000_000);
            let mut out = Vec::new();
            text.write(time, &mut out);
            let written = String::from_utf8(out).unwrap();
            assert_eq!(parse(&written), Ok(time), "{written}");
            assert!(written > last, "{written} after {last}");
            last = written;
        }
    }

    #[test]
    fn offsets_precisions_and_leap_seconds_are_read() {
        let moment = Ok(Timestamp::from_micros(1_795_343_400_000_000));
        assert_eq!(parse("2026-11-22T16:30:00+06:00"), moment);
        assert_eq!(parse("2026-11-22t04:30:00.000-06:00"), moment);
        assert_eq!(parse("2026-11-22 10:30:00z"), moment);
        assert_eq!(parse("2026-11-22T10:29:60Z"), moment);
        assert_eq!(parse("2026-11-22T10:30:00.0000009Z"), moment);
        assert_eq!(
            parse("2026-11-22T10:30:00.12Z"),
            Ok(Timestamp::from_micros(1_795_343_400_120_000))
        );
        assert!(parse("2024-02-29T00:00:00Z").is_ok());
    }

    #[test]
    fn what_is_no_timestamp_is_refused_with_the_reason() {
        let cases = [
            ("", "RFC 3339"),
            ("yesterday", "RFC 3339"),
            ("2026-11-22", "RFC 3339"),
            ("2026-11-22T10:30:00", "RFC 3339"),
            ("2026-11-22T10:30:00.Z", "RFC 3339"),
            ("2026-11-22T10:30:00+24:00", "RFC 3339"),
            ("2026-11-22T10:30:00Zulu", "RFC 3339"),
            ("2026-1a-22T10:30:00Z", "RFC 3339"),
            ("2026-02-29T10:30:00Z", "calendar"),
            ("2026-13-01T10:30:00Z", "calendar"),
            ("2026-11-00T10:30:00Z", "calendar"),
            ("2026-11-22T24:00:00Z", "clock"),
            ("1969-12-31T23:59:59Z", "1970"),
            ("0000-01-01T00:00:00Z", "1970"),
            ("9999-12-31T23:59:59-01:00", "9999"),
        ];
        for (text, reason) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
