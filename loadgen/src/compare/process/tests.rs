use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Child, ProcessError};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(50);

fn shell(script: &str) -> Child {
    shell_on(script, &[])
}

fn shell_on(script: &str, cores: &[usize]) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Child::start("part", command, cores).unwrap()
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_process_tells_when_it_is_ready() {
    let mut child = shell("echo starting; echo 'listening http://127.0.0.1:1'; echo 'admin http://127.0.0.1:2'; cat");
    assert_eq!(child.line("listening ", LONG).unwrap(), "http://127.0.0.1:1");
    assert_eq!(child.line("admin ", LONG).unwrap(), "http://127.0.0.1:2");
    let mut asked = 0;
    child
        .until("three questions", LONG, || {
            asked += 1;
            3 <= asked
        })
        .unwrap();
    assert_eq!(asked, 3);
}

#[test]
fn one_that_ends_first_is_an_error_with_its_last_words() {
    let mut child = shell("echo 'the file `x` is missing' >&2; exit 3");
    let error = child.line("listening ", LONG).unwrap_err();
    assert!(matches!(error, ProcessError::Ended { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.starts_with("`part` has ended before its time (exit status: 3)"),
        "{text}"
    );

    let mut child = shell("exit 4");
    let error = child.until("an answer", LONG, || false).unwrap_err();
    assert!(matches!(error, ProcessError::Ended { .. }), "{error:?}");
}

#[test]
fn one_that_never_gets_ready_is_an_error_and_is_gone_afterwards() {
    let mut child = shell("echo 'waiting for keys' >&2; cat");
    let pid = child.id();
    let error = child.line("listening ", SHORT).unwrap_err();
    assert!(matches!(error, ProcessError::NotReady { .. }), "{error:?}");
    assert!(error.to_string().contains("it has not said `listening`"), "{error}");
    let error = child.until("no answer to /readyz", SHORT, || false).unwrap_err();
    assert!(error.to_string().contains("no answer to /readyz"), "{error}");
    assert!(is_alive(pid));
    drop(child);
    assert!(!is_alive(pid));
}

#[test]
fn what_ignores_the_end_of_its_input_ends_by_signal() {
    let mut child = shell("echo ready; exec sleep 600");
    child.line("ready", LONG).unwrap();
    let pid = child.id();
    drop(child);
    assert!(!is_alive(pid));
}

#[test]
fn the_last_lines_of_standard_error_are_kept() {
    let mut child = shell("for i in $(seq 1 50); do echo line $i >&2; done; echo done; cat");
    child.line("done", LONG).unwrap();
    // Both streams have readers of their own: wait for the last line.
    let errors = std::sync::Arc::clone(&child.errors);
    let last = || errors.lock().unwrap().back().map(String::as_str) == Some("line 50");
    child.until("the last line", LONG, last).unwrap();
    let kept = child.errors();
    assert_eq!(kept.len(), 20);
    assert_eq!(kept.first().map(String::as_str), Some("line 31"));
}

#[test]
fn a_process_is_bound_from_its_start() {
    let allowed = std::fs::read_to_string("/proc/self/status").unwrap();
    let first = allowed
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap();
    let first: usize = first.trim().split(['-', ',']).next().unwrap().parse().unwrap();
    let mut child = shell_on("grep Cpus_allowed_list /proc/self/status", &[first]);
    assert_eq!(child.line("Cpus_allowed_list:", LONG).unwrap(), first.to_string());
}

#[test]
fn what_is_not_there_cannot_be_started() {
    if std::env::var_os("PORTCULLIS_TEST_RUNNER").is_some() {
        // Under qemu's user emulation a process has started before its program is looked for.
        return;
    }
    let started = Child::start("gate", Command::new("/nowhere/portcullis"), &[]);
    let error = started.unwrap_err();
    assert!(matches!(error, ProcessError::Start(..)), "{error:?}");
    assert!(error.to_string().starts_with("cannot start `gate`: "), "{error}");
}
