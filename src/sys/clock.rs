//! What time it is, on a box whose clock may be years behind, and how times are written.

use crate::limits::{CLOCK_FLOOR_UNIX_SECS_MAX, CLOCK_UNSET_UNIX_SECS};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The wall clock with a floor: it is never earlier than what is known to be past.
///
/// A box without a battery-backed clock boots in 1970, and every certificate would be "not yet valid" until NTP
/// answers, which may need the cloud; and one whose clock somebody sets back would take tokens that have ended. A
/// certificate that is in use proves that its notBefore has passed, and an API server says what time it is; from there
/// on the floor rises with the time that passes.
#[derive(Debug)]
pub struct Clock {
    /// The floor as it was when the clock was made, in seconds since 1970, UTC.
    floor_at_start: AtomicU64,
    started: Instant,
}

impl Clock {
    /// A clock without a floor.
    pub fn new() -> Arc<Clock> {
        Arc::new(Clock {
            floor_at_start: AtomicU64::new(0),
            started: Instant::now(),
        })
    }

    /// Seconds since 1970, UTC: the system's, or the floor if that is later.
    pub fn now(&self) -> u64 {
        system_unix_secs().max(self.floor())
    }

    /// Seconds since 1970, UTC, before which it cannot be. 0 if nothing is known.
    pub fn floor(&self) -> u64 {
        match self.floor_at_start.load(Ordering::Relaxed) {
            0 => 0,
            at_start => at_start + self.started.elapsed().as_secs(),
        }
    }

    /// Makes the clock no earlier than `unix_secs`: the notBefore of a certificate that is in use, what an earlier hub
    /// knew. It never lowers the floor. Times beyond `CLOCK_FLOOR_UNIX_SECS_MAX` are not believed, and change nothing.
    pub fn raise_floor(&self, unix_secs: u64) {
        if unix_secs <= CLOCK_FLOOR_UNIX_SECS_MAX {
            let at_start = unix_secs.saturating_sub(self.started.elapsed().as_secs());
            self.floor_at_start.fetch_max(at_start, Ordering::Relaxed);
        }
    }

    /// An API server has said that it is `unix_secs`.
    pub fn told(&self, unix_secs: u64) {
        self.raise_floor(believable(unix_secs, system_unix_secs(), self.floor()));
    }

    /// Time since the clock was made, at start; unmoved by changes of the wall clock.
    pub fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether the system's clock can be right.
    pub fn sanity(&self) -> Sanity {
        sane(system_unix_secs(), self.floor())
    }
}

/// What is past for certain when a server says `told`. Where our own clock can be right, both must agree that it is so late:
/// the floor is kept, and one that a wrong clock had once raised would make every certificate look expired for ever. Where
/// it cannot, as on a box that has none, the server's word is the best there is.
fn believable(told: u64, system: u64, floor: u64) -> u64 {
    match sane(system, floor) {
        Sanity::Plausible => told.min(system),
        Sanity::Unset | Sanity::Behind { .. } => told,
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.now())))
    }
}

/// What is known about the system's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sanity {
    /// Nothing speaks against it.
    Plausible,
    /// It was never set: it is earlier than the first release of the hub.
    Unset,
    /// It is earlier than what is known to be past.
    Behind {
        /// By how many seconds at least.
        secs: u64,
    },
}

/// Judges the system's clock by what cannot be. Both are seconds since 1970, UTC.
pub fn sane(system_unix_secs: u64, floor_unix_secs: u64) -> Sanity {
    if system_unix_secs < CLOCK_UNSET_UNIX_SECS {
        Sanity::Unset
    } else if system_unix_secs < floor_unix_secs {
        Sanity::Behind {
            secs: floor_unix_secs - system_unix_secs,
        }
    } else {
        Sanity::Plausible
    }
}

/// The system's wall clock, in seconds since 1970, UTC; 0 if it is before that.
pub fn system_unix_secs() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A moment of the proleptic Gregorian calendar, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// 1970 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59: there are no leap seconds in Unix time.
    pub second: u8,
    /// 0 is Sunday.
    pub weekday: u8,
}

/// The last second that four digits of a year can tell: 9999-12-31T23:59:59Z.
pub const LAST_UNIX_SECS: u64 = 253_402_300_799;

