//! One thread of a load: its dispatcher, its connections, its clock.
//!
//! Owns the queue between them. Everything of a thread runs on that thread, so nothing here is locked.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet, yield_now};
use tokio::time::{sleep, sleep_until, timeout};

use super::recorder::{End, Job, Recorder};
use super::{Arrivals, EngineError, LEAD, LOOK, Part, Plan, Shared, Taken, is_interrupted, second_end};
use crate::connect::{Connection, ExchangeError, HttpVersion};
use crate::pace::Pacer;
use crate::schedule::Schedule;

/// Calls taken up without letting the connections work in between, when the thread is behind.
const DISPATCHED_AT_ONCE: u32 = 16;
/// How long a connection rests that could not be opened.
const REST: Duration = Duration::from_millis(10);
/// How much longer than an answer's time limit the load waits for its last answers.
const DRAIN_SLACK: Duration = Duration::from_secs(1);

/// A thread that is ready: its runtime, which carries its connections.
struct Ready {
    runtime: Runtime,
    connections: Vec<Connection>,
}

/// What the tasks of one thread share.
struct Local {
    shared: Arc<Shared>,
    threads: usize,
    start: Instant,
    queue: RefCell<VecDeque<Job>>,
    arrived: Notify,
    idle: Cell<usize>,
    is_over: Cell<bool>,
    next: Cell<u64>,
    recorder: RefCell<Recorder>,
}

/// Where the workers of one HTTP/2 connection find it.
struct Slot {
    open: RefCell<Option<Connection>>,
    opening: tokio::sync::Mutex<()>,
}

/// Runs the part of thread `index` of `threads`; blocks until it is done.
pub(super) fn work(
    shared: &Arc<Shared>,
    index: usize,
    threads: usize,
    parts: &Sender<Part>,
) -> Result<Taken, EngineError> {
    let prepared = prepare(&shared.plan, index, threads);
    if prepared.is_err() {
        shared.failed.store(true, Ordering::SeqCst);
    }
    // Every thread reaches the barrier, or the others would wait forever.
    shared.ready.wait();
    let Ready { runtime, connections } = prepared?;
    if shared.failed.load(Ordering::SeqCst) {
        return Ok(Taken::default());
    }
    let start = *shared.begun.get_or_init(Instant::now) + LEAD;
    let is_open = matches!(shared.plan.arrivals, Arrivals::Open(_));
    let mut recorder = Recorder::new(is_open, start + shared.plan.warm_up, shared.plan.late_after);
    connections.iter().for_each(|_| recorder.opened());
    let local = Rc::new(Local {
        shared: Arc::clone(shared),
        threads,
        start,
        queue: RefCell::default(),
        arrived: Notify::new(),
        idle: Cell::new(0),
        is_over: Cell::new(false),
        next: Cell::new(index as u64),
        recorder: RefCell::new(recorder),
    });
    let tasks = LocalSet::new();
    runtime.block_on(tasks.run_until(drive(Rc::clone(&local), connections, parts)))?;
    drop(tasks);
    match Rc::try_unwrap(local) {
        Ok(local) => Ok(local.recorder.into_inner().finish()),
        // All tasks have ended with their set.
        Err(_) => Err(EngineError::Panicked),
    }
}

