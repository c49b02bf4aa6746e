//! ipc-channel: bytes in channels over Unix sockets.

use std::thread;

use ipc_channel::ipc::bytes_channel;

use crate::stopwatch::Stopwatch;
use crate::{Measured, payload};

pub fn round_trip(size: usize, trips: u32) -> Measured {
    let (asks, questions) = bytes_channel()?;
    let (answers, hears) = bytes_channel()?;
    let echo = thread::spawn(move || {
        while let Ok(message) = questions.recv() {
            if answers.send(&message).is_err() {
                break;
            }
        }
    });
    let message = payload(size);
    let watch = Stopwatch::start()?;
    for _ in 0..trips {
        asks.send(&message)?;
        hears.recv()?;
    }
    let taken = watch.each_of(trips)?;
    drop(asks);
    echo.join().map_err(|_| "the other end failed")?;
    Ok(taken)
}

pub fn one_way(size: usize, count: u32) -> Measured {
    let (out, into) = bytes_channel()?;
    let sender = thread::spawn(move || {
        let message = payload(size);
        (0..count).try_for_each(|_| out.send(&message))
    });
    into.recv()?;
    let watch = Stopwatch::start()?;
    for _ in 1..count {
        into.recv()?;
    }
    let taken = watch.each_of(count - 1)?;
    sender.join().map_err(|_| "the other end failed")??;
    Ok(taken)
}
