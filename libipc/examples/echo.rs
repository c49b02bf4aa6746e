//! A service that answers, and a client that asks.
//!
//!     echo serve ADDRESS          ADDRESS: a service name, a path, or @name
//!     echo ask ADDRESS TEXT
//!
//! The same lines serve all three: which socket it is, and whether it leads to another host, is
//! nobody's business here.
#![expect(clippy::print_stdout, reason = "an example for the command line")]

use std::io;
use std::thread::Builder;
use std::time::{Duration, Instant};

use libipc::session::{ClientOptions, ServerOptions, Session, SessionError};
use libipc::{Address, Patience, Stream};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [_, "serve", address] => serve(&at(address)?),
        [_, "ask", address, text] => ask(&at(address)?, text),
        _ => Err(io::Error::other("echo serve ADDRESS | echo ask ADDRESS TEXT")),
    }
}

fn serve(address: &Address) -> io::Result<()> {
    let listener = address.listen().map_err(io::Error::other)?;
    std::thread::scope(|clients| {
        for stream in listener.clients(|error| eprintln!("echo: {error}")) {
            // A slow client delays nobody: it has a thread of its own.
            let thread = Builder::new().spawn_scoped(clients, || answer(stream));
            drop(thread.inspect_err(|error| eprintln!("echo: {error}")));
        }
    });
    Ok(())
}

/// Answers one client until it leaves.
fn answer(stream: Stream) -> Result<(), SessionError> {
    let mut session = Session::accept(stream, &ServerOptions::default(), "a-client")?;
    loop {
        let message = session.receive()?;
        match message.request {
            Some(request) => session.answer(request, &message.payload)?,
            None => session.send(message.channel, &message.payload)?,
        }
    }
}

fn ask(address: &Address, text: &str) -> io::Result<()> {
    let patience = Duration::from_secs(10);
    let stream = address.connect(Instant::now() + patience)?;
    let mut session = Session::connect(stream, &ClientOptions::default())?;
    let answer = session.request(text.as_bytes(), Patience::within(patience))?;
    println!("{}", String::from_utf8_lossy(&answer));
    session.shut_down(Some("done"), Patience::within(patience))?;
    Ok(())
}

fn at(text: &str) -> io::Result<Address> {
    text.parse().map_err(io::Error::other)
}
