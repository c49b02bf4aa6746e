//! A daemon in the place of tcpd that answers what the test tells it to.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use libipc::interface::transport::{DIAL, Dial, Dialed, LISTEN};
use libipc::varlink;
use libipc::wire::{Limits, Progress, Reading, Wire};
use sys::ancillary::{self, Wait};

use crate::{Host, until};

/// What it sends: bytes, and what rides on them.
pub type Answer = (Vec<u8>, Vec<OwnedFd>);

/// What it answers to a call; it may wait before it does.
pub type Answering = dyn Fn(&Dial) -> Vec<Answer> + Send + Sync;

/// Takes tcpd's place on a host that has none, until the test's process ends.
pub fn take_place(host: &Host, answering: Box<Answering>) {
    let place = host.rundir().join("transport/tcp");
    let listener = UnixListener::bind(place).expect("the place is free");
    let answering: &'static Answering = Box::leak(answering);
    std::thread::spawn(move || {
        for caller in listener.incoming().flatten() {
            std::thread::spawn(move || serve(caller, answering));
        }
    });
    until("the broker knows it", || {
        let status = host.ipc(&["--json", "status"]).output().expect("ipc runs");
        String::from_utf8_lossy(&status.stdout).contains("\"available\":true")
    });
}

/// The answer of an honest daemon.
#[must_use]
pub fn dialed(dial: &Dial) -> Vec<u8> {
    let address = format!("{}:{}", dial.host, dial.port).parse().expect("the test asks by address");
    varlink::reply(&Dialed { address, id: None }, false).to_vec()
}

fn serve(caller: UnixStream, answering: &Answering) {
    let mut writing = caller.try_clone().expect("a descriptor");
    let mut wire = Wire::new(caller.into(), Reading::Eager, Limits::default());
    loop {
        if let Ok(Some(message)) = wire.take() {
            let call = varlink::read_call(&message.bytes).expect("the broker makes calls");
            match call.method.as_ref() {
                DIAL => {
                    let dial = varlink::read_parameters(call.parameters).expect("as documented");
                    for (bytes, descriptors) in answering(&dial) {
                        let riding: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                        // The broker may have given up.
                        let _gone = if riding.is_empty() {
                            writing.write_all(&bytes).is_err()
                        } else {
                            ancillary::send(writing.as_fd(), &bytes, &riding, Wait::Block).is_err()
                        };
                    }
                }
                method => assert_eq!(method, LISTEN),
            }
        }
        match wire.receive(Wait::Block) {
            Ok(Progress::Some) => {}
            Ok(Progress::Blocked | Progress::Ended) | Err(_) => return,
        }
    }
}
