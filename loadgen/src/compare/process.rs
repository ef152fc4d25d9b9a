//! Processes that a comparison starts, and their end.
//!
//! Owns [`Child`]: started on chosen processors, read until it says that it is ready, told to end by SIGTERM and then
//! SIGKILL when it is dropped. Nothing that was started here outlives its owner, unless that one is
//! killed itself, or told to end a second time before it has.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use thiserror::Error;

/// How long a process may take from SIGTERM to its end.
const END_DEADLINE: Duration = Duration::from_secs(5);
/// How often it is looked whether it has ended, or is ready.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Lines of standard output that wait to be read; further ones are dropped.
const LINES_WAITING: usize = 64;
/// Lines of standard error that are kept for messages.
const LINES_KEPT: usize = 20;
/// Bytes of a line that are kept.
const LINE_BYTES_MAX: u64 = 4_096;

/// Why a process is of no use.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// It ended before it was ready, or before the comparison was done.
    #[error("`{name}` has ended before its time ({status}){}", told(.lines))]
    Ended {
        /// The process.
        name: String,
        /// How it ended.
        status: String,
        /// The last lines of its standard error.
        lines: Vec<String>,
    },
    /// It did not get ready in time.
    #[error("`{name}` is not ready after {} s: {missing}{}", .waited.as_secs_f64(), told(.lines))]
    NotReady {
        /// The process.
        name: String,
        /// How long it was given.
        waited: Duration,
        /// What was missing.
        missing: String,
        /// The last lines of its standard error.
        lines: Vec<String>,
    },
    /// The system does not start it.
    #[error("cannot start `{0}`: {1}")]
    Start(String, io::Error),
}

/// A process that was started here; dropping it ends it.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    /// Open as long as the process is wanted: some end when it closes.
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Arc<Mutex<VecDeque<String>>>,
    /// Reads its standard error.
    reader: Option<JoinHandle<()>>,
}

impl Child {
    /// Starts `command` under the name `name`, bound to `cores` from its first instruction; none leaves it free.
    ///
    /// # Errors
    /// [`ProcessError::Start`] when the system refuses, or has no such processor.
    pub fn start(name: &str, mut command: Command, cores: &[usize]) -> Result<Self, ProcessError> {
        let failed = |error| ProcessError::Start(name.to_owned(), error);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A process inherits the binding of the thread that starts it, so a thread of its own is bound: the binding
        // then holds before the process has made its first thread, and this thread stays as it was.
        let spawned = thread::scope(|scope| {
            let starter = scope.spawn(|| {
                bind(cores)?;
                command.spawn()
            });
            starter.join()
        });
        let spawned = spawned.unwrap_or_else(|_| Err(io::Error::other("the starting thread panicked")));
        let mut process = spawned.map_err(failed)?;
        let errors = Arc::default();
        let (sender, lines) = mpsc::sync_channel(LINES_WAITING);
        if let Some(out) = process.stdout.take() {
            read_lines(out, move |line| {
                // Nobody may be waiting for lines any more; they are read all the same, so that the process goes on.
                let _ = sender.try_send(line);
            });
        }
        let reader = process.stderr.take().map(|err| keep_lines(err, &errors));
        Ok(Self {
            name: name.to_owned(),
            stdin: process.stdin.take(),
            process,
            lines,
            errors,
            reader,
        })
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for a line of its standard output that begins with `prefix`; gives what stands behind it.
    ///
    /// # Errors
    /// [`ProcessError`] when it ends before, or `deadline` passes.
    pub fn line(&mut self, prefix: &str, deadline: Duration) -> Result<String, ProcessError> {
        let begun = Instant::now();
        loop {
            match self.lines.recv_timeout(deadline.saturating_sub(begun.elapsed())) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(prefix) {
                        return Ok(rest.trim().to_owned());
                    }
                }
                // A process that closes its output and goes on is not one that gets ready.
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended_or_silent(prefix, begun.elapsed())),
                Err(RecvTimeoutError::Timeout) => return Err(self.not_ready(&missing_line(prefix), deadline)),
            }
        }
    }

    /// Asks `ready` again and again until it says yes.
    ///
    /// # Errors
    /// [`ProcessError`] when the process ends before, or `deadline` passes.
    pub fn until(
        &mut self,
        missing: &str,
        deadline: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<(), ProcessError> {
        let begun = Instant::now();
        while !ready() {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(self.ended(status));
            }
            if deadline < begun.elapsed() {
                return Err(self.not_ready(missing, deadline));
            }
            thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// Whether it is still there.
    ///
    /// # Errors
    /// [`ProcessError::Ended`] when it is not.
    pub fn check(&mut self) -> Result<(), ProcessError> {
        match self.process.try_wait() {
            Ok(Some(status)) => Err(self.ended(status)),
            _ => Ok(()),
        }
    }

    /// The last lines of its standard error.
    pub fn errors(&self) -> Vec<String> {
        let lines = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }

    fn ended_or_silent(&mut self, prefix: &str, waited: Duration) -> ProcessError {
        match self.end_within(END_DEADLINE) {
            Some(status) => self.ended(status),
            None => self.not_ready(&missing_line(prefix), waited),
        }
    }

    fn ended(&self, status: ExitStatus) -> ProcessError {
        // Its last words may still be on their way; a process of its own may keep the pipe open.
        let begun = Instant::now();
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) && begun.elapsed() < END_DEADLINE {
            thread::sleep(LOOK_INTERVAL);
        }
        ProcessError::Ended {
            name: self.name.clone(),
            status: status.to_string(),
            lines: self.errors(),
        }
    }

    fn not_ready(&self, missing: &str, waited: Duration) -> ProcessError {
        ProcessError::NotReady {
            name: self.name.clone(),
            waited,
            missing: missing.to_owned(),
            lines: self.errors(),
        }
    }

    fn end_within(&mut self, deadline: Duration) -> Option<ExitStatus> {
        let begun = Instant::now();
        loop {
            match self.process.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if begun.elapsed() < deadline => thread::sleep(LOOK_INTERVAL),
                _ => return None,
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // The process is not yet waited for, so its id still belongs to it.
        if let Ok(None) = self.process.try_wait() {
            let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        }
        if self.end_within(END_DEADLINE).is_none() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// Binds the calling thread to these processors; none leaves it as it is.
fn bind(cores: &[usize]) -> io::Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for core in cores.iter().filter(|core| **core < CpuSet::MAX_CPU) {
        set.set(*core);
    }
    Ok(sched_setaffinity(None, &set)?)
}

fn missing_line(prefix: &str) -> String {
    format!("it has not said `{}`", prefix.trim_end())
}

/// What standard error said, for a message.
fn told(lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    format!("; it said: {}", lines.join(" | "))
}

/// Reads lines to the end on a thread of their own, so that the process never waits for a reader.
fn read_lines(from: ChildStdout, take: impl FnMut(String) + Send + 'static) {
    each_line(from, take);
}

fn keep_lines(from: ChildStderr, kept: &Arc<Mutex<VecDeque<String>>>) -> JoinHandle<()> {
    let kept = Arc::clone(kept);
    each_line(from, move |line| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(line);
        if LINES_KEPT < kept.len() {
            kept.pop_front();
        }
    })
}

fn each_line(from: impl Read + Send + 'static, mut take: impl FnMut(String) + Send + 'static) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        loop {
            line.clear();
            match from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => take(String::from_utf8_lossy(&line).trim_end().to_owned()),
            }
        }
    })
}

#[cfg(test)]
mod tests;