/// Binds the thread to its processor, makes its runtime and opens its connections.
fn prepare(plan: &Plan, index: usize, threads: usize) -> Result<Ready, EngineError> {
    if let Some(core) = plan.cores.get(index % plan.cores.len().max(1)) {
        let mut set = CpuSet::new();
        set.set(*core);
        sched_setaffinity(None, &set).map_err(io::Error::from)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let failed = |error| EngineError::Connect(plan.endpoint.shown(), error);
    let mut connections = Vec::new();
    for _ in (index..plan.connections.max(threads)).step_by(threads) {
        let opened = runtime.block_on(async { timeout(plan.timeout, Connection::open(&plan.endpoint)).await });
        let opened = opened.unwrap_or_else(|_| Err(ExchangeError::Connect(io::ErrorKind::TimedOut.into())));
        connections.push(opened.map_err(failed)?);
    }
    Ok(Ready { runtime, connections })
}

/// Runs every task of the thread to its end.
async fn drive(local: Rc<Local>, connections: Vec<Connection>, parts: &Sender<Part>) -> Result<(), EngineError> {
    let mut workers = JoinSet::new();
    for connection in connections {
        let streams = match local.shared.plan.endpoint.http() {
            HttpVersion::Http1 => 1,
            HttpVersion::Http2 => local.shared.plan.streams.max(1),
        };
        let slot = Rc::new(Slot {
            open: RefCell::new(None),
            opening: tokio::sync::Mutex::new(()),
        });
        for _ in 1..streams {
            workers.spawn_local(carry(Rc::clone(&local), Rc::clone(&slot), connection.share()));
        }
        *slot.open.borrow_mut() = connection.share();
        workers.spawn_local(carry(Rc::clone(&local), slot, Some(connection)));
    }
    let clock = tokio::task::spawn_local(tick(Rc::clone(&local), parts.clone()));
    let dispatched = match &local.shared.plan.arrivals {
        Arrivals::Open(schedule) => dispatch(&local, schedule).await,
        Arrivals::Closed { length } => {
            let over = sleep_until((local.start + *length).into());
            tokio::select! {
                () = over => {}
                () = interrupted() => {}
            }
            Ok(())
        }
    };
    local.recorder.borrow_mut().measured_ends(Instant::now());
    local.is_over.set(true);
    local.arrived.notify_waiters();
    let grace = local.shared.plan.timeout + DRAIN_SLACK;
    let mut panicked = false;
    let all = async {
        while let Some(ended) = workers.join_next().await {
            panicked |= ended.is_err_and(|error| error.is_panic());
        }
    };
    // What is still out after that is abandoned below.
    let _ = timeout(grace, all).await;
    workers.shutdown().await;
    abandon(&local);
    clock.abort();
    let _ = clock.await;
    // The last second is told even when it was not a whole one; nobody listens when the load has failed.
    let _ = parts.send(local.recorder.borrow_mut().second_over());
    match panicked {
        true => Err(EngineError::Panicked),
        false => Ok(dispatched?),
    }
}

/// Takes up each call when it is due, whatever became of the calls before it.
async fn dispatch(local: &Local, schedule: &Schedule) -> io::Result<()> {
    let pacer = Pacer::new()?;
    let mut at_once = 0;
    while let Some(due) = schedule.due(local.next.get()) {
        if is_interrupted() {
            break;
        }
        let intended = local.start + due;
        if intended <= Instant::now() {
            at_once += 1;
        } else {
            at_once = 0;
            pacer.until(intended).await?;
        }
        if DISPATCHED_AT_ONCE < at_once {
            at_once = 0;
            yield_now().await;
        }
        let job = local.take_number(intended);
        let waits = local.idle.get() <= local.queue.borrow().len();
        local.recorder.borrow_mut().dispatched(job, Instant::now(), waits);
        local.queue.borrow_mut().push_back(job);
        local.arrived.notify_one();
    }
    // The measured part lasts as long as it was planned, also when its last call was due earlier.
    let over = pacer.until(local.start + schedule.length());
    tokio::select! {
        waited = over => waited,
        () = interrupted() => Ok(()),
    }
}

/// Waits until the load is interrupted.
async fn interrupted() {
    while !is_interrupted() {
        sleep(LOOK).await;
    }
}

/// One worker: carries one call at a time.
async fn carry(local: Rc<Local>, slot: Rc<Slot>, mut connection: Option<Connection>) {
    while let Some(job) = local.job().await {
        exchange(&local, &slot, &mut connection, job).await;
    }
}

/// Sends a call and takes down how it ended.
async fn exchange(local: &Local, slot: &Slot, connection: &mut Option<Connection>, job: Job) {
    let under_way = UnderWay {
        local,
        job: Cell::new(Some(job)),
        sent: Cell::new(None),
    };
    let plan = &local.shared.plan;
    let call = local.shared.calls.prepare(job.number + plan.first_call);
    let answered = timeout(plan.timeout, async {
        let mut open = match connection.take().filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => slot.open(local).await?,
        };
        under_way.sent.set(Some(Instant::now()));
        let answer = open.post(&plan.endpoint, call.headers, call.body).await?;
        *connection = Some(open);
        Ok::<_, ExchangeError>(answer)
    })
    .await;
    let (finished, end) = match answered {
        Ok(Ok(answer)) => {
            let outcome = local.shared.calls.judge(call.expected, &answer);
            (answer.finished, End::Answered(answer.status, outcome))
        }
        Ok(Err(_)) => (Instant::now(), End::Broken),
        Err(_) => (Instant::now(), End::TimedOut),
    };
    under_way.job.set(None);
    local
        .recorder
        .borrow_mut()
        .ended(job, under_way.sent.get(), finished, end);
    if matches!(end, End::Broken) {
        // In a closed loop a dead target would be asked as fast as it refuses.
        sleep(REST).await;
    }
}

