//! Time as the core sees it: an instant that the caller passes in, and ticks for stage timings.
//!
//! Owns [`UnixTime`] and [`Ticks`]. Never reads a clock: `now` is an argument of every call that needs it.

use std::time::Duration;

/// An instant of the wall clock, in nanoseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The instant `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The instant `secs` seconds after the epoch; saturates in the year 2554.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Whole seconds since the epoch, rounded down: the unit of JWT claims (RFC 7519 section 2).
    pub const fn secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Whole milliseconds since the epoch, rounded down: the unit of UUIDv7 (RFC 9562 section 5.7).
    pub const fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// This instant moved into the future; saturates.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// The time from `earlier` to this instant, zero when `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Appends the RFC 3339 form in UTC with microseconds, `2026-11-23T02:10:48.000000Z`, 27 bytes.
    pub fn write_rfc3339(self, out: &mut Vec<u8>) {
        let (year, month, day) = civil_from_days(self.secs() / 86_400);
        let second_of_day = self.secs() % 86_400;
        decimal(out, year, 4);
        out.push(b'-');
        decimal(out, month, 2);
        out.push(b'-');
        decimal(out, day, 2);
        out.push(b'T');
        decimal(out, second_of_day / 3_600, 2);
        out.push(b':');
        decimal(out, second_of_day / 60 % 60, 2);
        out.push(b':');
        decimal(out, second_of_day % 60, 2);
        out.push(b'.');
        decimal(out, self.0 / 1_000 % 1_000_000, 6);
        out.push(b'Z');
    }
}

/// A monotonic counter of nanoseconds for the times of stages; only differences mean anything.
pub trait Ticks: Send + Sync {
    /// Nanoseconds since an arbitrary start; never goes backwards. Read some fifteen times a request.
    fn now_ns(&self) -> u64;
}

/// Year, month and day of a day number since the epoch, in the proleptic Gregorian calendar.
///
/// Counts years from 1 March of year 0, so that the leap day is the last day of its year.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days.saturating_add(719_468);
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = day_of_era
        .saturating_sub(day_of_era / 1_460)
        .saturating_add(day_of_era / 36_524)
        .saturating_sub(day_of_era / 146_096)
        / 365;
    let first_day = year_of_era
        .saturating_mul(365)
        .saturating_add(year_of_era / 4)
        .saturating_sub(year_of_era / 100);
    let day_of_year = day_of_era.saturating_sub(first_day);
    let month_from_march = day_of_year.saturating_mul(5).saturating_add(2) / 153;
    let day = day_of_year
        .saturating_sub(month_from_march.saturating_mul(153).saturating_add(2) / 5)
        .saturating_add(1);
    let month = if month_from_march < 10 {
        month_from_march.saturating_add(3)
    } else {
        month_from_march.saturating_sub(9)
    };
    let year = era
        .saturating_mul(400)
        .saturating_add(year_of_era)
        .saturating_add(u64::from(month <= 2));
    (year, month, day)
}

/// Appends `value` in decimal, padded with zeros to `width` digits; wider values keep their low digits.
fn decimal(out: &mut Vec<u8>, value: u64, width: u32) {
    for position in (0..width).rev() {
        let digit = value.checked_div(10_u64.saturating_pow(position)).unwrap_or(0) % 10;
        out.push(b'0'.saturating_add(u8::try_from(digit).unwrap_or(0)));
    }
}

#[cfg(test)]
mod tests;
