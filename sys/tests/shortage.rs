//! A process that has no place for another descriptor. Alone in its process, whose limit it lowers.

use std::os::fd::AsFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sys::ancillary::{ReceiveError, Wait, receive, send};
use sys::socket::{SocketKind, unix_pair};

#[test]
fn a_descriptor_that_finds_no_place_is_told_as_that_and_not_as_one_too_many() {
    let (near, far) = unix_pair(SocketKind::Stream).unwrap();
    let given = [near.as_fd(), near.as_fd()];
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    for count in 1..=given.len() {
        send(far.as_fd(), b"x", &given[..count], Wait::Never).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        let told = receive(near.as_fd(), &mut [0; 8], count, Wait::Never);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        let Err(ReceiveError::System(error)) = told else { panic!("{told:?}") };
        assert_eq!(error.to_string(), "Too many open files (os error 24)");
    }
    // With places again, one too many is one too many.
    send(far.as_fd(), b"x", &given, Wait::Never).unwrap();
    let told = receive(near.as_fd(), &mut [0; 8], 1, Wait::Never);
    assert!(matches!(told, Err(ReceiveError::TooManyDescriptors { most: 1 })), "{told:?}");
}
