//! A child process whose lines can be awaited, for parts that are no Rust.
//!
//! Owns its life: it is killed when the value goes, and its standard input stays open just as long, so that a script
//! that ends with its input never outlives a killed test. Every wait has a deadline; nothing sleeps.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A running part.
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    /// Starts `command`; lines of both its outputs are kept.
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let (sender, lines) = channel();
        read_lines(child.stdout.take().unwrap(), sender.clone());
        read_lines(child.stderr.take().unwrap(), sender);
        Self {
            name: name.to_owned(),
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Writes a line to its standard input.
    pub(crate) fn say(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
        input.flush().unwrap();
    }

    /// Sends it the signal of that name.
    pub(crate) fn signal(&self, name: &str) {
        crate::gate::signal(&self.child, name);
    }

    /// The lines awaited so far.
    pub(crate) fn seen(&self) -> &[String] {
        &self.seen
    }

    /// Waits for the line in which `find` finds something.
    pub(crate) fn await_line<T>(&mut self, within: Duration, find: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + within;
        while let Some(line) = self.next_line(deadline) {
            let found = find(&line);
            self.seen.push(line);
            if let Some(found) = found {
                return found;
            }
        }
        panic!(
            "{} ended without the awaited line:\n{}",
            self.name,
            self.seen.join("\n")
        );
    }

    /// Waits for the end; gives whether it ended well, and all that it wrote.
    pub(crate) fn finish(mut self, within: Duration) -> (bool, Vec<String>) {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + within;
        while let Some(line) = self.next_line(deadline) {
            self.seen.push(line);
        }
        let status = self.child.wait().unwrap();
        (status.success(), std::mem::take(&mut self.seen))
    }

    /// The next line, or `None` once both outputs are closed.
    fn next_line(&self, deadline: Instant) -> Option<String> {
        match self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("{} takes too long:\n{}", self.name, self.seen.join("\n")),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A part that ended by itself cannot be killed, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends the lines of one output until it closes.
fn read_lines(output: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
}