/// The date and time of `unix_secs`; anything after the year 9999 is its last second.
pub fn civil(unix_secs: u64) -> Civil {
    let unix_secs = unix_secs.min(LAST_UNIX_SECS);
    let (days, second_of_day) = (unix_secs / 86_400, unix_secs % 86_400);
    // Days are counted from 1 March 0000, so that a leap day is the last of its year; eras of 400 years are all alike.
    // <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>
    let days_from_march = days + 719_468;
    let era = days_from_march / 146_097;
    let day_of_era = days_from_march % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = (month_from_march + 2) % 12 + 1;
    Civil {
        year: (era * 400 + year_of_era + u64::from(month <= 2)) as u16,
        month: month as u8,
        day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8,
        hour: (second_of_day / 3_600) as u8,
        minute: (second_of_day / 60 % 60) as u8,
        second: (second_of_day % 60) as u8,
        // 1 January 1970 was a Thursday.
        weekday: ((days + 4) % 7) as u8,
    }
}

/// Seconds since 1970 of a date and time, UTC. `None` if there is no such, or it is before 1970 or after 9999. A
/// second of 60 is taken as the next minute's first, as POSIX does.
pub fn unix_secs(year: u16, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> Option<u64> {
    let is_real = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 60;
    if !is_real {
        return None;
    }
    // The inverse of `civil`, from the same page.
    let (month, day) = (u64::from(month), u64::from(day));
    let year = u64::from(year) - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(days * 86_400 + u64::from(hour) * 3_600 + u64::from(minute) * 60 + u64::from(second))
}

/// `2026-03-01T12:00:00Z` (RFC 3339), as Kubernetes writes times in objects.
pub fn rfc3339(unix_secs: u64) -> String {
    let at = civil(unix_secs);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        at.year, at.month, at.day, at.hour, at.minute, at.second
    )
}

/// `Sun, 01 Mar 2026 12:00:00 GMT` (IMF-fixdate, RFC 9110 section 5.6.7), as in the HTTP field `Date`.
pub fn imf_fixdate(unix_secs: u64) -> String {
    let at = civil(unix_secs);
    format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        WEEKDAYS[usize::from(at.weekday)],
        at.day,
        MONTHS[usize::from(at.month) - 1],
        at.year,
        at.hour,
        at.minute,
        at.second
    )
}

/// The seconds since 1970 of what [`imf_fixdate`] writes. The weekday is not looked at.
pub fn parse_imf_fixdate(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let day = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u8 + 1;
    let year = parts.next()?.parse().ok()?;
    let mut time = parts.next()?.split(':').map(|part| part.parse().ok());
    unix_secs(
        year,
        month,
        day,
        time.next()??,
        time.next()??,
        time.next()??,
    )
}

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

