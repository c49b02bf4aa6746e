//! Our connections and sessions.

use std::thread;
use std::time::{Duration, Instant};

use libipc::connection::Options;
use libipc::session::{ClientOptions, ServerOptions};
use libipc::{Address, Channel, Connection, ConnectionError, Patience, Session};

use crate::stopwatch::Stopwatch;
use crate::{Measured, SMALL, payload};

pub fn round_trip(size: usize, trips: u32) -> Measured {
    let (mut near, mut far) = Connection::pair(Options::default())?;
    let echo = thread::spawn(move || {
        while let Ok(message) = far.receive() {
            if far.send(message.channel, &message.payload).is_err() {
                break;
            }
        }
    });
    let message = payload(size);
    let watch = Stopwatch::start()?;
    for _ in 0..trips {
        near.send(Channel::DATA, &message)?;
        near.receive()?;
    }
    let taken = watch.each_of(trips)?;
    drop(near);
    echo.join().map_err(|_| "the other end failed")?;
    Ok(taken)
}

/// Messages up to so many bytes are gathered.
const GATHERED: usize = 16 << 10;

/// Messages that are gathered before they leave, if that makes sense.
pub fn one_way(size: usize, count: u32) -> Measured {
    let (mut near, mut far) = Connection::pair(Options::default())?;
    let sender = thread::spawn(move || -> Result<(), ConnectionError> {
        let message = payload(size);
        for _ in 0..count {
            if size > GATHERED {
                near.send(Channel::DATA, &message)?;
                continue;
            }
            while let Err(error) = near.queue(Channel::DATA, &message) {
                match error {
                    ConnectionError::QueueFull { .. } => drop(near.flush(Patience::Forever)?),
                    error => return Err(error),
                }
            }
        }
        near.end_sending()
    });
    far.receive()?;
    let watch = Stopwatch::start()?;
    for _ in 1..count {
        far.receive()?;
    }
    let taken = watch.each_of(count - 1)?;
    sender.join().map_err(|_| "the other end failed")??;
    Ok(taken)
}

/// Connecting, agreeing on channels, and a first answer, with the first message sent early or not.
pub fn beginning(count: u32, is_early: bool) -> Measured {
    let place = tempfile::tempdir()?;
    let address = Address::Path(place.path().join("socket"));
    let listener = address.listen()?;
    let server = thread::spawn(move || {
        for _ in 0..count {
            let Ok(stream) = listener.accept() else { return };
            let begun = Session::accept(stream, &ServerOptions::default(), "bench");
            let _gone = begun.and_then(|mut session| {
                let message = session.receive()?;
                session.send(message.channel, &message.payload)
            });
        }
    });
    let (message, options) = (payload(SMALL), ClientOptions::default());
    let watch = Stopwatch::start()?;
    for _ in 0..count {
        let stream = address.connect(Instant::now() + Duration::from_secs(10))?;
        let mut session = match is_early {
            true => Session::start(stream, &options)?,
            false => Session::connect(stream, &options)?,
        };
        session.queue(Channel::DATA, &message)?;
        session.receive()?;
    }
    let taken = watch.each_of(count)?;
    server.join().map_err(|_| "the other end failed")?;
    Ok(taken)
}
