//! The metrics in the text format of OpenMetrics 1.0, which Prometheus reads.
//!
//! Owns their names and labels; the numbers are the gate's and the system's, read when they are asked for. Never has a
//! label of a subject, a tool or an argument, and takes no lock that a request takes.

use std::fmt;
use std::sync::Arc;

use portcullis_core::audit::ActOutcome;
use portcullis_core::catalog::PinState;
use portcullis_core::gate::Gate;
use portcullis_core::stages::Stage;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use rustix::time::{ClockId, clock_gettime};

use crate::background::policy::BundleStatuses;
use crate::background::revocation::RevocationStore;
use crate::upstream::endpoint::{EndpointState, Health};

/// The media type of the text.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that can be asked for.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// The metrics of this gate and of the process.
    pub(super) fn new(store: Arc<RevocationStore>, bundles: Arc<BundleStatuses>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Stages(Arc::clone(store.gate()))));
        registry.register_collector(Box::new(Tokens(Arc::clone(store.gate()))));
        registry.register_collector(Box::new(Tools(Arc::clone(store.gate()))));
        registry.register_collector(Box::new(Memos(Arc::clone(store.gate()))));
        registry.register_collector(Box::new(Endpoints(Arc::clone(store.gate()))));
        registry.register_collector(Box::new(Revocations(store)));
        registry.register_collector(Box::new(Bundles(bundles)));
        registry.register_collector(Box::new(Process));
        Self { registry }
    }

    /// The text now; `None` if a number could not be written, which a string never refuses.
    pub(super) fn text(&self) -> Option<String> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry).ok()?;
        Some(text)
    }
}

/// The histograms of the stages.
#[derive(Debug)]
struct Stages(Arc<Gate>);

impl Collector for Stages {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "portcullis_stage_duration",
            "Time that requests spent in each stage of the gate",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for stage in Stage::ALL {
            let histogram = self.0.stage_times().snapshot(stage);
            let buckets: Vec<(f64, u64)> = histogram
                .buckets()
                .map(|(bound_ns, count)| (bound_ns.map_or(f64::INFINITY, seconds), count))
                .collect();
            metric
                .encode_family(&[("stage", stage.as_str())])?
                .encode_histogram::<NoLabelSet>(seconds(histogram.sum_ns()), histogram.count(), &buckets, None)?;
        }
        Ok(())
    }
}

/// How the policy bundles fare.
#[derive(Debug)]
struct Bundles(Arc<BundleStatuses>);

impl Collector for Bundles {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let fares = self.0.fares();
        let mut metric = encoder.encode_descriptor(
            "portcullis_bundle_failing",
            "Whether the latest attempt to fetch or to activate a policy bundle failed",
            None,
            MetricType::Gauge,
        )?;
        for (server, fare) in &fares {
            metric
                .encode_family(&[("server", &**server)])?
                .encode_gauge(&u64::from(fare.failing))?;
        }
        let mut metric = encoder.encode_descriptor(
            "portcullis_bundle_activated_time",
            "When a policy bundle was activated last, since 1970",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        for (server, fare) in &fares {
            if let Some(activated_s) = fare.activated_s {
                metric
                    .encode_family(&[("server", &**server)])?
                    .encode_gauge(&activated_s)?;
            }
        }
        Ok(())
    }
}

/// What was noticed about tokens.
#[derive(Debug)]
struct Tokens(Arc<Gate>);

impl Collector for Tokens {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encoder
            .encode_descriptor(
                "portcullis_tokens_shared",
                "Tokens that were used from more places than one client has",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, u64, f64>(&self.0.shared_tokens(), None)
    }
}

/// What is known of the upstreams' tools.
#[derive(Debug)]
struct Tools(Arc<Gate>);

impl Collector for Tools {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.0.snapshot();
        let mut metric = encoder.encode_descriptor(
            "portcullis_tools",
            "Tools that upstreams have listed, by how their definitions stand to the accepted ones",
            None,
            MetricType::Gauge,
        )?;
        for server in snapshot.servers() {
            let Some(catalog) = snapshot.catalog(server) else {
                continue;
            };
            for pin in PinState::ALL {
                let count = u64::try_from(catalog.count(pin)).unwrap_or(u64::MAX);
                metric
                    .encode_family(&[("server", &**server.name()), ("definition", pin.code())])?
                    .encode_gauge(&count)?;
            }
        }
        let lists = self.0.tool_lists();
        encoder
            .encode_descriptor(
                "portcullis_tool_changes",
                "Definitions of tools that were found not to be the accepted ones",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, u64, f64>(&lists.changes(), None)?;
        encoder
            .encode_descriptor(
                "portcullis_tool_list_failures",
                "Listings of an upstream's tools that failed",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, u64, f64>(&lists.failures(), None)
    }
}

/// How often policies were answered for from memory.
#[derive(Debug)]
struct Memos(Arc<Gate>);

impl Collector for Memos {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.0.snapshot();
        let mut metric = encoder.encode_descriptor(
            "portcullis_policy_questions",
            "Questions to the policy since it was loaded, by what the decision memo had of them",
            None,
            MetricType::Counter,
        )?;
        for server in snapshot.servers() {
            let counts = server.policy().memo_counts();
            for (memo, count) in [
                ("hit", counts.hits),
                ("miss", counts.misses),
                ("bypass", counts.bypassed),
            ] {
                metric
                    .encode_family(&[("server", &**server.name()), ("memo", memo)])?
                    .encode_counter::<NoLabelSet, u64, f64>(&count, None)?;
            }
        }
        Ok(())
    }
}

