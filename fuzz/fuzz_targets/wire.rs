//! Messages with descriptors: none is lost, none is invented, none stays open.
#![no_main]

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use libfuzzer_sys::fuzz_target;
use libipc::wire::{Limits, Progress, Reading, Wire};
use sys::ancillary::{self, Wait};

/// Bytes of a message, for these runs.
const MOST: usize = 256;

/// Parts that one run sends: what a socket holds for sure.
const PARTS_MOST: usize = 32;

fuzz_target!(|input: (bool, &[u8])| {
    let (exact, mut parts) = input;
    let (near, far) = UnixStream::pair().expect("a pair of sockets");
    let file = File::open("/dev/null").expect("it is always there");
    let (mut sent, mut bytes) = (0, Vec::new());
    // Each part is a number of descriptors, a length, and so many bytes.
    for _ in 0..PARTS_MOST {
        let [descriptors, length, rest @ ..] = parts else { break };
        let (part, later) = rest.split_at(rest.len().min(usize::from(*length)));
        parts = later;
        let riding = vec![file.as_fd(); usize::from(descriptors % 4)];
        // An empty part carries nothing, and nobody would hear of it.
        if !part.is_empty() && ancillary::send(far.as_fd(), part, &riding, Wait::Never).is_ok() {
            sent += riding.len();
            bytes.extend_from_slice(part);
        }
    }
    drop(far);
    let reading = if exact { Reading::Exact } else { Reading::Eager };
    let limits = Limits { message_bytes: MOST, descriptors: 2, queue_bytes: MOST };
    let mut rest = near.try_clone().expect("a descriptor");
    let mut wire = Wire::new(near.into(), reading, limits);
    let (mut came, mut position) = (0, 0);
    let ended = loop {
        match wire.take() {
            Ok(Some(message)) => {
                came += message.descriptors.len();
                assert!(message.descriptors.len() <= 2 && message.bytes.len() <= MOST);
                let end = position + message.bytes.len();
                assert_eq!(Some(message.bytes.as_slice()), bytes.get(position..end));
                assert_eq!(bytes.get(end), Some(&0));
                position = end + 1;
                continue;
            }
            Ok(None) => {}
            Err(_) => break false,
        }
        match wire.receive(Wait::Never) {
            Ok(Progress::Some) => {}
            Ok(Progress::Blocked | Progress::Ended) => break true,
            Err(_) => break false,
        }
    };
    assert!(came <= sent);
    if ended {
        // Everything up to the last NUL has come, and the rest is not readable any more.
        assert_eq!(position, bytes.iter().rposition(|byte| *byte == 0).map_or(0, |last| last + 1));
        assert_eq!(rest.read(&mut [0]).expect("an end"), 0);
    }
});
