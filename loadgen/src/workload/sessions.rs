//! Sessions of the legacy era: opened before the load, closed behind it.
//!
//! Owns the handshake (`initialize`, `notifications/initialized`, DELETE; MCP 2025-11-25, lifecycle and transports).
//! A session belongs to one subject and is opened with that subject's token. Nothing here is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{HeaderMap, Method};
use portcullis_fixtures::calls::{Era, LEGACY_VERSION};
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::template::{SESSION_ID, fields};
use super::{Workload, answer};
use crate::connect::{Answer, Connection, Endpoint, ExchangeError};

/// Characters of a session id at most: beyond it, no id is kept.
const SESSION_ID_MAX: usize = 1_024;
/// The id of `initialize`; calls of the load begin at 1.
const INITIALIZE_ID: u64 = 0;
/// How long a handshake, or the end of a session, is awaited.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Why sessions could not be opened.
#[derive(Debug, Error)]
pub enum SessionError {
    /// No answer came.
    #[error("no session could be opened: {0}")]
    Exchange(#[from] ExchangeError),
    /// The target refused the handshake.
    #[error("the target answered {step} of subject {place} with {status} and no session was opened")]
    Refused {
        /// `initialize` or `notifications/initialized`.
        step: &'static str,
        /// Whose session, by its place in the pool.
        place: usize,
        /// The status of the answer; 200 when its message was none or an error.
        status: u16,
    },
    /// A task ended by itself.
    #[error("a task of the handshake broke off")]
    Broken,
}

/// One session to open or close.
struct Job {
    place: usize,
    token: Option<HeaderValue>,
    session: Option<HeaderValue>,
}

impl Workload {
    /// Opens a session for each subject that calls in the legacy era, over `parallel` connections, and keeps the ids
    /// for the calls to come. Gives the number of ids: a target without sessions names none. Does nothing when all
    /// calls are modern. To be called within a tokio runtime.
    ///
    /// # Errors
    /// [`SessionError`] at the first handshake that fails.
    pub async fn open_sessions(&self, endpoint: &Endpoint, parallel: usize) -> Result<usize, SessionError> {
        let jobs = (0..self.legacy_subjects()).map(|place| Job {
            place,
            token: self.token(place),
            session: None,
        });
        let mut opened = vec![None; self.legacy_subjects()];
        for (place, session) in in_parallel(endpoint, jobs.collect(), parallel, Step::Open).await? {
            if let Some(kept) = opened.get_mut(place) {
                *kept = session;
            }
        }
        let count = opened.iter().flatten().count();
        self.set_sessions(opened);
        Ok(count)
    }

    /// Closes the sessions and forgets them. Gives the number that the target says it ended; it may refuse.
    pub async fn close_sessions(&self, endpoint: &Endpoint, parallel: usize) -> usize {
        let open = self.set_sessions(Vec::new());
        let jobs = open.iter().enumerate().filter_map(|(place, session)| {
            Some(Job {
                place,
                token: self.token(place),
                session: Some(session.clone()?),
            })
        });
        let closed = in_parallel(endpoint, jobs.collect(), parallel, Step::Close).await;
        closed.map_or(0, |ended| ended.iter().filter(|(_, kept)| kept.is_none()).count())
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Close,
    Open,
}

/// Does all jobs over that many connections. Each gives its place and the session that is open afterwards.
async fn in_parallel(
    endpoint: &Endpoint,
    jobs: Vec<Job>,
    parallel: usize,
    step: Step,
) -> Result<Vec<(usize, Option<HeaderValue>)>, SessionError> {
    let workers = parallel.clamp(1, jobs.len().max(1));
    let jobs = Arc::new(jobs);
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let (jobs, next, endpoint) = (Arc::clone(&jobs), Arc::clone(&next), endpoint.clone());
        tasks.spawn(async move {
            let mut done = Vec::new();
            let mut connection = None;
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let handshake = timeout(HANDSHAKE_DEADLINE, async {
                    let mut usable = match connection.take() {
                        Some(usable) => usable,
                        None => Connection::open(&endpoint).await?,
                    };
                    let session = match step {
                        Step::Close => close(&mut usable, &endpoint, job).await?,
                        Step::Open => open(&mut usable, &endpoint, job).await?,
                    };
                    Ok::<_, SessionError>((usable, session))
                });
                let late = |_| Err(ExchangeError::Connect(std::io::ErrorKind::TimedOut.into()).into());
                let (usable, session) = handshake.await.unwrap_or_else(late)?;
                done.push((job.place, session));
                // A target may end a connection after any answer.
                connection = Some(usable).filter(|usable| !usable.is_closed());
            }
            Ok::<_, SessionError>(done)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.extend(done.map_err(|_| SessionError::Broken)??);
    }
    Ok(all)
}

async fn open(
    connection: &mut Connection,
    endpoint: &Endpoint,
    job: &Job,
) -> Result<Option<HeaderValue>, SessionError> {
    let refused = |step, answer: &Answer| SessionError::Refused {
        step,
        place: job.place,
        status: answer.status,
    };
    let body = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{INITIALIZE_ID},\"method\":\"initialize\",\"params\":{{\
         \"protocolVersion\":\"{LEGACY_VERSION}\",\"capabilities\":{{}},\
         \"clientInfo\":{{\"name\":\"loadgen\",\"version\":\"0\"}}}}}}"
    );
    let answer = connection
        .post(endpoint, job.headers("initialize"), Bytes::from(body))
        .await?;
    if !answer::is_result(INITIALIZE_ID, &answer) {
        return Err(refused("initialize", &answer));
    }
    let session = session_of(&answer);
    let mut headers = job.headers("notifications/initialized");
    if let Some(session) = &session {
        headers.insert(SESSION_ID, session.clone());
    }
    let body = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let answer = connection.post(endpoint, headers, body).await?;
    match answer.status {
        200..=299 => Ok(session),
        _ => Err(refused("notifications/initialized", &answer)),
    }
}

/// The session that is still open afterwards: none when the target ended it.
async fn close(
    connection: &mut Connection,
    endpoint: &Endpoint,
    job: &Job,
) -> Result<Option<HeaderValue>, SessionError> {
    let answer = connection.bare(endpoint, Method::DELETE, job.headers("")).await?;
    Ok(match answer.status {
        200..=299 => None,
        _ => job.session.clone(),
    })
}

impl Job {
    fn headers(&self, method: &'static str) -> HeaderMap {
        let mut headers = fields(Era::Legacy, method, None);
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        if let Some(session) = &self.session {
            headers.insert(SESSION_ID, session.clone());
        }
        headers
    }
}

/// The session id of an answer, when it is one: visible ASCII, within bounds.
fn session_of(answer: &Answer) -> Option<HeaderValue> {
    let mut session = answer.headers.get(&SESSION_ID)?.clone();
    let visible = session.as_bytes().iter().all(u8::is_ascii_graphic);
    session.set_sensitive(true);
    Some(session).filter(|session| visible && (1..=SESSION_ID_MAX).contains(&session.len()))
}
