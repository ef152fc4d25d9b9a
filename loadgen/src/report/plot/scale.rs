//! Scales with round ticks.

/// How many ticks a scale has at most.
const TICKS: u32 = 7;
/// From this ratio of the greatest to the least on, a scale of times is logarithmic: else the small ones are a flat line.
const LOG_FROM: f64 = 20.0;

/// The upright scale of a plot: values to shares of its height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From zero to this.
    Linear(f64),
    /// From the first to the second, both above zero.
    Logarithmic(f64, f64),
}

impl Scale {
    /// The scale that shows values from the least to the greatest.
    pub(super) fn fitting(range: Option<(f64, f64)>, times: bool) -> Self {
        let (least, most) = range.unwrap_or((0.0, 1.0));
        // A nanosecond, below which nothing is told apart.
        let least = least.max(0.001);
        if times && LOG_FROM < most / least {
            return Self::Logarithmic(round_below(least), round_above(most));
        }
        let top = round_steps(most.max(1e-3) * 1.02, TICKS);
        let step = top.get(1).copied().unwrap_or(1.0);
        Self::Linear((most * 1.02 / step).ceil().max(1.0) * step)
    }

    pub(super) fn logarithmic(self) -> bool {
        matches!(self, Self::Logarithmic(..))
    }

    /// The share of the height at which a value stands, within the scale.
    pub(super) fn place(self, value: f64) -> f64 {
        let share = match self {
            Self::Linear(top) => value / top,
            Self::Logarithmic(bottom, top) => (value.max(bottom) / bottom).log10() / (top / bottom).log10(),
        };
        share.clamp(0.0, 1.0)
    }

    /// Round values with their shares, ascending.
    pub(super) fn ticks(self) -> Vec<(f64, f64)> {
        let values = match self {
            Self::Linear(top) => round_steps(top, TICKS),
            Self::Logarithmic(bottom, top) => log_steps(bottom, top),
        };
        values.into_iter().map(|value| (self.place(value), value)).collect()
    }
}

/// Multiples of 1, 2 or 5 times a power of ten from zero up to `most`, at most about `ticks` of them.
pub(super) fn round_steps(most: f64, ticks: u32) -> Vec<f64> {
    let step = round_above(most / f64::from(ticks));
    let mut steps = Vec::new();
    let mut number = 0_u32;
    // Multiplied rather than added up, so that no rounding creeps in; a sum of a part in a million is slack.
    while f64::from(number) * step <= most * (1.0 + 1e-6) && number <= 2 * ticks {
        steps.push(tidy(f64::from(number) * step));
        number += 1;
    }
    steps
}

/// 1, 2 and 5 of every power of ten, or only the powers when that would be too many.
fn log_steps(bottom: f64, top: f64) -> Vec<f64> {
    let (first, last) = (bottom.log10().floor(), top.log10().ceil());
    let parts: &[f64] = if (top / bottom).log10() <= 3.2 {
        &[1.0, 2.0, 5.0]
    } else {
        &[1.0]
    };
    let mut steps = Vec::new();
    let mut power = first;
    while power <= last {
        let values = parts.iter().map(|part| tidy(part * 10_f64.powf(power)));
        steps.extend(values.filter(|value| bottom * (1.0 - 1e-9) <= *value && *value <= top * (1.0 + 1e-9)));
        power += 1.0;
    }
    steps
}

/// The least of 1, 2, 5 times a power of ten that is not below the value.
fn round_above(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let part = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|part| value <= part * power * (1.0 + 1e-9));
    tidy(part.unwrap_or(10.0) * power)
}

/// The greatest of 1, 2, 5 times a power of ten that is not above the value.
fn round_below(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let part = [5.0, 2.0, 1.0]
        .into_iter()
        .find(|part| part * power <= value * (1.0 + 1e-9));
    tidy(part.unwrap_or(1.0) * power)
}

/// Without the dust of floating-point powers.
fn tidy(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// A round number in few characters: `0.5`, `20`, `15k`, `2M`.
pub(super) fn short(value: f64) -> String {
    match value {
        large if 1e6 <= large => format!("{}M", tidy(large / 1e6)),
        large if 1e4 <= large => format!("{}k", tidy(large / 1e3)),
        value => format!("{}", tidy(value)),
    }
}
