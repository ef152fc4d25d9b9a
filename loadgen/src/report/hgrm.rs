//! The formats of HdrHistogram, for its own plotter and for every tool that reads its logs.
//!
//! Owns the percentile distribution (`.hgrm`) and [`IntervalLog`] (log format 1.3 with V2 histograms, deflated). Both
//! hold what was measured and say nothing of whether it may be quoted.

use std::fmt::Write as _;
use std::io;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError};

use crate::latency::Times;
use crate::view::{Phase, Second, Watch};

/// Points a halving of the distance to 100 %, as the tools of HdrHistogram take by default.
const TICKS: u32 = 5;
/// Nanoseconds of a millisecond, the unit of the distribution.
const NANOS_PER_MILLI: f64 = 1e6;
/// The header behind the comments of a log, which the readers skip.
const LEGEND: &str = "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"";

/// The percentile distribution in milliseconds, as `outputPercentileDistribution` of HdrHistogram writes it but with
/// six decimals, so that nanoseconds survive. The plotter takes the lines of four columns; the last line has three,
/// since no time lies beyond the longest.
pub fn distribution(times: &Times) -> String {
    let histogram = times.histogram();
    let mut out = format!(
        "{:>14} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut total = 0;
    for point in histogram.iter_quantiles(TICKS) {
        total += point.count_since_last_iteration();
        let (value, share) = (
            point.value_iterated_to() as f64 / NANOS_PER_MILLI,
            point.quantile_iterated_to(),
        );
        // Writing to a string cannot fail.
        let _ = if share < 1.0 {
            writeln!(
                out,
                "{value:>14.6} {share:.12} {total:>10} {:>14.2}",
                1.0 / (1.0 - share)
            )
        } else {
            writeln!(out, "{value:>14.6} {share:.12} {total:>10}")
        };
    }
    let empty = histogram.is_empty();
    let milli = |nanos: f64| if empty { 0.0 } else { nanos / NANOS_PER_MILLI };
    let (mean, deviation) = (milli(histogram.mean()), milli(histogram.stdev()));
    let _ = writeln!(out, "#[Mean    = {mean:>14.6}, StdDeviation   = {deviation:>14.6}]");
    let max = milli(histogram.max() as f64);
    let _ = writeln!(
        out,
        "#[Max     = {max:>14.6}, Total count    = {:>14}]",
        histogram.len()
    );
    let (buckets, halves) = (histogram.buckets(), histogram.distinct_values());
    // A bucket has half of its sub-buckets to itself, and the first one all of them.
    let sub = halves * 2 / (usize::from(buckets) + 1);
    let _ = writeln!(out, "#[Buckets = {buckets:>14}, SubBuckets     = {sub:>14}]");
    out
}

/// Writes the measured seconds of a load, one histogram in nanoseconds each.
#[derive(Debug)]
pub struct IntervalLog<W: io::Write> {
    writer: W,
    /// The first fault; after it nothing is written.
    fault: Option<io::Error>,
}

impl<W: io::Write> IntervalLog<W> {
    /// A log of a load that begins (warm-up included) at `started`, of calls to `target`.
    ///
    /// # Errors
    /// When the head of the log cannot be written.
    pub fn new(mut writer: W, started: SystemTime, target: &str) -> io::Result<Self> {
        // One line a comment: a line break in a name must not begin a line of its own.
        let target: String = target.chars().filter(|char| !char.is_control()).collect();
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment(&format!(
                "[portcullis-loadgen {}, target {target}, nanoseconds]",
                env!("CARGO_PKG_VERSION")
            ))
            .with_start_time(started)
            .with_base_time(started)
            .begin_log_with(&mut writer, &mut V2DeflateSerializer::new())?;
        writeln!(writer, "{LEGEND}")?;
        Ok(Self { writer, fault: None })
    }

    fn write(&mut self, second: &Second<'_>) -> io::Result<()> {
        let mut serializer = V2DeflateSerializer::new();
        let log = IntervalLogWriterBuilder::new();
        // The head stands already: a builder without comments and times writes none but this.
        let mut log = log.begin_log_with(&mut self.writer, &mut serializer)?;
        let written = log.write_histogram(
            second.times.histogram(),
            second.since_start,
            Duration::from_secs(1),
            None,
        );
        written.map_err(|error| match error {
            IntervalLogWriterError::IoError(error) => error,
            IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
        })
    }
}

impl<W: io::Write> Watch for IntervalLog<W> {
    fn second(&mut self, second: &Second<'_>) {
        if self.fault.is_none() && second.phase != Phase::WarmUp {
            self.fault = self.write(second).err();
        }
    }

    fn end(&mut self) -> io::Result<()> {
        match self.fault.take() {
            Some(fault) => Err(fault),
            None => self.writer.flush(),
        }
    }
}

#[cfg(test)]
mod tests;
