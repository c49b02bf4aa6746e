//! Our ring.

use std::thread;

use libipc::Patience;
use libipc::ring::{Reader, RingError, pair};

use crate::stopwatch::Stopwatch;
use crate::{Measured, payload};

/// Bytes of a ring for messages of that size.
fn room(size: usize) -> usize {
    (4 * size).max(64 << 10)
}

pub fn round_trip(size: usize, trips: u32) -> Measured {
    trip(size, trips, |reader, buffer| reader.receive(Patience::Forever)?.read(0, buffer))
}

pub fn polling_round_trip(size: usize, trips: u32) -> Measured {
    trip(size, trips, |reader, buffer| {
        loop {
            if let Some(message) = reader.try_receive()? {
                return message.read(0, buffer);
            }
            std::hint::spin_loop();
        }
    })
}

fn trip(
    size: usize,
    trips: u32,
    receive: fn(&mut Reader, &mut [u8]) -> Result<(), RingError>,
) -> Measured {
    let (mut asks, mut questions) = pair(room(size))?;
    let (mut answers, mut hears) = pair(room(size))?;
    let echo = thread::spawn(move || {
        let mut buffer = payload(size);
        while receive(&mut questions, &mut buffer).is_ok() {
            if answers.send(&buffer, Patience::Forever).is_err() {
                break;
            }
        }
    });
    let mut buffer = payload(size);
    let watch = Stopwatch::start()?;
    for _ in 0..trips {
        asks.send(&buffer, Patience::Forever)?;
        receive(&mut hears, &mut buffer)?;
    }
    let taken = watch.each_of(trips)?;
    drop(asks);
    echo.join().map_err(|_| "the other end failed")?;
    Ok(taken)
}

pub fn one_way(size: usize, count: u32) -> Measured {
    let (mut writer, mut reader) = pair(room(size))?;
    let sender = thread::spawn(move || {
        let message = payload(size);
        (0..count).try_for_each(|_| writer.send(&message, Patience::Forever))
    });
    let mut message = payload(size);
    reader.receive(Patience::Forever)?.read(0, &mut message)?;
    let watch = Stopwatch::start()?;
    for _ in 1..count {
        reader.receive(Patience::Forever)?.read(0, &mut message)?;
    }
    let taken = watch.each_of(count - 1)?;
    sender.join().map_err(|_| "the other end failed")??;
    Ok(taken)
}