fn days_in(year: u16, month: u8) -> u8 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by `date -u -d @SECS`.
    #[test]
    fn known_moments() {
        for (secs, rfc, imf) in [
            (0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (
                784_111_777,
                "1994-11-06T08:49:37Z",
                "Sun, 06 Nov 1994 08:49:37 GMT",
            ),
            (
                951_782_400,
                "2000-02-29T00:00:00Z",
                "Tue, 29 Feb 2000 00:00:00 GMT",
            ),
            (
                1_772_366_400,
                "2026-03-01T12:00:00Z",
                "Sun, 01 Mar 2026 12:00:00 GMT",
            ),
            (
                2_147_483_647,
                "2038-01-19T03:14:07Z",
                "Tue, 19 Jan 2038 03:14:07 GMT",
            ),
            (
                2_147_483_648,
                "2038-01-19T03:14:08Z",
                "Tue, 19 Jan 2038 03:14:08 GMT",
            ),
            (
                4_107_542_399,
                "2100-02-28T23:59:59Z",
                "Sun, 28 Feb 2100 23:59:59 GMT",
            ),
            (
                4_107_542_400,
                "2100-03-01T00:00:00Z",
                "Mon, 01 Mar 2100 00:00:00 GMT",
            ),
            (
                LAST_UNIX_SECS,
                "9999-12-31T23:59:59Z",
                "Fri, 31 Dec 9999 23:59:59 GMT",
            ),
            (
                u64::MAX,
                "9999-12-31T23:59:59Z",
                "Fri, 31 Dec 9999 23:59:59 GMT",
            ),
        ] {
            assert_eq!(rfc3339(secs), rfc);
            assert_eq!(imf_fixdate(secs), imf);
            assert_eq!(parse_imf_fixdate(imf), Some(secs.min(LAST_UNIX_SECS)));
        }
        assert_eq!(rfc3339(CLOCK_UNSET_UNIX_SECS), "2025-01-01T00:00:00Z");
        assert_eq!(rfc3339(CLOCK_FLOOR_UNIX_SECS_MAX), "2100-01-01T00:00:00Z");
    }

    #[test]
    fn dates_that_are_none() {
        for text in [
            "Sun, 06 Nov 1994 25:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Now 1994 08:49:37 GMT",
            "Sun, 06 Nov 99999999999999999 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49",
            "yesterday",
            "",
        ] {
            assert_eq!(parse_imf_fixdate(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_there_and_back() {
        for day in 0..=LAST_UNIX_SECS / 86_400 {
            let secs = day * 86_400 + day % 86_400;
            let at = civil(secs);
            assert_eq!(
                unix_secs(at.year, at.month, at.day, at.hour, at.minute, at.second),
                Some(secs)
            );
        }
    }

    #[test]
    fn there_is_no_such_day() {
        for (year, month, day) in [
            (2025, 2, 29),
            (2100, 2, 29),
            (2024, 4, 31),
            (2024, 13, 1),
            (2024, 0, 1),
            (2024, 1, 0),
            (1969, 12, 31),
        ] {
            assert_eq!(
                unix_secs(year, month, day, 0, 0, 0),
                None,
                "{year}-{month}-{day}"
            );
        }
        assert_eq!(unix_secs(2024, 1, 1, 24, 0, 0), None);
        assert_eq!(
            unix_secs(2016, 12, 31, 23, 59, 60),
            unix_secs(2017, 1, 1, 0, 0, 0)
        );
    }

    #[test]
    fn the_floor_holds_and_only_rises() {
        let clock = Clock::new();
        let later = system_unix_secs() + 1_000_000;
        clock.raise_floor(later);
        assert_eq!(clock.now(), later);
        assert_eq!(clock.current_time().unwrap().as_secs(), later);
        clock.raise_floor(5);
        assert_eq!(clock.floor(), later);
        clock.raise_floor(CLOCK_FLOOR_UNIX_SECS_MAX + 1);
        assert_eq!(clock.floor(), later, "not believed");
        assert!(matches!(clock.sanity(), Sanity::Behind { secs } if secs > 999_000));
        clock.raise_floor(CLOCK_FLOOR_UNIX_SECS_MAX);
        assert_eq!(clock.floor(), CLOCK_FLOOR_UNIX_SECS_MAX);
    }

    #[test]
    fn a_servers_time_is_believed_as_far_as_it_must_be() {
        const NOW: u64 = 1_772_366_400;
        const TEN_YEARS: u64 = 10 * 365 * 86_400;
        for (told, system, floor, believed) in [
            // Both right, and a little apart.
            (NOW, NOW + 3, 0, NOW),
            (NOW + 3, NOW, 0, NOW),
            // One of the two is far ahead: it convinces nobody.
            (NOW + TEN_YEARS, NOW, 0, NOW),
            (NOW, NOW + TEN_YEARS, 0, NOW),
            // Ours was never set, or is set back behind what we knew.
            (NOW, 3, 0, NOW),
            (NOW, NOW - TEN_YEARS, NOW - 100, NOW),
        ] {
            assert_eq!(believable(told, system, floor), believed, "{told} {system}");
        }
        // Without a clock of our own a server that is ahead is believed, within bounds.
        let clock = Clock::new();
        clock.told(CLOCK_FLOOR_UNIX_SECS_MAX + 1);
        assert!(clock.floor() <= system_unix_secs());
    }

    #[test]
    fn sanity_is_judged() {
        assert_eq!(sane(3, 0), Sanity::Unset);
        assert_eq!(sane(CLOCK_UNSET_UNIX_SECS, 0), Sanity::Plausible);
        assert_eq!(
            sane(CLOCK_UNSET_UNIX_SECS, CLOCK_UNSET_UNIX_SECS + 9),
            Sanity::Behind { secs: 9 }
        );
    }
}
