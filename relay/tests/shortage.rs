//! A relay on a machine that has no descriptors left. Alone in its process, whose limit it lowers.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use libipc::poller::{Poller, Token, Waker};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use relay::pump::Pumps;

#[test]
fn a_relay_that_finds_no_pipe_goes_on_when_there_is_one() {
    let poller = Poller::new().unwrap();
    let pumps = Pumps::start(&Waker::new(&poller, Token(0)).unwrap()).unwrap();
    let ((mut client, left), (mut service, right)) =
        (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    pumps.add(1, left.into(), right.into()).unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    client.write_all(b"patience").unwrap();
    service.set_read_timeout(Some(Duration::from_millis(120))).unwrap();
    let mut text = [0; 8];
    let blocked = service.read(&mut text).unwrap_err();
    assert_eq!(blocked.kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(pumps.live(), 1);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    service.set_read_timeout(None).unwrap();
    service.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"patience");
}
