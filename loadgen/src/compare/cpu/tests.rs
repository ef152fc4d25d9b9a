use std::time::{Duration, Instant};

use super::{CpuError, CpuSource, CpuTimes, Split, ran_in, resident_bytes_in, split_in};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const REST: &str = "26966 5739 0 -1 4194304 103 0 0 0 250 75 0 0 20 0 1 0 1427442 3133440 425 18446744073709551615";

#[test]
fn stat_is_read_behind_the_last_parenthesis() {
    let right = Some(Split {
        user: ms(2_500),
        kernel: ms(750),
    });
    let cases = [
        (format!("26969 (portcullis) S 26966 {REST}"), right),
        (format!("26969 (a b) S 26966 {REST}"), right),
        (format!("26969 (worker) S (1) R 7) S 26966 {REST}"), right),
        (
            format!("26969 (tmux: 1 2 3 4 5 6 7 8 9 10 11 12 13) S 26966 {REST}"),
            right,
        ),
        // No name, too few fields, no numbers.
        (format!("26969 portcullis S 26966 {REST}"), None),
        ("26969 (portcullis) S 26966 1 2 3".to_owned(), None),
        (
            format!("26969 (portcullis) S 26966 {}", REST.replace("250", "much")),
            None,
        ),
        (String::new(), None),
    ];
    for (text, expected) in cases {
        assert_eq!(split_in(&text, 100), expected, "{text}");
    }
}

#[test]
fn ticks_are_counted_in_the_kernels_own_unit() {
    let stat = format!("1 (init) S 0 {REST}");
    let split = split_in(&stat, 250).unwrap();
    assert_eq!((split.user, split.kernel), (ms(1_000), ms(300)));
}

#[test]
fn schedstat_gives_nanoseconds() {
    assert_eq!(
        ran_in("227623591 467521697 80\n"),
        Some(Duration::from_nanos(227_623_591))
    );
    assert_eq!(ran_in(""), None);
    assert_eq!(ran_in("much 1 2"), None);
}

#[test]
fn resident_memory_stands_in_kibibytes() {
    let status = "Name:\tportcullis\nVmHWM:\t   41000 kB\nVmRSS:\t   40960 kB\nThreads:\t7\n";
    assert_eq!(resident_bytes_in(status), Some(40_960 * 1_024));
    assert_eq!(
        resident_bytes_in("Name:\tkthreadd\n"),
        None,
        "a kernel thread has no memory"
    );
    assert_eq!(resident_bytes_in("VmRSS:\t 40960 MB\n"), None);
}

#[test]
fn the_finer_count_wins_unless_a_thread_took_its_own_away() {
    let times = |user, kernel, total| CpuTimes {
        split: Some(Split {
            user: ms(user),
            kernel: ms(kernel),
        }),
        total: ms(total),
    };
    let before = times(1_000, 500, 1_507);
    let used = times(1_200, 700, 1_911).since(&before);
    assert_eq!((used.total, used.user_share), (ms(404), Some(0.5)));
    // A thread with 300 ms has ended meanwhile.
    let used = times(1_300, 600, 1_611).since(&before);
    assert_eq!(used.total, ms(400));
    // Nothing was used: there is no share of nothing.
    let used = before.since(&before);
    assert_eq!((used.total, used.user_share), (Duration::ZERO, None));
}

#[test]
fn a_busy_process_is_seen_to_use_time() {
    let pid = std::process::id();
    let before = CpuTimes::read(pid).unwrap();
    let begun = Instant::now();
    let mut used = Duration::ZERO;
    // Until the kernel has seen it, however busy the machine is.
    while used < ms(30) && begun.elapsed() < Duration::from_secs(60) {
        used = CpuTimes::read(pid).unwrap().since(&before).total;
    }
    assert!(ms(30) <= used, "{used:?}");
    assert!(0 < CpuSource::Process(pid).resident_bytes().unwrap());
}

#[test]
fn no_such_process_is_an_error_and_nowhere_is_none() {
    // Above the largest id that the kernel gives.
    let gone = CpuTimes::read(u32::MAX);
    assert!(matches!(gone, Err(CpuError::Process(u32::MAX, _))), "{gone:?}");
    assert_eq!(CpuSource::Process(u32::MAX).resident_bytes(), None);
    assert_eq!(CpuSource::Nowhere.read().unwrap(), None);
    assert_eq!(CpuSource::Nowhere.resident_bytes(), None);
}
