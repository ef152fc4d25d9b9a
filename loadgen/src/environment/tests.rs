//! Environments as kernels describe them.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{cpu, list, read, read_below, rfc3339};
use crate::report::Environment;

fn below(files: &[(&str, &str)], pinning: &[usize], words: &[&str]) -> Environment {
    let root = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    let words: Vec<String> = words.iter().map(|word| String::from(*word)).collect();
    read_below(root.path(), pinning, UNIX_EPOCH, &words)
}

#[test]
fn an_x86_machine_tells_most() {
    let cpu = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu hypervisor sse\n\nprocessor\t: 1\n";
    let read = below(
        &[
            ("proc/cpuinfo", cpu),
            ("proc/sys/kernel/osrelease", "6.18.44\n"),
            ("proc/loadavg", "0.42 0.30 0.20 1/99 77\n"),
            ("sys/devices/system/cpu/online", "0-2,5\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
        ],
        &[1],
        &[],
    );
    assert_eq!(read.cpu, "AMD EPYC");
    assert_eq!(read.kernel, "6.18.44");
    assert_eq!(read.governor.as_deref(), Some("performance"));
    assert_eq!(read.cores_online, 4);
    assert_eq!(read.hypervisor, Some(true));
    assert_eq!(read.load_average, Some(0.42));
    assert_eq!(read.pinning, "1");
    assert_eq!(read.started, "1970-01-01T00:00:00Z");
    assert_eq!(read.allocator, "mimalloc");
}

#[test]
fn what_is_not_told_is_unknown() {
    let read = below(&[("proc/loadavg", "much\n")], &[], &[]);
    assert_eq!((read.cpu.as_str(), read.kernel.as_str()), ("unknown", "unknown"));
    assert_eq!((read.governor, read.hypervisor, read.load_average), (None, None, None));
    assert_eq!(read.pinning, "none");
    assert!(1 <= read.cores && read.cores == read.cores_online);
}

#[test]
fn arm_cores_are_named_by_implementer_and_part() {
    let text = |implementer: &str, part: &str| {
        format!(
            "processor\t: 0\nBogoMIPS\t: 243.75\nCPU implementer\t: {implementer}\nCPU architecture: 8\n\
             CPU variant\t: 0x3\nCPU part\t: {part}\nCPU revision\t: 1\n"
        )
    };
    let cases = [
        (text("0x41", "0xd0c"), Some("ARM Neoverse-N1 r3p1")),
        (text("0x41", "0x123"), Some("ARM implementer 0x41 part 0x123 r3p1")),
        (text("0xc0", "0xac3"), Some("Ampere-1 r3p1")),
        (text("big", "0xd0c"), None),
        (String::from("model name : \n"), None),
        (String::new(), None),
    ];
    for (text, name) in cases {
        assert_eq!(cpu::name(&text).as_deref(), name, "{text}");
    }
    assert_eq!(cpu::hypervisor(&text("0x41", "0xd0c")), None);
    assert_eq!(cpu::hypervisor("flags : fpu hypervisors\n"), Some(false));
    assert_eq!(
        below(&[("proc/device-tree/model", "Board 4\0")], &[], &[]).cpu,
        "Board 4"
    );
}

#[test]
fn no_secret_and_no_folder_of_the_program_is_told() {
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";
    let bearer = format!("Authorization: Bearer {token}");
    let words = [
        "/home/somebody/bin/portcullis-loadgen",
        "run",
        "http://user:word@127.0.0.1:80/a@b",
        "http://127.0.0.1:80/mcp?x=a@b",
        "--tokens",
        "pool/tokens.txt",
        &bearer,
        token,
        &format!("--token={token}"),
        "eyJ-not-a-token",
    ];
    let expected = [
        "portcullis-loadgen",
        "run",
        "http://***@127.0.0.1:80/a@b",
        "http://127.0.0.1:80/mcp?***",
        "--tokens",
        "pool/tokens.txt",
        "Authorization:***",
        "***",
        "--token=***",
        "eyJ-not-a-token",
    ];
    assert_eq!(below(&[], &[], &words).command, expected);
}

#[test]
fn processors_are_listed_as_the_kernel_lists_them() {
    for (numbers, text) in [
        (&[][..], "none"),
        (&[1], "1"),
        (&[1, 0, 1], "0-1"),
        (&[0, 1, 2, 5, 7, 8], "0-2,5,7-8"),
    ] {
        assert_eq!(list(numbers), text);
    }
}

#[test]
fn times_are_told_by_the_calendar() {
    let cases = [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (951_868_800, "2000-03-01T00:00:00Z"),
        (1_709_164_800, "2024-02-29T00:00:00Z"),
        (1_735_689_599, "2024-12-31T23:59:59Z"),
        (1_735_689_600, "2025-01-01T00:00:00Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ];
    for (seconds, text) in cases {
        assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
    }
    assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00Z");
}

#[test]
fn this_machine_can_be_read_and_is_not_named() {
    let before = rfc3339(SystemTime::now());
    let read = read(&[0]);
    assert!(before <= read.started);
    assert!(!read.version.is_empty() && !read.commit.is_empty());
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let text = serde_json::to_string(&read).expect("JSON");
    assert!(host.trim().len() < 4 || !text.contains(host.trim()));
    assert!(Path::new(&read.command[0]).components().count() == 1);
}
