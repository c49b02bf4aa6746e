//! What everything leads to.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Mutex;

/// Bytes of a question and its answer.
pub(crate) const BYTES: usize = 64;

/// The first byte of a connection: questions are echoed.
pub(crate) const ECHO: u8 = b'E';

/// The first byte of a connection: so many bytes come as the next eight say, and their count is
/// the answer. Not everybody passes on that one direction has ended.
pub(crate) const COUNT: u8 = b'C';

/// The first byte of a connection: it is held, and never read again.
pub(crate) const HOLD: u8 = b'H';

/// What is held.
static HELD: Mutex<Vec<UnixStream>> = Mutex::new(Vec::new());

/// Starts it, for as long as the process lives.
pub(crate) fn start(path: &Path) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let thread = std::thread::Builder::new().stack_size(64 * 1024);
            // Without threads left it is closed.
            let _started = thread.spawn(move || {
                // A client that goes away is one that was done.
                let _gone = serve(client).is_err();
            });
        }
    });
    Ok(())
}

/// Ends all that is held.
pub(crate) fn release() {
    if let Ok(mut held) = HELD.lock() {
        held.clear();
    }
}

fn serve(mut client: UnixStream) -> io::Result<()> {
    let mut first = [0];
    client.read_exact(&mut first)?;
    if first == [ECHO] {
        let mut buffer = [0; BYTES];
        loop {
            client.read_exact(&mut buffer)?;
            client.write_all(&buffer)?;
        }
    }
    if first == [HOLD] {
        HELD.lock().map_err(|_| io::ErrorKind::Other)?.push(client);
        return Ok(());
    }
    let mut buffer = vec![0; 256 * 1024];
    let mut announced = [0; 8];
    client.read_exact(&mut announced)?;
    let announced = u64::from_be_bytes(announced);
    let mut total = 0_u64;
    while total < announced {
        match client.read(&mut buffer)? {
            0 => break,
            count => total += u64::try_from(count).unwrap_or(0),
        }
    }
    client.write_all(&total.to_be_bytes())
}
