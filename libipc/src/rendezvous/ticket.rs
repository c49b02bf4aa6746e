//! The file that a host leaves: the key of its meeting, and where its socket is.
//!
//! `"ipcmeet1"`, the key (32 bytes), the socket's file name (18 bytes), the meeting's name. The
//! host holds a lock of the file (`flock`) for as long as it lives: a file that can be locked was
//! left by a process that is gone, whatever process has its number now.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use sys::wiped::Wiped;

use super::RendezvousError;
use super::exchange::{KEY_BYTES, Key};
use super::name::{MeetingName, NAME_BYTES_MOST};
use crate::private_place::PrivatePlace;

const MAGIC: &[u8; 8] = b"ipcmeet1";

/// `.` and 16 digits, and `s`: no name of a ticket begins with a dot.
const SOCKET_NAME_BYTES: usize = 18;

/// A host's file, found and believed.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) key: Key,
    pub(super) socket: PathBuf,
}

impl Ticket {
    /// What process `pid` left under `name`.
    pub(super) fn read(
        place: &PrivatePlace,
        pid: u32,
        name: &MeetingName,
    ) -> Result<Self, RendezvousError> {
        let path = place.path().join(name.file(pid));
        let file = match open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RendezvousError::Unknown { pid });
            }
            Err(error) => return Err(RendezvousError::System { path, error }),
        };
        let content = believed(&file).map_err(|error| system(&path, error))?;
        let (socket, key, rest) = content
            .as_deref()
            .and_then(|content| parts(content))
            .ok_or(RendezvousError::Damaged { path })?;
        if rest != name.as_str().as_bytes() {
            return Err(RendezvousError::Unknown { pid });
        }
        Ok(Self { key: Wiped::new(key), socket: place.path().join(socket) })
    }
}

fn system(path: &Path, error: io::Error) -> RendezvousError {
    RendezvousError::System { path: path.to_owned(), error }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path)
}

/// The content of a file that only this user can have written; `None` for any other.
fn believed(file: &File) -> io::Result<Option<Wiped<Vec<u8>>>> {
    let facts = file.metadata()?;
    // The last six bits of a mode are what group and others may do.
    let is_ours = facts.is_file()
        && facts.uid() == nix::unistd::geteuid().as_raw()
        && facts.mode().trailing_zeros() >= 6;
    let most = MAGIC.len() + KEY_BYTES + SOCKET_NAME_BYTES + NAME_BYTES_MOST;
    let mut content = Wiped::new(Vec::with_capacity(most + 1));
    if is_ours {
        file.take(u64::try_from(most + 1).unwrap_or(0)).read_to_end(&mut content)?;
    }
    Ok((is_ours && content.len() <= most).then_some(content))
}

/// Socket, key and name in the content of a ticket.
fn parts(content: &[u8]) -> Option<(&str, [u8; KEY_BYTES], &[u8])> {
    let (key, rest) = content.strip_prefix(MAGIC)?.split_first_chunk()?;
    let (socket, name) = rest.split_at_checked(SOCKET_NAME_BYTES)?;
    let socket = str::from_utf8(socket).ok().filter(|name| is_socket_name(name))?;
    Some((socket, *key, name))
}

fn is_socket_name(name: &str) -> bool {
    let digits = name.strip_prefix('.').and_then(|name| name.strip_suffix('s'));
    digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A file name for a socket that nobody has.
pub(super) fn new_socket_name() -> io::Result<String> {
    let mut number = [0; 8];
    sys::random::fill(&mut number)?;
    Ok(format!(".{:016x}s", u64::from_ne_bytes(number)))
}

/// A ticket that this process has left. Dropping it removes it, and its socket.
#[derive(Debug)]
pub(super) struct Left {
    path: PathBuf,
    socket: PathBuf,
    /// Locked.
    file: File,
    /// A child that got this value by `fork(2)` does not end its parent's meeting.
    owner: u32,
}

impl Left {
    /// Leaves a ticket for `name`. To be called with the place locked and swept.
    pub(super) fn write(
        place: &PrivatePlace,
        name: &MeetingName,
        key: &Key,
        socket: &str,
    ) -> Result<Self, RendezvousError> {
        let pid = std::process::id();
        let path = place.path().join(name.file(pid));
        if fs::symlink_metadata(&path).is_ok() {
            return Err(RendezvousError::InUse);
        }
        // Written under another name first: whoever finds a ticket finds all of it.
        let new = place.path().join(format!("{socket}n"));
        let content = Wiped::new(
            [MAGIC.as_slice(), key.as_slice(), socket.as_bytes(), name.as_str().as_bytes()]
                .concat(),
        );
        let written = create(&new, &content).and_then(|file| {
            fs::rename(&new, &path)?;
            Ok(file)
        });
        let file = written.map_err(|error| {
            // What was not written need not be removed.
            let _unwritten = fs::remove_file(&new).is_err();
            system(&path, error)
        })?;
        Ok(Self { path, socket: place.path().join(socket), file, owner: pid })
    }
}

fn create(path: &Path, content: &[u8]) -> io::Result<File> {
    let mut file =
        File::options().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    file.lock()?;
    file.write_all(content)?;
    Ok(file)
}

impl Drop for Left {
    fn drop(&mut self) {
        let is_ours = self.owner == std::process::id()
            && fs::symlink_metadata(&self.path).is_ok_and(|there| {
                self.file.metadata().is_ok_and(|ours| ours.ino() == there.ino())
            });
        if is_ours {
            for path in [&self.path, &self.socket] {
                // Whoever removed it before us wanted the same.
                let _gone = fs::remove_file(path).is_err();
            }
        }
    }
}

/// Removes what processes left that are gone. To be called with the place locked.
pub(super) fn sweep(place: &PrivatePlace) -> io::Result<()> {
    let mut sockets_in_use = Vec::new();
    let mut others = Vec::new();
    for entry in fs::read_dir(place.path())? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        if name.starts_with(|first: char| first.is_ascii_digit()) {
            sockets_in_use.extend(socket_in_use(&entry.path()));
        } else if is_socket_name(name.trim_end_matches('n')) {
            others.push(entry.path());
        }
    }
    for path in others.iter().filter(|path| !sockets_in_use.contains(path)) {
        let _gone = fs::remove_file(path).is_err();
    }
    Ok(())
}

/// The socket of a ticket whose host lives. Any other ticket is removed.
fn socket_in_use(path: &Path) -> Option<PathBuf> {
    let file = open(path).ok()?;
    let content = believed(&file).ok()??;
    if file.try_lock().is_ok() {
        let _gone = fs::remove_file(path).is_err();
        return None;
    }
    parts(&content).map(|(socket, ..)| path.with_file_name(socket))
}
