//! Times of messages as people read them: in the time zone of this machine or user, or in UTC.

use jiff::civil::Date;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::say::note;

/// The zone in which times are shown.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    zone: TimeZone,
}

impl Clock {
    pub(crate) fn utc() -> Clock {
        Clock { zone: TimeZone::UTC }
    }

    /// In the zone of $TZ or of this machine.
    pub(crate) fn local() -> Clock {
        let zone = TimeZone::try_system().unwrap_or_else(|_| {
            if let Some(zone) = std::env::var_os("TZ").filter(|zone| !zone.is_empty()) {
                note(&format!("the time zone in TZ, {}, is not known here: times are UTC", zone.display()));
            }
            TimeZone::UTC
        });
        Clock { zone }
    }

    /// Today's date.
    pub(crate) fn today(&self) -> Date {
        Timestamp::now().to_zoned(self.zone.clone()).date()
    }

    /// A time of a server. `None`: it is not RFC 3339.
    pub(crate) fn read(&self, time: &str) -> Option<Zoned> {
        Some(time.parse::<Timestamp>().ok()?.to_zoned(self.zone.clone()))
    }

    /// The time of day, as `14:03`; with its date in front if that is not `today`.
    pub(crate) fn time_of_day(&self, time: &str, today: Date) -> String {
        match self.read(time) {
            Some(at) if at.date() == today => minute(&at),
            Some(at) => format!("{} {}", at.date(), minute(&at)),
            None => time.to_owned(),
        }
    }
}

/// The time of day, as `14:03`.
pub(crate) fn minute(at: &Zoned) -> String {
    format!("{:02}:{:02}", at.hour(), at.minute())
}

/// The day, as `Friday, 2026-05-01`.
pub(crate) fn day(at: &Zoned) -> String {
    strtime::format("%A, %Y-%m-%d", at).unwrap_or_else(|_| at.date().to_string())
}

/// Date, time and offset, as `2026-05-01T14:03:59.123+02:00`; in UTC with `Z`.
pub(crate) fn iso(at: &Zoned) -> String {
    let pattern =
        if at.time_zone() == &TimeZone::UTC { "%Y-%m-%dT%H:%M:%S.%3fZ" } else { "%Y-%m-%dT%H:%M:%S.%3f%:z" };
    strtime::format(pattern, at).unwrap_or_else(|_| at.timestamp().to_string())
}

/// By a pattern of date(1), as `%F %T`.
pub(crate) fn by_pattern(pattern: &str, at: &Zoned) -> Result<String, jiff::Error> {
    strtime::format(pattern, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-05-01T22:03:59.123Z";

    fn hanoi() -> Clock {
        Clock { zone: TimeZone::fixed(jiff::tz::offset(7)) }
    }

    #[test]
    fn a_time_of_another_day_has_its_date() {
        let date = |text: &str| text.parse::<Date>().unwrap();
        assert_eq!(Clock::utc().time_of_day(TIME, date("2026-05-01")), "22:03");
        assert_eq!(Clock::utc().time_of_day(TIME, date("2026-05-02")), "2026-05-01 22:03");
        assert_eq!(hanoi().time_of_day(TIME, date("2026-05-02")), "05:03");
        assert_eq!(hanoi().time_of_day(TIME, date("2026-05-01")), "2026-05-02 05:03");
        for wrong in ["soon", "", "2026-05-01", "99999-99-99T99:99:99Z"] {
            assert_eq!(hanoi().time_of_day(wrong, date("2026-05-01")), wrong);
        }
    }

    #[test]
    fn a_time_has_its_offset_or_the_pattern_of_the_user() {
        let at = hanoi().read(TIME).unwrap();
        assert_eq!(iso(&at), "2026-05-02T05:03:59.123+07:00");
        assert_eq!(iso(&Clock::utc().read(TIME).unwrap()), "2026-05-01T22:03:59.123Z");
        assert_eq!(day(&at), "Saturday, 2026-05-02");
        assert_eq!(by_pattern("%F %T", &at).unwrap(), "2026-05-02 05:03:59");
        assert!(by_pattern("%Q%", &at).is_err() && by_pattern("%", &at).is_err());
    }
}
