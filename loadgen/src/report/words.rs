//! What was measured where, in words: the lines that every output for people shares.
//!
//! Owns the wording of the environment, the load and the verdict, so that the text and the page say the same.

use crate::report::figures::{count, seconds, share, thousands};
use crate::report::{Environment, InvalidReason, Load, RunReport, Target, ThresholdResult};

/// How to read the figures: each a sentence or two.
pub const READING: [&str; 5] = [
    "Response time runs from the intended start of a call, which the clock sets whatever the target does, to the end of \
     its answer: it is what a caller waits, queues included.",
    "Service time runs from the first byte that was sent: it hides what a call waited before it could be sent, and is \
     shown beside the response time to tell the two apart. A closed loop knows service time only, so a slow target \
     slows its own load down and looks better than it is.",
    "INVALID means that the generator itself was late or saturated, or that a rule of sound measuring was broken: the \
     figures then say more about the generator than about the target and must not be quoted.",
    "A percentile is told only when at least ten samples lie beyond it; else the report says that there are too few.",
    "On a machine that the generator shares with its targets, absolute times depend on the machine; ratios between \
     targets that were measured in turns, and CPU time a request, are the fair figures.",
];

/// Processor, cores, kernel and what else bears on times.
pub fn machine(environment: &Environment) -> String {
    let hypervisor = match environment.hypervisor {
        Some(true) => "virtual machine",
        Some(false) => "no virtual machine",
        None => "virtual machine not told",
    };
    let pinning = match environment.pinning.as_str() {
        "" | "none" => String::from("not pinned"),
        list => format!("generator pinned to {list}"),
    };
    let governor = environment.governor.as_deref().unwrap_or("not told");
    let load = environment
        .load_average
        .map_or_else(|| String::from("not told"), |load| format!("{load:.2}"));
    format!(
        "{}, {} of {} cores, {}, Linux {}, {hypervisor}, {pinning}, governor {governor}, load average {load} before the load",
        environment.cpu, environment.cores, environment.cores_online, environment.arch, environment.kernel
    )
}

/// Version, commit, build and allocator of the generator, and when it ran.
pub fn generator(environment: &Environment) -> String {
    format!(
        "portcullis-loadgen {} (commit {}), {} build, allocator {}, started {}",
        environment.version, environment.commit, environment.build, environment.allocator, environment.started
    )
}

/// The endpoint.
pub fn target(target: &Target) -> String {
    let tls = if target.tls { "TLS" } else { "no TLS" };
    format!("{}  {}  HTTP/{}, {tls}", target.name, target.url, target.http)
}

/// Model, plan, connections and length.
pub fn load(load: &Load) -> String {
    let model = match load.model.as_str() {
        "open" => "open loop (arrivals by the clock, whatever the target does)",
        "closed" => "closed loop (the next call waits for the last: NOT open loop, waiting is hidden)",
        other => other,
    };
    format!(
        "{model}: {}; {}, {} at most under way, {}; warm-up {}, measured {}",
        load.plan,
        several(load.connections, "connection"),
        count(load.concurrency as u64),
        several(load.threads, "thread"),
        seconds(load.warm_up_s),
        seconds(load.duration_s),
    )
}

/// The mix of calls and who sends them.
pub fn workload(load: &Load) -> String {
    let work = &load.workload;
    let calls: Vec<String> = { work.calls.iter() }
        .map(|call| format!("{} {}", call.name, share(call.share)))
        .collect();
    let (least, most) = work.body_bytes;
    let body = if least == most {
        format!("bodies of {} bytes", count(least as u64))
    } else {
        format!("bodies of {} to {} bytes", count(least as u64), count(most as u64))
    };
    let mut words = vec![calls.join(", "), body, format!("MCP {}", work.protocol.join(" and "))];
    if 0 < work.sessions {
        words.push(several(work.sessions, "session"));
    }
    words.push(if work.subjects == 0 {
        String::from("no tokens")
    } else {
        format!("{} (tokens: {})", several(work.subjects, "subject"), work.tokens)
    });
    words.extend(work.token_lifetime_s.map(|life| format!("tokens live {life} s")));
    words.extend(work.rotate_keys_s.map(|every| format!("keys change every {every} s")));
    words.push(format!("{} are expected to be refused", share(work.deny_share)));
    words.push(format!("seed {}", load.seed));
    words.join("; ")
}

/// A threshold and what became of it.
pub fn threshold(result: &ThresholdResult) -> String {
    match (result.failed, result.measured) {
        (true, Some(measured)) => format!("measured {}", number(measured)),
        (true, None) => String::from("could not be told, which counts as failed"),
        (false, Some(measured)) => format!("measured {}", number(measured)),
        (false, None) => String::from("not measured"),
    }
}

/// What must be known of the figures, besides what the report itself notes.
pub fn notes(report: &RunReport) -> Vec<String> {
    let mut notes = report.validity.notes.clone();
    // The engine may say it in its own words; it must not be missing in any case.
    if report.load.model == "closed" && !notes.iter().any(|note| note.contains("closed")) {
        notes.push(String::from(
            "a closed loop is not an open loop: it hides waiting, so these are service times and no response times",
        ));
    }
    notes.extend(build_note(&report.environment));
    notes
}

/// A warning about a debug build.
pub fn build_note(environment: &Environment) -> Option<String> {
    (environment.build == "debug").then(|| {
        String::from("the generator is a debug build: its figures are worth nothing beside those of a release")
    })
}

/// The lines of a verdict: why the figures must not be quoted.
pub fn reasons(reasons: &[InvalidReason]) -> Vec<String> {
    { reasons.iter() }
        .map(|reason| format!("{}: {}", reason.code, reason.text))
        .collect()
}

/// A number with up to three decimals.
pub fn number(number: f64) -> String {
    let text = thousands(number, 3);
    String::from(text.trim_end_matches('0').trim_end_matches('.'))
}

fn several(number: usize, thing: &str) -> String {
    format!("{} {thing}{}", count(number as u64), if number == 1 { "" } else { "s" })
}
