//! An echo service: what it is sent, it sends back. The template for a service of one's own;
//! `docs/writing-a-service.md` goes through it.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use libipc::{Listener, ServiceName, Stream};

/// Clients served at once; one more is closed, and may come again.
const CLIENTS_MOST: usize = 512;

/// How often to look whether the last client has gone.
const REST: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_else(|| "pongd".to_owned());
    match ServiceName::new(&name) {
        Ok(name) => serve(&name),
        Err(error) => fail(64, &error),
    }
}

/// Serves until the process is ended. What it then leaves behind, the next one takes over.
fn serve(name: &ServiceName) -> ExitCode {
    let listener = match Listener::bind(name) {
        Ok(listener) => listener,
        Err(error) => return fail(71, &error),
    };
    let clients = Arc::new(());
    for stream in listener.clients(|error| complain(&error)) {
        // One too many is closed.
        if Arc::strong_count(&clients) <= CLIENTS_MOST {
            start(stream, Arc::clone(&clients));
        }
    }
    finish(&clients)
}

/// Another process has the name: serves those who have come, and ends.
fn finish(clients: &Arc<()>) -> ExitCode {
    while Arc::strong_count(clients) > 1 {
        thread::park_timeout(REST);
    }
    ExitCode::SUCCESS
}

/// Serves one client on a thread of its own; `place` is given back when it ends.
fn start(stream: Stream, place: Arc<()>) {
    let echo = move || {
        // A client that breaks off ends its own echo, and nothing else.
        let _broken = io::copy(&mut &stream, &mut &stream).is_err();
        drop(place);
    };
    if let Err(error) = thread::Builder::new().spawn(echo) {
        complain(&error);
    }
}

fn fail(code: u8, error: &dyn Display) -> ExitCode {
    complain(error);
    ExitCode::from(code)
}

/// `eprintln!` would end the service where nobody reads its complaints any more.
fn complain(error: &dyn Display) {
    let _unread = writeln!(io::stderr(), "pongd: {error}").is_err();
}
