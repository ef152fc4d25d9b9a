//! The bounds as written, laid over the defaults.
//!
//! Owns what a bound may be at least and at most. Never makes a bound unlimited: zero and absurd values are refused.

use std::time::Duration;

use portcullis_core::config::Limits;

use super::raw::{At, Place, RawLimits, Span};

/// Lays what was written over the defaults; every refusal is its place and what is wrong there.
pub(super) fn lower(raw: Option<&RawLimits>) -> (Limits, Vec<(Place, String)>) {
    let mut limits = Limits::default();
    let mut refusals = Refusals(Vec::new());
    if let Some(raw) = raw {
        counts(raw, &mut limits, &mut refusals);
        times(raw, &mut limits, &mut refusals);
    }
    (limits, refusals.0)
}

fn counts(raw: &RawLimits, limits: &mut Limits, refusals: &mut Refusals) {
    const MIB: u32 = 1024 * 1024;
    refusals.bytes(raw.header_bytes_max.as_ref(), &mut limits.header_bytes_max, MIB);
    refusals.bytes(raw.headers_max.as_ref(), &mut limits.headers_max, 1_000);
    refusals.bytes(raw.body_bytes_max.as_ref(), &mut limits.body_bytes_max, 256 * MIB);
    refusals.count(raw.json_depth_max.as_ref(), &mut limits.json_depth_max, 256);
    refusals.count(raw.json_members_max.as_ref(), &mut limits.json_members_max, 10_000_000);
    refusals.bytes(raw.token_bytes_max.as_ref(), &mut limits.token_bytes_max, MIB);
    refusals.bytes(raw.tool_name_bytes_max.as_ref(), &mut limits.tool_name_bytes_max, 1_024);
    let instructions = &mut limits.policy_instructions_max;
    refusals.bytes(raw.policy_instructions_max.as_ref(), instructions, 100_000_000);
    refusals.bytes(raw.jwks_bytes_max.as_ref(), &mut limits.jwks_bytes_max, 16 * MIB);
    refusals.bytes(raw.jwks_keys_max.as_ref(), &mut limits.jwks_keys_max, 10_000);
    refusals.bytes(
        raw.tokens_cached_max.as_ref(),
        &mut limits.tokens_cached_max,
        10_000_000,
    );
    refusals.bytes(raw.dpop_proofs_max.as_ref(), &mut limits.dpop_proofs_max, 100_000_000);
    let per_key = &mut limits.dpop_proofs_per_key_max;
    refusals.bytes(raw.dpop_proofs_per_key_max.as_ref(), per_key, 100_000_000);
    let answer_bytes = &mut limits.introspection_bytes_max;
    refusals.bytes(raw.introspection_bytes_max.as_ref(), answer_bytes, 16 * MIB);
    let mut sources = u32::from(limits.token_sources_reported);
    // The estimate ends at 266.
    refusals.count(raw.token_sources_reported.as_ref(), &mut sources, 250);
    limits.token_sources_reported = u16::try_from(sources).unwrap_or(limits.token_sources_reported);
    let failed = &mut limits.failed_tokens_per_second;
    refusals.count(raw.failed_tokens_per_second.as_ref(), failed, 1_000_000);
    refusals.count(
        raw.failed_tokens_burst.as_ref(),
        &mut limits.failed_tokens_burst,
        1_000_000,
    );
    refusals.bytes(raw.revocations_max.as_ref(), &mut limits.revocations_max, 10_000_000);
    refusals.bytes(raw.answer_bytes_max.as_ref(), &mut limits.answer_bytes_max, 256 * MIB);
    refusals.bytes(raw.streams_max.as_ref(), &mut limits.streams_max, 1_000_000);
    refusals.bytes(
        raw.audit_queue_records.as_ref(),
        &mut limits.audit_queue_records,
        10_000_000,
    );
    refusals.bytes(raw.act_depth_max.as_ref(), &mut limits.act_depth_max, 16);
    refusals.bytes(
        raw.exchange_bytes_max.as_ref(),
        &mut limits.exchange_bytes_max,
        16 * MIB,
    );
    let exchanged = &mut limits.exchanged_tokens_max;
    refusals.bytes(raw.exchanged_tokens_max.as_ref(), exchanged, 10_000_000);
}

