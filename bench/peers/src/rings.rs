//! Our ring.

use std::thread;

use libipc::Patience;
use libipc::ring::{Reader, RingError, pair};

use crate::stopwatch::Stopwatch;
use crate::{LARGE, Measured, SMALL};

/// Bytes of the rings for small messages, and for large ones.
const SMALL_RING: usize = 64 << 10;
const LARGE_RING: usize = 4 << 20;

pub fn round_trip(trips: u32) -> Measured {
    trip(trips, |reader, buffer| reader.receive(Patience::Forever)?.read(0, buffer))
}

pub fn polling_round_trip(trips: u32) -> Measured {
    trip(trips, |reader, buffer| {
        loop {
            if let Some(message) = reader.try_receive()? {
                return message.read(0, buffer);
            }
            std::hint::spin_loop();
        }
    })
}

fn trip(trips: u32, receive: fn(&mut Reader, &mut [u8]) -> Result<(), RingError>) -> Measured {
    let (mut asks, mut questions) = pair(SMALL_RING)?;
    let (mut answers, mut hears) = pair(SMALL_RING)?;
    let echo = thread::spawn(move || {
        let mut buffer = [0; SMALL];
        while receive(&mut questions, &mut buffer).is_ok() {
            if answers.send(&buffer, Patience::Forever).is_err() {
                break;
            }
        }
    });
    let mut buffer = [7; SMALL];
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

pub fn bulk(count: u32) -> Measured {
    let (mut writer, mut reader) = pair(LARGE_RING)?;
    let sender = thread::spawn(move || {
        let message = vec![7; LARGE];
        (0..count).try_for_each(|_| writer.send(&message, Patience::Forever))
    });
    let mut message = vec![0; LARGE];
    reader.receive(Patience::Forever)?.read(0, &mut message)?;
    let watch = Stopwatch::start()?;
    for _ in 1..count {
        reader.receive(Patience::Forever)?.read(0, &mut message)?;
    }
    let taken = watch.each_of(count - 1)?;
    sender.join().map_err(|_| "the other end failed")??;
    Ok(taken)
}