/// A call that is under way; given up when its worker is.
struct UnderWay<'l> {
    local: &'l Local,
    job: Cell<Option<Job>>,
    sent: Cell<Option<Instant>>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            let mut recorder = self.local.recorder.borrow_mut();
            recorder.abandoned(job, self.sent.get(), Instant::now());
        }
    }
}

/// Tells every second what it held, and the recorder when the measured part begins.
async fn tick(local: Rc<Local>, parts: Sender<Part>) {
    let warm_up = local.shared.plan.warm_up;
    if warm_up.is_zero() {
        local.recorder.borrow_mut().measured_begins(local.start);
    }
    for index in 0.. {
        let end = second_end(warm_up, index);
        sleep_until((local.start + end).into()).await;
        let mut recorder = local.recorder.borrow_mut();
        if end == warm_up {
            recorder.measured_begins(Instant::now());
        }
        if parts.send(recorder.second_over()).is_err() {
            return;
        }
    }
}

/// Takes down what was due and never sent.
fn abandon(local: &Local) {
    let now = Instant::now();
    let mut recorder = local.recorder.borrow_mut();
    for job in local.queue.borrow_mut().drain(..) {
        recorder.abandoned(job, None, now);
    }
}

impl Local {
    /// The next call of this thread: numbers are dealt to the threads in turn.
    fn take_number(&self, intended: Instant) -> Job {
        let number = self.next.get();
        self.next.set(number + self.threads as u64);
        Job { number, intended }
    }

    /// The next call for a worker that is free; none when the load is over.
    async fn job(&self) -> Option<Job> {
        if matches!(self.shared.plan.arrivals, Arrivals::Closed { .. }) {
            if self.is_over.get() {
                return None;
            }
            let now = Instant::now();
            let job = self.take_number(now);
            self.recorder.borrow_mut().dispatched(job, now, false);
            return Some(job);
        }
        loop {
            if let Some(job) = self.queue.borrow_mut().pop_front() {
                return Some(job);
            }
            if self.is_over.get() {
                return None;
            }
            self.idle.set(self.idle.get() + 1);
            self.arrived.notified().await;
            self.idle.set(self.idle.get().saturating_sub(1));
        }
    }
}

impl Slot {
    /// A connection: the shared one while it lives, else a new one.
    async fn open(&self, local: &Local) -> Result<Connection, ExchangeError> {
        let _opening = self.opening.lock().await;
        let living = self
            .open
            .borrow()
            .as_ref()
            .filter(|open| !open.is_closed())
            .and_then(Connection::share);
        if let Some(connection) = living {
            return Ok(connection);
        }
        let connection = Connection::open(&local.shared.plan.endpoint).await?;
        local.recorder.borrow_mut().opened();
        *self.open.borrow_mut() = connection.share();
        Ok(connection)
    }
}
