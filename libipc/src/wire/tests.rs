use std::fs::File;
use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;
use sys::socket::{SocketKind, unix_pair};

use super::*;

fn pair(reading: Reading, limits: Limits) -> (OwnedFd, Wire) {
    let (left, right) = unix_pair(SocketKind::Stream).unwrap();
    (left, Wire::new(right, reading, limits))
}

fn write(socket: &OwnedFd, bytes: &[u8], descriptors: &[&File]) {
    let riding: Vec<_> = descriptors.iter().map(|file| file.as_fd()).collect();
    ancillary::send(socket.as_fd(), bytes, &riding, Wait::Block).unwrap();
}

fn null() -> File {
    File::open("/dev/null").unwrap()
}

#[test]
fn exact_reading_leaves_what_follows_in_the_socket() {
    let (left, mut wire) = pair(Reading::Exact, Limits::default());
    write(&left, b"{}\0stream bytes", &[]);
    assert_eq!(wire.receive(Wait::Never).unwrap(), Progress::Some);
    assert_eq!(wire.take().unwrap().unwrap().bytes.as_slice(), b"{}");
    let mut rest = [0; 32];
    let read = nix_read(&wire.into_socket(), &mut rest);
    assert_eq!(&rest[..read], b"stream bytes");
}

fn nix_read(socket: &OwnedFd, buffer: &mut [u8]) -> usize {
    ancillary::receive(socket.as_fd(), buffer, 0, Wait::Never).unwrap().bytes
}

#[test]
fn exact_reading_keeps_an_unfinished_message() {
    let (left, mut wire) = pair(Reading::Exact, Limits::default());
    write(&left, b"{\"a\"", &[&null()]);
    assert_eq!(wire.receive(Wait::Never).unwrap(), Progress::Some);
    assert_eq!(wire.receive(Wait::Never).unwrap(), Progress::Blocked);
    assert!(wire.take().unwrap().is_none());
    write(&left, b":1}\0", &[]);
    assert_eq!(wire.receive(Wait::Never).unwrap(), Progress::Some);
    let message = wire.take().unwrap().unwrap();
    assert_eq!((message.bytes.as_slice(), message.descriptors.len()), (&b"{\"a\":1}"[..], 1));
    drop(left);
    assert_eq!(wire.receive(Wait::Never).unwrap(), Progress::Ended);
}

#[test]
fn descriptors_that_break_the_rules_end_the_connection() {
    let rules = Limits { descriptors: 1, ..Limits::default() };
    let (left, mut wire) = pair(Reading::Eager, rules);
    write(&left, b"{}\0", &[&null(), &null()]);
    let error = wire.receive(Wait::Never).unwrap_err();
    assert_eq!(error.to_string(), "more than 1 descriptors for one message");

    let (left, mut wire) = pair(Reading::Eager, rules);
    write(&left, b"{", &[]);
    wire.receive(Wait::Never).unwrap();
    write(&left, b"}\0", &[&null()]);
    let error = wire.receive(Wait::Never).unwrap_err();
    assert_eq!(error.to_string(), "descriptors in the middle of a message");
}

#[test]
fn a_message_has_its_writer() {
    let (left, mut wire) = pair(Reading::Eager, Limits::default());
    write(&left, b"{}\0", &[]);
    sys::credentials::pass_credentials(wire.as_fd(), true).unwrap();
    write(&left, b"{}\0", &[]);
    let mut senders = Vec::new();
    while wire.receive(Wait::Never).unwrap() == Progress::Some {
        while let Some(message) = wire.take().unwrap() {
            senders.push(message.sender.unwrap().pid);
        }
    }
    assert_eq!(senders, [None, Some(std::process::id())], "before, nothing was recorded");
}

#[test]
fn one_message_of_two_writers_ends_the_connection() {
    let (left, mut wire) = pair(Reading::Exact, Limits::default());
    write(&left, b"{", &[]);
    sys::credentials::pass_credentials(wire.as_fd(), true).unwrap();
    write(&left, b"}\0", &[]);
    wire.receive(Wait::Never).unwrap();
    let error = wire.receive(Wait::Never).unwrap_err();
    assert_eq!(error.to_string(), "two processes wrote parts of one message");
}

#[test]
fn what_is_not_collected_is_bounded() {
    let rules = Limits { queue_bytes: 8, ..Limits::default() };
    let (_left, mut wire) = pair(Reading::Eager, rules);
    wire.queue(Bytes::new(vec![b'x'; 8]), None).unwrap();
    let error = wire.queue(Bytes::new(vec![b'x'; 1]), None).unwrap_err();
    assert_eq!(error.to_string(), "more than 8 bytes not collected");
}

#[test]
fn our_copy_of_a_descriptor_is_closed_when_it_has_left() {
    let (left, mut wire) = pair(Reading::Eager, Limits::default());
    let (mine, other) = unix_pair(SocketKind::Stream).unwrap();
    wire.queue(Bytes::new(b"{}\0".to_vec()), Some(mine)).unwrap();
    assert!(wire.flush(Wait::Never).unwrap());
    drop(ancillary::receive(left.as_fd(), &mut [0; 8], 1, Wait::Never).unwrap());
    let end = ancillary::receive(other.as_fd(), &mut [0; 8], 0, Wait::Never).unwrap();
    assert_eq!(end.bytes, 0);
}

/// What does not fit at once is sent later, without the descriptor that has left already.
#[test]
fn a_long_message_takes_its_descriptor_along_once() {
    use nix::sys::socket::{setsockopt, sockopt};
    let (left, mut wire) = pair(Reading::Eager, Limits::default());
    setsockopt(&wire, sockopt::SndBuf, &1).unwrap();
    let message = vec![b'x'; 60 * 1024];
    wire.queue(Bytes::new(message.clone()), Some(null().into())).unwrap();
    let (mut came, mut descriptors, mut turns) = (Vec::new(), 0, 0);
    loop {
        let sent = wire.flush(Wait::Never).unwrap();
        while came.len() < message.len() {
            let mut chunk = [0; 7_000];
            let Ok(received) = ancillary::receive(left.as_fd(), &mut chunk, 1, Wait::Never) else {
                break;
            };
            came.extend_from_slice(&chunk[..received.bytes]);
            descriptors += received.descriptors.len();
        }
        turns += 1;
        if sent {
            break;
        }
    }
    assert_eq!(came, message);
    assert_eq!(descriptors, 1);
    assert!(turns > 5, "it was sent in pieces: {turns}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_message_gets_exactly_its_descriptors(
        plan in prop::collection::vec((0_usize..200, any::<bool>()), 1..12),
        exact in any::<bool>(),
    ) {
        let reading = if exact { Reading::Exact } else { Reading::Eager };
        let (left, mut wire) = pair(reading, Limits::default());
        let mut expected = Vec::new();
        for (length, with) in &plan {
            let mut bytes = vec![b'x'; *length];
            bytes.push(0);
            let file = tempfile::tempfile().unwrap();
            let inode = file.metadata().unwrap().ino();
            let riding = [&file];
            write(&left, &bytes, if *with { &riding } else { &[] });
            expected.push((*length, with.then_some(inode)));
        }
        drop(left);
        let mut got = Vec::new();
        while wire.receive(Wait::Never).unwrap() == Progress::Some {
            while let Some(message) = wire.take().unwrap() {
                let inode = message.descriptors.into_iter().next()
                    .map(|one| File::from(one).metadata().unwrap().ino());
                got.push((message.bytes.len(), inode));
            }
        }
        prop_assert_eq!(got, expected);
    }
}
