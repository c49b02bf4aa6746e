use std::fs::File;
use std::os::fd::AsFd;

use super::*;
use crate::socket::{SocketKind, unix_pair};

fn pair() -> (OwnedFd, OwnedFd) {
    unix_pair(SocketKind::Stream).unwrap()
}

fn nulls(count: usize) -> Vec<File> {
    (0..count).map(|_| File::open("/dev/null").unwrap()).collect()
}

fn send_all(socket: &OwnedFd, bytes: &[u8], files: &[File]) {
    let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    assert_eq!(send(socket.as_fd(), bytes, &borrowed, Wait::Block).unwrap(), bytes.len());
}

/// Descriptors of this process that are open on /dev/null: only those that a test made.
fn open_nulls() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.as_os_str() == "/dev/null")
        .count()
}

#[test]
fn descriptors_arrive_close_on_exec_with_the_first_byte_of_their_message() {
    let (left, right) = pair();
    send_all(&left, b"AA", &nulls(1));
    send_all(&left, b"BB", &[]);
    let mut buffer = [0; 16];
    let got = receive(right.as_fd(), &mut buffer, 1, Wait::Never).unwrap();
    assert_eq!((got.bytes, got.descriptors.len()), (2, 1));
    let flags = nix::fcntl::fcntl(&got.descriptors[0], nix::fcntl::FcntlArg::F_GETFD).unwrap();
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    let got = receive(right.as_fd(), &mut buffer, 1, Wait::Never).unwrap();
    assert_eq!((got.bytes, got.descriptors.len()), (2, 0));
}

#[test]
fn one_descriptor_too_many_closes_all_of_them_and_says_so() {
    for (sent, most) in [(1, 0), (2, 1), (3, 2), (DESCRIPTORS_MOST, 3)] {
        let (left, right) = pair();
        send_all(&left, b"x", &nulls(sent));
        let error = receive(right.as_fd(), &mut [0; 1], most, Wait::Never).unwrap_err();
        assert_eq!(error.to_string(), format!("more than {most} descriptors in one message"));
        let (left, right) = pair();
        send_all(&left, b"x", &nulls(most));
        let got = receive(right.as_fd(), &mut [0; 1], most, Wait::Never).unwrap();
        assert_eq!(got.descriptors.len(), most);
    }
}

#[test]
fn more_descriptors_than_the_kernel_carries_are_refused_before_sending() {
    let (left, _right) = pair();
    let files = nulls(DESCRIPTORS_MOST + 1);
    let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    let error = send(left.as_fd(), b"x", &borrowed, Wait::Block).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
}

#[test]
fn nothing_is_leaked_over_many_refused_messages() {
    if std::env::var_os("SYS_LEAK_CHILD").is_none() {
        // Alone in a process, so that other tests' descriptors do not count.
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ancillary::tests::nothing_is_leaked_over_many_refused_messages"])
            .env("SYS_LEAK_CHILD", "1")
            .stdin(std::process::Stdio::piped())
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let (left, right) = pair();
    let before = open_nulls();
    for round in 0..2_000 {
        send_all(&left, b"x", &nulls(1 + round % DESCRIPTORS_MOST));
        drop(receive(right.as_fd(), &mut [0; 1], round % 4, Wait::Never));
    }
    assert_eq!(open_nulls(), before);
}

#[test]
fn what_comes_is_put_behind_what_is_there_and_within_the_room() {
    let (left, right) = pair();
    send_all(&left, b"behind it", &nulls(1));
    let mut buffer = BytesMut::with_capacity(11);
    buffer.extend_from_slice(b"first ");
    let got = receive_behind(right.as_fd(), &mut buffer, 1, Wait::Never).unwrap();
    assert_eq!((got.bytes, got.descriptors.len()), (5, 1));
    assert_eq!(&buffer[..], b"first behin");
    assert_eq!(buffer.capacity(), 11);
    let error = receive_behind(left.as_fd(), &mut BytesMut::with_capacity(8), 1, Wait::Never);
    assert!(matches!(error, Err(ReceiveError::System(_))));
}

#[test]
fn peeking_takes_neither_bytes_nor_descriptors() {
    let (left, right) = pair();
    send_all(&left, b"hello", &nulls(1));
    let mut buffer = [0; 16];
    assert_eq!(peek(right.as_fd(), &mut buffer, Wait::Never).unwrap(), 5);
    let got = receive(right.as_fd(), &mut buffer, 1, Wait::Never).unwrap();
    assert_eq!((got.bytes, got.descriptors.len()), (5, 1));
}

#[test]
fn parts_leave_together_and_a_packet_has_its_length() {
    let (left, right) = unix_pair(SocketKind::SeqPacket).unwrap();
    let parts = [IoSlice::new(b"head"), IoSlice::new(b"body")];
    assert_eq!(send_parts(left.as_fd(), &parts, &[], Wait::Never).unwrap(), 8);
    assert_eq!(packet_bytes(right.as_fd(), Wait::Never).unwrap(), 8);
    let mut buffer = [0; 16];
    let got = receive(right.as_fd(), &mut buffer, 0, Wait::Never).unwrap();
    assert_eq!(&buffer[..got.bytes], b"headbody");
    let error = packet_bytes(right.as_fd(), Wait::Never).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_closed_peer_is_an_error_and_no_signal() {
    let (left, right) = pair();
    drop(right);
    let error = send(left.as_fd(), b"x", &[], Wait::Block).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn the_senders_credentials_come_with_the_message_once_asked_for() {
    let (left, right) = pair();
    crate::credentials::pass_credentials(right.as_fd(), true).unwrap();
    send_all(&left, b"x", &[]);
    let got = receive(right.as_fd(), &mut [0; 1], 0, Wait::Never).unwrap();
    assert_eq!(got.credentials.unwrap().pid, std::process::id());
}
