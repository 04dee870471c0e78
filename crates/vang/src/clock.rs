//! Times of messages as people read them. All times are UTC.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Today's date, as `2026-05-01`.
pub(crate) fn today() -> String {
    Timestamp::now().to_zoned(TimeZone::UTC).date().to_string()
}

/// The time of day of an RFC 3339 time, as `14:03`; with its date in front if that is not `today`.
pub(crate) fn time_of_day(time: &str, today: &str) -> String {
    match (time.get(..10), time.get(11..16)) {
        (Some(day), Some(clock)) if day == today => clock.to_owned(),
        (Some(day), Some(clock)) => format!("{day} {clock}"),
        _ => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_another_day_has_its_date() {
        let time = "2026-05-01T14:03:59.123Z";
        assert_eq!(time_of_day(time, "2026-05-01"), "14:03");
        assert_eq!(time_of_day(time, "2026-05-02"), "2026-05-01 14:03");
        assert_eq!(time_of_day("soon", "2026-05-01"), "soon");
        assert_eq!(today().len(), "2026-05-01".len());
    }
}
