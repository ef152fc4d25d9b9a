//! The binary under test.

use std::ffi::OsStr;
use std::process::{Command, Output};

use serde_json::Value;

/// A command that runs the binary; on a foreign architecture through the runner that `PORTCULLIS_TEST_RUNNER` names.
pub(crate) fn program() -> Command {
    let binary = env!("CARGO_BIN_EXE_portcullis-loadgen");
    let runner = std::env::var("PORTCULLIS_TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    match words.next() {
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(binary);
            command
        }
        None => Command::new(binary),
    }
}

/// Lets a run pass whose generator is late, as it is where many tests share two cores.
pub(crate) const UNHURRIED: [&str; 2] = ["--late-after", "1h"];

/// Runs the binary to its end.
pub(crate) fn output(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    program().args(arguments).output().unwrap()
}

/// Runs the binary and holds its exit status against `status`; what it printed on stdout and stderr.
pub(crate) fn ends_with(status: i32, arguments: &[&str]) -> (String, String) {
    let output = output(arguments);
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{out}\n{err}");
    (out, err)
}

/// Runs the binary with `--format json --quiet`; its report.
pub(crate) fn report(status: i32, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--format", "json", "--quiet"]].concat();
    let (out, err) = ends_with(status, &arguments);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}\n{out}\n{err}"))
}

/// A number of a report, by JSON Pointer.
pub(crate) fn number(report: &Value, pointer: &str) -> f64 {
    let number = report.pointer(pointer).and_then(Value::as_f64);
    number.unwrap_or_else(|| panic!("`{pointer}` is no number in {report:#}"))
}

/// A text of a report, by JSON Pointer.
pub(crate) fn text<'r>(report: &'r Value, pointer: &str) -> &'r str {
    let text = report.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_else(|| panic!("`{pointer}` is no text in {report:#}"))
}
