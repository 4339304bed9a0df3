//! Times as RFC 3339 texts in UTC.

use dhara::world::Timestamp;

const MICROS: u64 = 1_000_000;
const DAY: u64 = 86_400;

/// `2026-11-22T10:30:00.123456Z`.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    let (seconds, micros) = (time.as_micros() / MICROS, time.as_micros() % MICROS);
    let (date, of_day) = (date_of(seconds / DAY), seconds % DAY);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
    format!("{date}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// The minute in which `time` lies, counted from 1970.
pub(crate) fn minute_of(time: Timestamp) -> u64 {
    time.as_micros() / MICROS / 60
}

/// A date of the civil calendar from days since 1970-01-01, after Howard Hinnant's algorithm.
fn date_of(days: u64) -> String {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_rfc_says() {
        let text = |seconds| rfc3339(Timestamp::from_micros(seconds * MICROS));
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(text(1_795_343_400), "2026-11-22T10:30:00Z");
        assert_eq!(rfc3339(Timestamp::from_micros(1_500)), "1970-01-01T00:00:00.001500Z");
    }
}
