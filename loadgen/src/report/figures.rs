//! Numbers in words: times, rates, counts and shares with their units, for every output meant for people.
//!
//! Owns how a figure looks and nothing else; it never decides which figure is told.

use crate::report::{Latency, Outcomes, Percentile};

/// A time in the unit that suits it: `812 ns`, `35.2 µs`, `1.23 ms`, `2.50 s`.
pub fn time(us: f64) -> String {
    let (number, unit) = match us.abs() {
        size if size < 0.999_5 => return format!("{:.0} ns", us * 1_000.0),
        size if size < 999.5 => (us, "µs"),
        size if size < 999_500.0 => (us / 1_000.0, "ms"),
        _ => (us / 1_000_000.0, "s"),
    };
    format!("{} {unit}", digits(number))
}

/// Microseconds as milliseconds with three decimals, without the unit: for columns.
pub fn millis(us: f64) -> String {
    thousands(us / 1_000.0, 3)
}

/// Calls a second, without the unit: whole above 100, else with one decimal.
pub fn rate(rate: f64) -> String {
    thousands(rate, if rate < 99.95 { 1 } else { 0 })
}

/// A whole number with separators.
pub fn count(count: u64) -> String {
    grouped(&count.to_string())
}

/// A share as per cent: `0 %`, `0.05 %`, `12.5 %`, `100 %`. What is not zero never reads as zero.
pub fn share(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => String::from("0 %"),
        tiny if tiny.abs() < 0.005 => String::from("<0.01 %"),
        small if small.abs() < 9.995 => format!("{} %", trimmed(&format!("{small:.2}"))),
        most => format!("{} %", trimmed(&format!("{most:.1}"))),
    }
}

/// A ratio: `1.00x`, `12.3x`.
pub fn ratio(ratio: f64) -> String {
    format!(
        "{}x",
        if ratio.abs() < 99.5 {
            format!("{ratio:.2}")
        } else {
            thousands(ratio, 0)
        }
    )
}

/// Bytes in the unit that suits them.
pub fn bytes(bytes: u64) -> String {
    let number = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", number / 1024.0),
        _ => format!("{:.1} MiB", number / 1_048_576.0),
    }
}

/// Seconds without needless decimals: `5 s`, `0.5 s`, `60.03 s`.
pub fn seconds(seconds: f64) -> String {
    format!("{} s", trimmed(&thousands(seconds, 2)))
}

/// The name of a percentile, such as `p99.9`.
pub fn percentile(percentile: f64) -> String {
    format!("p{percentile}")
}

/// Why a percentile has no number.
pub fn too_few(entry: &Percentile, samples: u64) -> String {
    format!("too few samples ({} of {})", count(samples), count(entry.samples_min))
}

/// A time that stands at a percentile, in the unit that suits it, or `too few`.
pub fn time_at(latency: &Latency, percentile: f64) -> String {
    latency.at(percentile).map_or_else(
        || String::from(if latency.samples == 0 { "none" } else { "too few" }),
        time,
    )
}

/// How far the rounds lie apart: the range beside the middle, as a share; none with fewer than two rounds.
pub fn spread(rounds: &[f64]) -> Option<f64> {
    let least = rounds.iter().copied().reduce(f64::min)?;
    let most = rounds.iter().copied().reduce(f64::max)?;
    let middle = f64::midpoint(least, most);
    (1 < rounds.len() && 0.0 < middle).then(|| (most - least) / 2.0 / middle)
}

/// Every outcome with its name and whether it is a failure, in the order of a reader's interest.
pub fn outcomes(outcomes: &Outcomes) -> [(&'static str, u64, bool); 11] {
    [
        ("allowed, as expected", outcomes.allowed, false),
        ("denied, as expected (no failure)", outcomes.denied, false),
        ("denied where a result was expected", outcomes.denied_unexpectedly, true),
        (
            "allowed where a refusal was expected",
            outcomes.allowed_unexpectedly,
            true,
        ),
        ("token refused (401)", outcomes.unauthenticated, true),
        ("throttled (429)", outcomes.throttled, true),
        ("unavailable (5xx)", outcomes.unavailable, true),
        ("error reported by the tool", outcomes.tool_errors, true),
        ("broken or foreign answer", outcomes.protocol_errors, true),
        ("no answer in time", outcomes.timeouts, true),
        ("connection failed or broke", outcomes.connection_errors, true),
    ]
}

/// A number with `decimals` and separators.
pub fn thousands(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let whole = grouped(whole);
    if fraction.is_empty() {
        whole
    } else {
        format!("{whole}.{fraction}")
    }
}

/// Three significant digits of a number between 1 and 1,000; larger ones whole.
fn digits(number: f64) -> String {
    match number.abs() {
        size if size < 9.995 => format!("{number:.2}"),
        size if size < 99.95 => format!("{number:.1}"),
        _ => thousands(number, 0),
    }
}

/// Groups of three digits, from the right.
fn grouped(whole: &str) -> String {
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut out = String::from(sign);
    for (place, digit) in digits.chars().enumerate() {
        if 0 < place && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A decimal number without zeros at its end.
fn trimmed(number: &str) -> &str {
    if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    }
}

#[cfg(test)]
mod tests;
