//! The proxy: clients on loopback, the broker behind it.
//!
//! A thread for each direction of each connection: they are few, and end with the program.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use libipc::Stream;
use libipc::connector::Connector;
use libipc::environment::Environment;

use super::opening::{Manner, Opening, Place, Step};
use crate::connect::pour;
use crate::report::Report;
use crate::{asker, failure};

mod places;

use places::{Place as Room, Places, Sender};

/// How long a client may take to say where it wants to go.
const OPENING_PATIENCE: Duration = Duration::from_secs(10);

/// How long what a program has written is still sent when it has ended.
const FAREWELL: Duration = Duration::from_secs(5);

/// A proxy that runs. It ends with the process.
#[derive(Debug)]
pub(super) struct Proxy(Arc<Places>);

impl Proxy {
    /// Serves whoever comes, through that connection to the broker. Each request may take
    /// `timeout`.
    pub(super) fn start(
        listener: TcpListener,
        broker: OwnedFd,
        timeout: Duration,
    ) -> io::Result<Self> {
        let places = Arc::new(Places::default());
        let own = Arc::clone(&places);
        let serve = move || {
            let broker = Arc::new(broker);
            loop {
                let room = Places::take(&own);
                let Ok((client, _)) = listener.accept() else {
                    // Out of descriptors, or the client has gone: not worth ending for.
                    own.rest();
                    continue;
                };
                let broker = Arc::clone(&broker);
                let serve = move || serve(client, &broker, timeout, &room);
                // Without a thread the client finds its connection closed.
                let _none = thread::Builder::new().spawn(serve).is_err();
            }
        };
        thread::Builder::new().spawn(serve)?;
        Ok(Self(places))
    }

    /// Waits until what the program has written is on its way, which ended at that moment.
    pub(super) fn finish(self, ended: Instant) {
        self.0.wait_for_senders(ended + FAREWELL);
    }
}

/// Tells a program of the proxy at `address`, and of no other.
pub(super) fn announce(command: &mut Command, address: SocketAddr) {
    for name in ["HTTP_PROXY", "http_proxy", "FTP_PROXY", "ftp_proxy", "NO_PROXY", "no_proxy"] {
        command.env_remove(name);
    }
    for name in ["HTTPS_PROXY", "https_proxy"] {
        command.env(name, format!("http://{address}"));
    }
    for name in ["ALL_PROXY", "all_proxy"] {
        command.env(name, format!("socks5h://{address}"));
    }
}

/// One client, from its first byte to its last.
fn serve(mut client: TcpStream, broker: &OwnedFd, timeout: Duration, room: &Room) {
    let sender = room.sender();
    let deadline = Instant::now() + OPENING_PATIENCE;
    // A client that breaks off, or says nothing, is closed.
    let Ok(Some((manner, wanted, behind))) = listen_to(&mut client, deadline) else { return };
    let stream = match ask(&wanted, broker, timeout) {
        Ok(stream) => stream,
        Err(report) => {
            let answer = manner.refused(report.code(), &report.to_string());
            let _gone = client.write_all(&answer).is_err();
            return;
        }
    };
    let begun = client.write_all(&manner.granted()).and_then(|()| (&stream).write_all(&behind));
    if begun.is_ok() {
        // A client that went away meanwhile takes its connection along.
        let _broken = relay(client, stream, sender).is_err();
    }
}

/// Hears a client out: what it wants, and the bytes behind that. `None` if it has been refused.
fn listen_to(
    client: &mut TcpStream,
    deadline: Instant,
) -> io::Result<Option<(Manner, Place, Vec<u8>)>> {
    let mut opening = Opening::default();
    let mut buffer = [0; 1024];
    loop {
        match opening.next() {
            Step::Receive => {
                let left = deadline.saturating_duration_since(Instant::now());
                // Zero is refused, as it should be: the time is over.
                client.set_read_timeout(Some(left))?;
                let count = client.read(&mut buffer)?;
                if count == 0 {
                    return Ok(None);
                }
                opening.push(buffer.get(..count).unwrap_or_default());
            }
            Step::Send(bytes) => client.write_all(bytes)?,
            Step::Refuse(bytes) => {
                client.write_all(&bytes)?;
                return Ok(None);
            }
            Step::Ask(manner, place, behind) => {
                client.set_read_timeout(None)?;
                return Ok(Some((manner, place, behind)));
            }
        }
    }
}

