//! A Unix stream socket, bare and as interprocess wraps it.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use interprocess::local_socket::prelude::*;
use interprocess::local_socket::{GenericFilePath, ListenerOptions};

use crate::stopwatch::Stopwatch;
use crate::{Measured, SMALL, payload};

pub fn round_trip(size: usize, trips: u32) -> Measured {
    let (left, right) = UnixStream::pair()?;
    trip_over(left, right, size, trips)
}

pub fn interprocess_round_trip(size: usize, trips: u32) -> Measured {
    let place = tempfile::tempdir()?;
    let name = place.path().join("socket").to_fs_name::<GenericFilePath>()?;
    let listener = ListenerOptions::new().name(name.borrow()).create_sync()?;
    let left = LocalSocketStream::connect(name)?;
    let right = listener.accept()?;
    trip_over(left, right, size, trips)
}

fn trip_over<S: Read + Write + Send + 'static>(
    mut left: S,
    mut right: S,
    size: usize,
    trips: u32,
) -> Measured {
    let echo = thread::spawn(move || {
        let mut buffer = vec![0; size];
        while right.read_exact(&mut buffer).is_ok() && right.write_all(&buffer).is_ok() {}
    });
    let mut buffer = payload(size);
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

pub fn one_way(size: usize, count: u32) -> Measured {
    let (mut left, mut right) = UnixStream::pair()?;
    let sender = thread::spawn(move || {
        let message = payload(size);
        (0..count).try_for_each(|_| left.write_all(&message))
    });
    let mut message = payload(size);
    right.read_exact(&mut message)?;
    let watch = Stopwatch::start()?;
    for _ in 1..count {
        right.read_exact(&mut message)?;
    }
    let taken = watch.each_of(count - 1)?;
    sender.join().map_err(|_| "the other end failed")??;
    Ok(taken)
}

/// Connecting, and a first answer.
pub fn beginning(count: u32) -> Measured {
    let place = tempfile::tempdir()?;
    let path = place.path().join("socket");
    let listener = UnixListener::bind(&path)?;
    let accept = move || Ok(listener.accept()?.0);
    begin_over(count, accept, || UnixStream::connect(&path))
}

pub fn interprocess_beginning(count: u32) -> Measured {
    let place = tempfile::tempdir()?;
    let name = place.path().join("socket").to_fs_name::<GenericFilePath>()?.into_owned();
    let listener = ListenerOptions::new().name(name.borrow()).create_sync()?;
    begin_over(count, move || listener.accept(), || LocalSocketStream::connect(name.borrow()))
}

fn begin_over<S: Read + Write + Send + 'static>(
    count: u32,
    accept: impl Fn() -> io::Result<S> + Send + 'static,
    connect: impl Fn() -> io::Result<S>,
) -> Measured {
    let server = thread::spawn(move || -> io::Result<()> {
        let mut buffer = payload(SMALL);
        for _ in 0..count {
            let mut client = accept()?;
            client.read_exact(&mut buffer)?;
            client.write_all(&buffer)?;
        }
        Ok(())
    });
    let mut buffer = payload(SMALL);
    let watch = Stopwatch::start()?;
    for _ in 0..count {
        let mut stream = connect()?;
        stream.write_all(&buffer)?;
        stream.read_exact(&mut buffer)?;
    }
    let taken = watch.each_of(count)?;
    server.join().map_err(|_| "the other end failed")??;
    Ok(taken)
}
