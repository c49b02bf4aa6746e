//! The loop's own limit, at the limit: nobody runs the loop, and nothing is waited for.

use std::io::Read;
use std::os::unix::net::UnixStream;

use libipc::environment::Environment;
use libipc::interface::transport::{Agreed, CLOSE};
use libipc::rundir::RunDirectory;
use libipc::varlink::CallFlags;

use super::*;
use crate::callers::CALLERS_MOST;
use crate::codec::{Opened, Outgoing};

/// Wraps nothing.
struct Nothing;

impl Codec for Nothing {
    fn open(
        &mut self,
        _: &mut [u8],
        _: &mut Vec<u8>,
        _: &mut Outgoing,
    ) -> Result<Opened, TransportError> {
        Ok(Opened::default())
    }

    fn is_open(&self) -> bool {
        false
    }

    fn seal(&mut self, _: &[u8], _: &mut [u8], _: &mut Outgoing) -> Result<(), TransportError> {
        Ok(())
    }

    fn finish(&mut self, _: &mut [u8], _: &mut Outgoing) {}

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Wrapping for Nothing {
    type Codec = Self;

    fn wrap(&mut self, _: &mut Wrap) -> Result<Make<Self>, TransportError> {
        Ok(Box::new(|| Ok(Self)))
    }

    fn serve(&mut self, _: &Serve) -> Result<(Make<Self>, Option<ServiceName>), TransportError> {
        Ok((Box::new(|| Ok(Self)), None))
    }

    fn scheme(&self) -> &'static str {
        "none"
    }

    fn reload(&mut self) {}

    fn drain_time(&self) -> Duration {
        Duration::ZERO
    }
}

#[test]
fn callers_of_a_wrapping_daemon_beyond_the_limit_wait_until_another_one_leaves() {
    daemon::descriptors::raise_limit().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("ipc");
    let run = RunDirectory::named(&place, &Environment::default());
    let server = Server::bind(&run, "none").unwrap();
    let signals = Signals::new().unwrap();
    let mut event_loop = EventLoop::new(Nothing, server, Vec::new(), signals).unwrap();
    let path = place.join("transport/none");
    let now = Instant::now();
    let connect = || {
        let caller = UnixStream::connect(&path).unwrap();
        caller.set_nonblocking(true).unwrap();
        caller
    };
    let is_wanted = |event_loop: &mut EventLoop<Nothing>| {
        let mut ready = Vec::new();
        event_loop.poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        ready.iter().any(|one| one.token == SERVER)
    };
    let mut callers = Vec::new();
    for _ in 0..4_096 {
        callers.push(connect());
        event_loop.accept_callers(now);
    }
    assert_eq!(event_loop.callers.len(), CALLERS_MOST);
    let mut late = connect();
    event_loop.accept_callers(now);
    assert_eq!(event_loop.callers.len(), CALLERS_MOST);
    let silence = late.read(&mut [0]).unwrap_err();
    assert_eq!(silence.kind(), io::ErrorKind::WouldBlock, "it is not turned away");
    assert!(!is_wanted(&mut event_loop), "and the loop does not turn for it");

    let close = varlink::call(CLOSE, &Agreed { id: 1 }, CallFlags::default());
    late.write_all(&close).unwrap();
    let one = event_loop.callers.tokens()[0];
    event_loop.forget_caller(one);
    assert!(is_wanted(&mut event_loop));
    event_loop.accept_callers(now);
    let mut answer = [0; 256];
    let count = late.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(answer.contains("UnknownId"), "it is served: {answer}");
}
