//! An echo service: what it is sent, it sends back. The template for a service of one's own;
//! `docs/writing-a-service.md` goes through it.
#![forbid(unsafe_code)]

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libipc::{Listener, ServiceName, Stream};

/// Clients served at once; one more is closed, and may come again.
const CLIENTS_MOST: usize = 1024;

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_else(|| "pongd".to_owned());
    match ServiceName::new(&name) {
        Ok(name) => serve(&name),
        Err(error) => fail(64, &error),
    }
}

fn serve(name: &ServiceName) -> ExitCode {
    let listener = match Listener::bind(name) {
        Ok(listener) => listener,
        Err(error) => return fail(71, &error),
    };
    let clients = Arc::new(AtomicUsize::new(0));
    loop {
        match listener.accept() {
            Ok(stream) if clients.load(Ordering::Relaxed) < CLIENTS_MOST => {
                start(stream, Arc::clone(&clients));
            }
            Ok(_one_too_many) => {}
            Err(error) => return fail(71, &error),
        }
    }
}

/// Serves one client on a thread of its own.
fn start(stream: Stream, clients: Arc<AtomicUsize>) {
    clients.fetch_add(1, Ordering::Relaxed);
    std::thread::spawn(move || {
        // A client that breaks off ends its own echo, and nothing else.
        let _broken = io::copy(&mut &stream, &mut &stream).is_err();
        clients.fetch_sub(1, Ordering::Relaxed);
    });
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("pongd: {error}");
    ExitCode::from(code)
}