fn times(raw: &RawLimits, limits: &mut Limits, refusals: &mut Refusals) {
    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3_600);
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    refusals.time(raw.header_deadline.as_ref(), &mut limits.header_deadline, HOUR);
    refusals.time(raw.body_deadline.as_ref(), &mut limits.body_deadline, HOUR);
    refusals.time(raw.policy_deadline.as_ref(), &mut limits.policy_deadline, MINUTE);
    refusals.time(raw.fetch_deadline.as_ref(), &mut limits.fetch_deadline, MINUTE);
    refusals.time(raw.unknown_kid_interval.as_ref(), &mut limits.unknown_kid_interval, DAY);
    refusals.time(raw.unknown_kid_wait.as_ref(), &mut limits.unknown_kid_wait, MINUTE);
    refusals.time(raw.jwks_refresh.as_ref(), &mut limits.jwks_refresh, DAY);
    refusals.time(raw.jwks_age_max.as_ref(), &mut limits.jwks_age_max, 30 * DAY);
    refusals.time(
        raw.token_lifetime_max.as_ref(),
        &mut limits.token_lifetime_max,
        30 * DAY,
    );
    refusals.time(raw.dpop_age_max.as_ref(), &mut limits.dpop_age_max, HOUR);
    let deadline = &mut limits.introspection_deadline;
    refusals.time(raw.introspection_deadline.as_ref(), deadline, MINUTE);
    let cached = &mut limits.introspection_cached_max;
    refusals.time(raw.introspection_cached_max.as_ref(), cached, HOUR);
    let refused = &mut limits.introspection_refused_cached;
    refusals.time(raw.introspection_refused_cached.as_ref(), refused, HOUR);
    match raw.leeway.as_ref() {
        // No tolerance at all is strict, hence fine.
        Some(leeway) if leeway.value.0.is_zero() => limits.leeway = Duration::ZERO,
        leeway => refusals.time(leeway, &mut limits.leeway, 5 * MINUTE),
    }
    match raw.expiry_grace.as_ref() {
        // No grace at all is strict, hence fine.
        Some(grace) if grace.value.0.is_zero() => limits.expiry_grace = Duration::ZERO,
        grace => refusals.time(grace, &mut limits.expiry_grace, HOUR),
    }
    let first_byte = &mut limits.upstream_first_byte_deadline;
    refusals.time(raw.upstream_first_byte_deadline.as_ref(), first_byte, DAY);
    refusals.time(raw.stream_idle_deadline.as_ref(), &mut limits.stream_idle_deadline, DAY);
    refusals.time(raw.audit_deadline.as_ref(), &mut limits.audit_deadline, MINUTE);
    refusals.time(raw.exchange_deadline.as_ref(), &mut limits.exchange_deadline, MINUTE);
    refusals.time(
        raw.exchanged_cached_max.as_ref(),
        &mut limits.exchanged_cached_max,
        HOUR,
    );
}

struct Refusals(Vec<(Place, String)>);

impl Refusals {
    /// Takes a number of the core's size type.
    fn bytes(&mut self, raw: Option<&At<u32>>, limit: &mut usize, most: u32) {
        let mut count = 0;
        self.count(raw, &mut count, most);
        if count > 0 {
            *limit = usize::try_from(count).unwrap_or(*limit);
        }
    }

    fn count(&mut self, raw: Option<&At<u32>>, limit: &mut u32, most: u32) {
        let Some(raw) = raw else { return };
        if raw.value < 1 || most < raw.value {
            self.0.push((raw.place, format!("expected a number from 1 to {most}")));
        } else {
            *limit = raw.value;
        }
    }

    fn time(&mut self, raw: Option<&At<Span>>, limit: &mut Duration, most: Duration) {
        let Some(raw) = raw else { return };
        if raw.value.0.is_zero() || most < raw.value.0 {
            let most = most.as_secs();
            self.0.push((raw.place, format!("expected a time from 1ms to {most}s")));
        } else {
            *limit = raw.value.0;
        }
    }
}
