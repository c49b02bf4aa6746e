//! Bytes with descriptors, over Unix sockets.
//!
//! The walk over the control messages is our own: libraries were seen to leak descriptors when the
//! kernel truncated the list, and to accept one more than asked for because of padding.

use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use bytes::BytesMut;

/// Descriptors that the kernel carries in one message at most (`SCM_MAX_FD`).
pub const DESCRIPTORS_MOST: usize = 253;

/// Whether a call may wait. It is a flag of the call; the descriptor's own flags, which others may
/// share, are left alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wait {
    /// Until there is something to do.
    Block,
    /// Not at all: [`io::ErrorKind::WouldBlock`] instead.
    Never,
}

impl Wait {
    fn flag(self) -> libc::c_int {
        match self {
            Self::Block => 0,
            Self::Never => libc::MSG_DONTWAIT,
        }
    }
}

/// Who sent a message, as the kernel wrote it beside the bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MessageCredentials {
    /// Process id.
    pub pid: u32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// What one [`receive`] brought.
#[derive(Debug)]
pub struct Received {
    /// Bytes written to the buffer; zero is the end of the stream.
    pub bytes: usize,
    /// Descriptors, close-on-exec, the caller's from now on.
    pub descriptors: Vec<OwnedFd>,
    /// The sender, where the socket was told to ask for it.
    pub credentials: Option<MessageCredentials>,
}

/// Why [`receive`] brought nothing.
#[derive(Debug)]
pub enum ReceiveError {
    /// The kernel's answer. [`io::ErrorKind::WouldBlock`] means that nothing has come yet. `EMFILE`
    /// means that descriptors came which this process has no place for: they are closed, and the
    /// connection is of no further use, because their bytes are gone.
    System(io::Error),
    /// More descriptors came than there was room for, or in more than one list. All of them are
    /// closed. The connection is of no further use, because its bytes are gone.
    TooManyDescriptors {
        /// The room there was.
        most: usize,
    },
}

impl std::fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System(error) => write!(f, "{error}"),
            Self::TooManyDescriptors { most } => {
                write!(f, "more than {most} descriptors in one message")
            }
        }
    }
}

impl std::error::Error for ReceiveError {}

/// Room for the largest list of descriptors, the sender and a pidfd. The kernel aligns each header
/// to eight bytes, which a buffer of `u64` satisfies.
const CONTROL_WORDS: usize = (16 + DESCRIPTORS_MOST * 4 + 4 + 32 + 24) / 8 + 1;

/// `SCM_PIDFD` of linux/socket.h, which the libc crate does not name.
const SCM_PIDFD: libc::c_int = 4;

/// Receives bytes and at most `most` descriptors.
///
/// Every descriptor that the kernel delivers is close-on-exec and owned before it is counted, so
/// that no error can leave one open. Interrupted calls are repeated.
///
/// # Errors
///
/// [`ReceiveError`]; after `TooManyDescriptors` and `EMFILE` close the connection.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    most: usize,
    wait: Wait,
) -> Result<Received, ReceiveError> {
    // SAFETY: an initialised byte is a valid one that may be uninitialised, and the kernel only
    // writes initialised ones.
    let room = unsafe { &mut *(ptr::from_mut(buffer) as *mut [MaybeUninit<u8>]) };
    receive_into(socket, room, most, wait)
}

/// As [`receive`], behind what is in `buffer` already, within the room that it has.
///
/// # Errors
///
/// As [`receive`].
pub fn receive_behind(
    socket: BorrowedFd<'_>,
    buffer: &mut BytesMut,
    most: usize,
    wait: Wait,
) -> Result<Received, ReceiveError> {
    let received = receive_into(socket, buffer.spare_capacity_mut(), most, wait)?;
    // SAFETY: the kernel has written so many bytes to the room that begins at the length.
    unsafe { buffer.set_len(buffer.len() + received.bytes) };
    Ok(received)
}