/// The endpoints of upstreams, by server and by authority and path.
#[derive(Debug)]
struct Endpoints(Arc<Gate>);

impl Endpoints {
    /// Writes one metric with a sample for each endpoint.
    fn metric(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help, kind): (&str, &str, MetricType),
        sample: impl Fn(&Health, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
        let snapshot = self.0.snapshot();
        let endpoints = snapshot.servers().flat_map(|server| &server.upstream().endpoints);
        for state in endpoints.filter_map(EndpointState::of) {
            let labels = [("server", &*state.server), ("endpoint", &*state.label)];
            sample(&state.health, metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Collector for Endpoints {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let about = (
            "portcullis_upstream_well",
            "Whether calls go to the endpoint: 1, or 0 while it is put aside",
            MetricType::Gauge,
        );
        self.metric(&mut encoder, about, |health, mut metric| {
            metric.encode_gauge(&u64::from(health.is_well()))
        })?;
        let about = (
            "portcullis_upstream_calls",
            "Calls that were sent to the endpoint",
            MetricType::Counter,
        );
        self.metric(&mut encoder, about, |health, mut metric| {
            metric.encode_counter::<NoLabelSet, u64, f64>(&health.calls(), None)
        })?;
        let about = (
            "portcullis_upstream_connections_failed",
            "Times that the endpoint took no connection, TLS included",
            MetricType::Counter,
        );
        self.metric(&mut encoder, about, |health, mut metric| {
            metric.encode_counter::<NoLabelSet, u64, f64>(&health.refused(), None)
        })
    }
}

/// What is revoked, and what came of the acts.
#[derive(Debug)]
struct Revocations(Arc<RevocationStore>);

impl Collector for Revocations {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let count = u64::try_from(self.0.gate().revocations().len()).unwrap_or(u64::MAX);
        encoder
            .encode_descriptor(
                "portcullis_revocations",
                "Revocations in force",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&count)?;
        let mut metric = encoder.encode_descriptor(
            "portcullis_revocation_acts",
            "Revocations that operators and the watched file asked for",
            None,
            MetricType::Counter,
        )?;
        for outcome in ActOutcome::ALL {
            metric
                .encode_family(&[("outcome", outcome.code())])?
                .encode_counter::<NoLabelSet, u64, f64>(&self.0.counted(outcome), None)?;
        }
        Ok(())
    }
}

/// What the system knows of this process, and what it is.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encoder
            .encode_descriptor(
                "process_cpu",
                "User and system time of all threads of the process",
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, f64, f64>(&cpu_seconds(), None)?;
        if let Some(bytes) = resident_bytes() {
            encoder
                .encode_descriptor(
                    "process_resident_memory",
                    "Resident memory of the process",
                    Some(&Unit::Bytes),
                    MetricType::Gauge,
                )?
                .encode_gauge(&bytes)?;
        }
        encoder
            .encode_descriptor("portcullis_build", "The version of the gate", None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// What `utime` and `stime` of `/proc/self/stat` count together, in nanoseconds instead of hundredths of a second.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The resident set; `None` on a system without `/proc`.
fn resident_bytes() -> Option<u64> {
    resident_bytes_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn resident_bytes_in(status: &str) -> Option<u64> {
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::{cpu_seconds, resident_bytes, resident_bytes_in};

    #[test]
    fn the_resident_set_is_read_where_the_kernel_writes_it() {
        let check = |status: &str, expected: Option<u64>| assert_eq!(resident_bytes_in(status), expected, "{status}");
        check("Name:\tgate\nVmRSS:\t    1234 kB\nThreads:\t4\n", Some(1_263_616));
        check("Name:\tgate\nVmHWM:\t    1234 kB\n", None);
        check("VmRSS:\t    1234 MB\n", None);
        check("VmRSS:\t    kB\n", None);
        check("", None);
        assert!(resident_bytes().is_some_and(|bytes| 1_000_000 < bytes));
    }

    #[test]
    fn the_time_of_the_processor_grows_with_work() {
        let before = cpu_seconds();
        let mut sum = 0_u64;
        while cpu_seconds() <= before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(before.is_finite());
    }
}
