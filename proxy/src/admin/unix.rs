//! The Unix socket of the control plane: for the gate's own user and root alone, who the system says they are.
//!
//! Owns the socket's file, of mode 0600 before anybody can connect, and the accept loop: Pingora's own tells nobody who
//! the peer is. Takes the place of a socket that nobody listens to any more, never of another file.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use portcullis_core::denial::DenyReason;
use portcullis_core::gate::Gate;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::control::Control;
use crate::service::Entrance;

/// Connections that wait for being accepted.
const BACKLOG: i32 = 64;
/// Connections that are served at once.
const CONNECTIONS_MAX: usize = 64;
/// The pause after an accept that failed, as when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The control plane under Pingora's server, on a socket that listens already.
pub(crate) struct UnixControl {
    gate: Arc<Gate>,
    control: Control,
    listener: Option<StdListener>,
}

impl UnixControl {
    /// The control plane on this socket.
    pub(crate) const fn new(gate: Arc<Gate>, control: Control, listener: StdListener) -> Self {
        Self {
            gate,
            control,
            listener: Some(listener),
        }
    }

    /// Serves one connection, whose user must be ours or root.
    async fn serve(gate: Arc<Gate>, control: Control, stream: UnixStream, shutdown: ShutdownWatch) {
        let uid = stream.peer_cred().map(|peer| peer.uid());
        let own = rustix::process::geteuid().as_raw();
        let uid = match uid {
            Ok(uid) if uid == own || uid == 0 => uid,
            Ok(_) | Err(_) => return gate.count_control_refusal(DenyReason::CredentialMissing, None),
        };
        let app = Arc::new(Entrance {
            gate,
            app: Arc::new(control.of_user(uid)),
        });
        let stream: Stream = Box::new(L4Stream::from(stream));
        let mut next = app.process_new(stream, &shutdown).await;
        while let Some(stream) = next {
            next = app.process_new(stream, &shutdown).await;
        }
    }
}

#[async_trait]
impl Service for UnixControl {
    async fn start_service(&mut self, _fds: Option<ListenFds>, mut shutdown: ShutdownWatch, _listeners_per_fd: usize) {
        let Some(listener) = self.listener.take() else {
            return;
        };
        let listener = match UnixListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the control plane does not listen"),
        };
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = shutdown.changed() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let served = Self::serve(Arc::clone(&self.gate), self.control.clone(), stream, shutdown.clone());
                    tokio::spawn(async move {
                        served.await;
                        drop(place);
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn name(&self) -> &'static str {
        "control"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

/// A listening socket at `path` that its owner alone can connect to.
///
/// # Errors
/// Whatever the system says; [`io::ErrorKind::AddrInUse`] when somebody listens there or another file has the name.
pub(crate) fn bind(path: &Path) -> io::Result<StdListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() && StdStream::connect(path).is_err() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::from(io::ErrorKind::AddrInUse)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Nobody can connect before it listens, and then its mode is right.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(StdListener::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_its_owners_and_takes_the_place_of_a_dead_one_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(StdStream::connect(&path).is_ok());
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(path.exists(), "the file outlives its socket");
        drop(bind(&path).unwrap());
        let other = folder.path().join("notes.txt");
        fs::write(&other, "mine").unwrap();
        assert_eq!(bind(&other).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
    }
}