/// Receives into memory that need not be initialised; the first `Received::bytes` then are.
fn receive_into(
    socket: BorrowedFd<'_>,
    room: &mut [MaybeUninit<u8>],
    most: usize,
    wait: Wait,
) -> Result<Received, ReceiveError> {
    let mut control = MaybeUninit::<[u64; CONTROL_WORDS]>::uninit();
    let mut part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    // SAFETY: all zeroes is a valid msghdr: null pointers with lengths of zero.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    let flags = wait.flag() | libc::MSG_CMSG_CLOEXEC;
    let bytes = retry(|| {
        // SAFETY: `header` points to `room` and `control`, both alive and exclusively borrowed,
        // with their true lengths.
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) }
    })
    .map_err(ReceiveError::System)?;
    let mut received = Received { bytes, descriptors: Vec::new(), credentials: None };
    let lists = take_control(&header, &mut received);
    if lists > 1 || received.descriptors.len() > most {
        return Err(ReceiveError::TooManyDescriptors { most });
    }
    if header.msg_flags & libc::MSG_CTRUNC != 0 {
        // There was room for the largest list, so what is missing had no place in this process.
        return Err(ReceiveError::System(io::Error::from_raw_os_error(libc::EMFILE)));
    }
    Ok(received)
}

/// Moves what the control messages of `header` carry into `received`; answers how many lists of
/// descriptors there were.
fn take_control(header: &libc::msghdr, received: &mut Received) -> usize {
    let mut lists = 0;
    // SAFETY: `header` was filled by recvmsg and its control buffer is still alive.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole, aligned header inside the
        // control buffer.
        let message = unsafe { ptr::read(next) };
        // SAFETY: as above; the data follows the header inside the buffer.
        let data = unsafe { libc::CMSG_DATA(next) };
        let length = data_length(&message);
        match (message.cmsg_level, message.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                lists += 1;
                own_descriptors(data, length, &mut received.descriptors);
            }
            (libc::SOL_SOCKET, SCM_PIDFD) => {
                own_descriptors(data, length, &mut Vec::new());
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if length >= size_of::<libc::ucred>() => {
                // SAFETY: the kernel wrote a whole ucred there; alignment is not assumed.
                let who = unsafe { ptr::read_unaligned(data.cast::<libc::ucred>()) };
                received.credentials = Some(MessageCredentials {
                    pid: who.pid.unsigned_abs(),
                    uid: who.uid,
                    gid: who.gid,
                });
            }
            _ => {}
        }
        // SAFETY: `next` is a header of this control buffer.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    lists
}

fn data_length(message: &libc::cmsghdr) -> usize {
    // SAFETY: pure arithmetic on a constant.
    let header = unsafe { libc::CMSG_LEN(0) } as usize;
    let whole: usize = message.cmsg_len as _;
    whole.saturating_sub(header)
}

/// Owns every descriptor number in `length` bytes at `data`.
fn own_descriptors(data: *const u8, length: usize, into: &mut Vec<OwnedFd>) {
    let count = length / size_of::<RawFd>();
    for index in 0..count {
        let place = data.wrapping_add(index * size_of::<RawFd>());
        // SAFETY: the kernel wrote `count` whole numbers there; the bytes need no alignment.
        let bytes = unsafe { ptr::read(place.cast::<[u8; size_of::<RawFd>()]>()) };
        let number = RawFd::from_ne_bytes(bytes);
        if number < 0 {
            // In place of a pidfd the kernel may tell why there is none.
            continue;
        }
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
        into.push(unsafe { OwnedFd::from_raw_fd(number) });
    }
}

/// Sends `bytes`, with `descriptors` riding on the first of them. Never raises SIGPIPE.
///
/// Answers how many bytes were taken; the descriptors have then left, whatever the number.
/// Interrupted calls are repeated.
///
/// # Errors
///
/// The kernel's. `ETOOMANYREFS`: this user has too many descriptors in flight.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    wait: Wait,
) -> io::Result<usize> {
    if !descriptors.is_empty() {
        return send_parts(socket, &[IoSlice::new(bytes)], descriptors, wait);
    }
    let flags = wait.flag() | libc::MSG_NOSIGNAL;
    retry(|| {
        // SAFETY: the kernel reads at most `bytes.len()` bytes there.
        unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) }
    })
}

