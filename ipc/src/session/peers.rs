//! Serving many peers at once, each in a thread of its own.

use std::io::{self, PipeWriter, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use libipc::session::{ServerOptions, Session, SessionError};
use libipc::{Listener, Stream};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Where;
use crate::log::{Complaints, tell};
use crate::report::Report;
use crate::signals::{Signal, Signals};

/// Peers at once; others wait to be accepted.
const PEERS_MOST: usize = 256;

/// What a peer's thread tells the main one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum After {
    /// Its peer has gone.
    Next,
    /// The command has done what it was for.
    Done,
}

/// Somewhere to serve, and the signals that end it.
pub(super) struct Service<'a> {
    name: &'a str,
    listener: Listener,
    signals: Signals,
}

impl<'a> Service<'a> {
    /// Listens. Whoever can connect can also end it in good order: signals come first.
    pub(super) fn open(at: &'a Where) -> Result<Self, Report> {
        let name = &at.address;
        let signals = Signals::new().map_err(|error| Report::system(name, error))?;
        Ok(Self { name, listener: at.listen()?, signals })
    }
}

/// Serves every peer with `serve` until a signal comes or one says that it is done. Once another
/// process has the name, those who have come are served to their end.
///
/// A peer that is silent, refused, or breaks the rules ends its own session, and is named in a
/// line on standard error.
pub(super) fn serve(
    service: Service<'_>,
    options: ServerOptions,
    serve: impl Fn(&mut Session, &str) -> Result<After, SessionError> + Send + Sync + 'static,
) -> Result<ExitCode, Report> {
    let Service { name, listener, mut signals } = service;
    let system = |error| Report::system(name, error);
    let (mut ended, tells) = io::pipe().map_err(system)?;
    let serve = Arc::new((options, serve, Complaints::default()));
    let (mut count, mut now, mut is_replaced) = (0_u64, 0_usize, false);
    loop {
        if is_replaced && now == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        let takes = |now| now < PEERS_MOST && !is_replaced;
        let wanted = if takes(now) { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut sources = [
            PollFd::new(listener.as_fd(), wanted),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(ended.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut sources, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(system(error.into())),
        }
        let [_, _, has_ended] = sources.map(|source| source.any().unwrap_or(false));
        if std::iter::from_fn(|| signals.read()).any(|signal| signal == Signal::Stop) {
            return Ok(ExitCode::SUCCESS);
        }
        if has_ended {
            let mut after = [0];
            io::Read::read_exact(&mut ended, &mut after).map_err(system)?;
            now -= 1;
            if after == [DONE] {
                return Ok(ExitCode::SUCCESS);
            }
        }
        if !takes(now) {
            continue;
        }
        // First what a peer needs here: one that is taken is served.
        let begun = tells.try_clone().and_then(|pipe| {
            let Some(stream) = listener.try_accept()? else { return Ok(()) };
            count += 1;
            // Whatever becomes of it, its end is told.
            now += 1;
            begin(stream, format!("peer-{count}"), pipe, &serve)
        });
        match begun {
            Ok(()) => {}
            // No client is worth ending the service for.
            Err(error) => {
                is_replaced = error.kind() == io::ErrorKind::AddrInUse;
                tell(&Report::system(name, error));
                if !is_replaced {
                    rest(&signals);
                }
            }
        }
    }
}

/// Serves one peer in a thread of its own.
fn begin<S>(
    stream: Stream,
    peer: String,
    pipe: PipeWriter,
    serve: &Arc<(ServerOptions, S, Complaints)>,
) -> io::Result<()>
where
    S: Fn(&mut Session, &str) -> Result<After, SessionError> + Send + Sync + 'static,
{
    let teller = Teller { pipe, after: After::Next };
    let serve = Arc::clone(serve);
    let work = move || {
        let mut teller = teller;
        let (options, serve, complaints) = &*serve;
        match Session::accept(stream, options, &peer)
            .and_then(|mut session| serve(&mut session, &peer))
        {
            Ok(after) => teller.after = after,
            Err(error) if is_farewell(&error) => {}
            Err(error) => complaints.say(&peer, &error),
        }
    };
    thread::Builder::new().spawn(work).map(drop)
}

/// Waits a moment, or for a signal: a system without descriptors has none at once either.
fn rest(signals: &Signals) {
    let mut source = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    let _interrupted = poll(&mut source, REST_MS).is_err();
}

const REST_MS: u8 = 100;

/// The byte that stands for [`After::Done`].
const DONE: u8 = 1;

/// Tells the main thread when a peer's thread ends, however it ends.
struct Teller {
    pipe: PipeWriter,
    after: After,
}

impl Drop for Teller {
    fn drop(&mut self) {
        let byte = if self.after == After::Done { DONE } else { 0 };
        // Where nobody listens any more the process is about to end.
        let _unheard = self.pipe.write_all(&[byte]).is_err();
    }
}

/// A peer that goes, with a word or without, is nothing to tell.
fn is_farewell(error: &SessionError) -> bool {
    use libipc::ConnectionError::Ended;
    matches!(error, SessionError::ShutDown { .. } | SessionError::Connection(Ended))
}
