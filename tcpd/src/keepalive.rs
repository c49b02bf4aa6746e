//! Noticing that the other end is gone without a word.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// When a silent far end is asked whether it is there, how often, and how many times: one that
/// vanished is noticed within two minutes, and its place is free again.
const KEEPALIVE: (Duration, Duration, i32) = (Duration::from_secs(60), Duration::from_secs(10), 6);

/// Has the kernel ask a silent far end whether it is there.
pub(crate) fn keep_alive(socket: BorrowedFd<'_>) -> io::Result<()> {
    let (idle, ..) = KEEPALIVE;
    keep_alive_after(socket, idle)
}

/// As [`keep_alive`], after that time of silence.
pub(crate) fn keep_alive_after(socket: BorrowedFd<'_>, idle: Duration) -> io::Result<()> {
    let (_, interval, count) = KEEPALIVE;
    sys::tcp::set_keepalive(socket, idle, interval, count)
}