/// As [`send`], for bytes that lie in several places: one call of the kernel for all of them.
///
/// # Errors
///
/// As [`send`].
pub fn send_parts(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
    wait: Wait,
) -> io::Result<usize> {
    // SAFETY: all zeroes is a valid msghdr: null pointers with lengths of zero.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    // An IoSlice is an iovec, as std promises.
    header.msg_iov = parts.as_ptr().cast::<libc::iovec>().cast_mut();
    header.msg_iovlen = parts.len() as _;
    if descriptors.is_empty() {
        return send_header(socket, &header, wait);
    }
    let mut control = [0_u64; CONTROL_WORDS];
    write_rights(&mut header, &mut control, descriptors)?;
    send_header(socket, &header, wait)
}

/// `header` has to point to memory that is alive.
fn send_header(socket: BorrowedFd<'_>, header: &libc::msghdr, wait: Wait) -> io::Result<usize> {
    let flags = wait.flag() | libc::MSG_NOSIGNAL;
    retry(|| {
        // SAFETY: both callers' bytes and control words outlive this call, and are only read.
        unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const *header, flags) }
    })
}

fn write_rights(
    header: &mut libc::msghdr,
    control: &mut [u64; CONTROL_WORDS],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    if descriptors.len() > DESCRIPTORS_MOST {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let size = u32::try_from(size_of_val(descriptors)).unwrap_or(u32::MAX);
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: pure arithmetic.
    header.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as _;
    // SAFETY: pure arithmetic.
    let length = unsafe { libc::CMSG_LEN(size) } as _;
    // SAFETY: all zeroes is a valid cmsghdr; some libraries' has padding of its own.
    let mut message: libc::cmsghdr = unsafe { mem::zeroed() };
    message.cmsg_len = length;
    message.cmsg_level = libc::SOL_SOCKET;
    message.cmsg_type = libc::SCM_RIGHTS;
    let start = control.as_mut_ptr();
    // SAFETY: `control` is aligned and has room for a header and DESCRIPTORS_MOST numbers.
    unsafe { ptr::write(start.cast::<libc::cmsghdr>(), message) };
    // SAFETY: `start` is the header just written.
    let data = unsafe { libc::CMSG_DATA(start.cast::<libc::cmsghdr>()) };
    for (index, descriptor) in descriptors.iter().enumerate() {
        let place = data.wrapping_add(index * size_of::<RawFd>());
        let bytes = descriptor.as_raw_fd().to_ne_bytes();
        // SAFETY: at most DESCRIPTORS_MOST numbers, for which `control` has room.
        unsafe { ptr::write(place.cast::<[u8; size_of::<RawFd>()]>(), bytes) };
    }
    Ok(())
}

/// Looks at the bytes that would come next, without taking them or any descriptor.
///
/// # Errors
///
/// The kernel's; [`io::ErrorKind::WouldBlock`] means that nothing has come yet.
pub fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8], wait: Wait) -> io::Result<usize> {
    let flags = wait.flag() | libc::MSG_PEEK;
    retry(|| {
        // SAFETY: the kernel writes at most `buffer.len()` bytes to it.
        unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) }
    })
}

/// Repeats a call that a signal interrupted.
fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        if let Ok(count) = usize::try_from(call()) {
            return Ok(count);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The length of the packet that would come next from a socket of packets; zero also at its end.
/// Nothing is taken.
///
/// # Errors
///
/// The kernel's; [`io::ErrorKind::WouldBlock`] means that nothing has come yet.
pub fn packet_bytes(socket: BorrowedFd<'_>, wait: Wait) -> io::Result<usize> {
    let flags = wait.flag() | libc::MSG_PEEK | libc::MSG_TRUNC;
    retry(|| {
        // SAFETY: with a length of zero nothing is written.
        unsafe { libc::recv(socket.as_raw_fd(), ptr::null_mut(), 0, flags) }
    })
}

#[cfg(test)]
mod tests;