/// A connection to that place, or why there is none.
fn ask(wanted: &Place, broker: &OwnedFd, timeout: Duration) -> Result<Stream, Report> {
    let name = wanted.service.as_str();
    let environment = Environment { broker_fd: Some(broker.as_raw_fd()), ..Environment::default() };
    let stream = Connector::new(&environment, timeout)
        .and_then(|connector| connector.connect(&wanted.service))
        .map_err(|error| failure::of(name, &asker::text(), &error))?;
    let target = stream.target().unwrap_or_default();
    if wanted.is(target) {
        return Ok(stream);
    }
    Err(Report::new(50, name, "denied", "the name leads to another place than was asked for")
        .fact("leads to", target)
        .cure("to do", "ask for that host and port, or let the name lead where it says"))
}

/// Both directions, each to its own end.
fn relay(client: TcpStream, stream: Stream, sender: Sender) -> io::Result<()> {
    client.set_nodelay(true)?;
    stream.set_nodelay();
    let (from, to) = (client.try_clone()?, stream.try_clone()?);
    let receiving = thread::Builder::new().spawn(move || {
        let is_whole = pour(&mut &stream, &mut &client).is_ok();
        end(&stream, &client, Direction::Inward, is_whole);
    })?;
    let is_whole = pour(&mut &from, &mut &to).is_ok();
    end(&to, &from, Direction::Outward, is_whole);
    drop(sender);
    // One that panicked has closed both.
    let _closed = receiving.join().is_err();
    Ok(())
}

/// Which way bytes went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Direction {
    /// To the service.
    Outward,
    /// To the program.
    Inward,
}

/// Tells the receiver that nothing more comes; a connection that broke has no other direction
/// either.
fn end(stream: &Stream, client: &TcpStream, direction: Direction, is_whole: bool) {
    // What is closed already needs no telling.
    let _gone = match (is_whole, direction) {
        (true, Direction::Outward) => stream.shutdown(Shutdown::Write).is_err(),
        (true, Direction::Inward) => client.shutdown(Shutdown::Write).is_err(),
        (false, _) => {
            stream.shutdown(Shutdown::Both).is_err() | client.shutdown(Shutdown::Both).is_err()
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than any of this takes.
    const LONG: Duration = Duration::from_secs(60);

    fn ago(span: Duration) -> Instant {
        Instant::now().checked_sub(span).unwrap()
    }

    #[test]
    fn a_client_has_ten_seconds_for_all_that_it_says_first() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut program = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut client, _) = listener.accept().unwrap();
        let mut hear = |began: Instant| listen_to(&mut client, began + OPENING_PATIENCE);
        program.write_all(b"CONNECT web:80 ").unwrap();
        let almost = Duration::from_millis(9_900);
        let start = Instant::now();
        assert!(hear(ago(almost)).is_err(), "what is said shortly before the end gains no time");
        assert!(start.elapsed() >= Duration::from_millis(90), "{:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
        program.write_all(b"CONNECT web:80 HTTP/1.1\r\n\r\n").unwrap();
        assert!(hear(ago(Duration::from_secs(10))).is_err(), "and afterwards nothing is heard");
        let (_, wanted, _) = hear(Instant::now()).unwrap().unwrap();
        assert_eq!(wanted.service.as_str(), "web");
    }

    #[test]
    fn what_a_program_wrote_has_five_seconds_after_its_end() {
        let places = Arc::new(Places::default());
        let room = Places::take(&places);
        let sender = room.sender();
        let start = Instant::now();
        Proxy(Arc::clone(&places)).finish(ago(FAREWELL));
        assert!(start.elapsed() < Duration::from_secs(4), "its time was over");
        Proxy(Arc::clone(&places)).finish(ago(Duration::from_millis(4_900)));
        assert!(start.elapsed() >= Duration::from_millis(90), "who writes still has the rest");
        let end = thread::spawn(move || drop(sender));
        Proxy(places).finish(Instant::now() + LONG);
        end.join().unwrap();
        assert!(start.elapsed() < LONG, "and who has finished is not waited for");
    }
}
