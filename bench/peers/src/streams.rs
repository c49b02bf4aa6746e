//! A Unix stream socket, bare and as interprocess wraps it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use interprocess::local_socket::prelude::*;
use interprocess::local_socket::{GenericFilePath, ListenerOptions};

use crate::stopwatch::Stopwatch;
use crate::{LARGE, Measured, SMALL};

pub fn round_trip(trips: u32) -> Measured {
    let (left, right) = UnixStream::pair()?;
    trip_over(left, right, trips)
}

pub fn interprocess_round_trip(trips: u32) -> Measured {
    let place = tempfile::tempdir()?;
    let name = place.path().join("socket").to_fs_name::<GenericFilePath>()?;
    let listener = ListenerOptions::new().name(name.borrow()).create_sync()?;
    let left = LocalSocketStream::connect(name)?;
    let right = listener.accept()?;
    trip_over(left, right, trips)
}

fn trip_over<S: Read + Write + Send + 'static>(mut left: S, mut right: S, trips: u32) -> Measured {
    let echo = thread::spawn(move || {
        let mut buffer = [0; SMALL];
        while right.read_exact(&mut buffer).is_ok() && right.write_all(&buffer).is_ok() {}
    });
    let mut buffer = [7; SMALL];
    let watch = Stopwatch::start()?;
    for _ in 0..trips {
        left.write_all(&buffer)?;
        left.read_exact(&mut buffer)?;
    }
    let taken = watch.each_of(trips)?;
    drop(left);
    echo.join().map_err(|_| "the other end failed")?;
    Ok(taken)
}

pub fn bulk(count: u32) -> Measured {
    let (mut left, mut right) = UnixStream::pair()?;
    let sender = thread::spawn(move || {
        let message = vec![7; LARGE];
        (0..count).try_for_each(|_| left.write_all(&message))
    });
    let mut message = vec![0; LARGE];
    right.read_exact(&mut message)?;
    let watch = Stopwatch::start()?;
    for _ in 1..count {
        right.read_exact(&mut message)?;
    }
    let taken = watch.each_of(count - 1)?;
    sender.join().map_err(|_| "the other end failed")??;
    Ok(taken)
}
