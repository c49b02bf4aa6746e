//! ZeroMQ: pairs over Unix sockets, with a thread of the library's own at each end.

use std::thread;

use zmq::{Context, PAIR, Socket};

use crate::stopwatch::Stopwatch;
use crate::{Measured, payload};

/// Two sockets of two contexts, as two processes have them, and the place of their socket.
fn pair() -> Result<(Socket, Socket, tempfile::TempDir), Box<dyn std::error::Error + Send + Sync>> {
    let place = tempfile::tempdir()?;
    let address = format!("ipc://{}", place.path().join("socket").display());
    let (near, far) = (Context::new().socket(PAIR)?, Context::new().socket(PAIR)?);
    far.bind(&address)?;
    near.connect(&address)?;
    Ok((near, far, place))
}

pub fn round_trip(size: usize, trips: u32) -> Measured {
    let (near, far, _place) = pair()?;
    let echo = thread::spawn(move || (0..=trips).try_for_each(|_| far.send(far.recv_msg(0)?, 0)));
    let message = payload(size);
    near.send(&message, 0)?;
    near.recv_msg(0)?;
    let watch = Stopwatch::start()?;
    for _ in 0..trips {
        near.send(&message, 0)?;
        near.recv_msg(0)?;
    }
    let taken = watch.each_of(trips)?;
    echo.join().map_err(|_| "the other end failed")??;
    Ok(taken)
}

pub fn one_way(size: usize, count: u32) -> Measured {
    let (near, far, _place) = pair()?;
    let sender = thread::spawn(move || {
        let message = payload(size);
        // It closes only once everything has left.
        (0..count).try_for_each(|_| near.send(&message, 0))
    });
    far.recv_msg(0)?;
    let watch = Stopwatch::start()?;
    for _ in 1..count {
        far.recv_msg(0)?;
    }
    let taken = watch.each_of(count - 1)?;
    sender.join().map_err(|_| "the other end failed")??;
    Ok(taken)
}
