//! One thread, one loop of events: sessions are let in, asked and left, a timer counts them.
//!
//!     event_loop serve ADDRESS
//!     event_loop ask ADDRESS TEXT
#![expect(clippy::print_stdout, reason = "an example for the command line")]

use std::io;
use std::time::{Duration, Instant};

use libipc::event_loop::{Event, EventLoop};
use libipc::session::{ClientOptions, ServerOptions, Session};
use libipc::{Address, Patience};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [_, "serve", address] => serve(&at(address)?),
        [_, "ask", address, text] => ask(&at(address)?, text),
        _ => Err(io::Error::other("event_loop serve ADDRESS | event_loop ask ADDRESS TEXT")),
    }
}

fn serve(address: &Address) -> io::Result<()> {
    let mut events = EventLoop::new()?;
    let listener = address.listen().map_err(io::Error::other)?;
    events.serve_sessions(listener, ServerOptions::default())?;
    events.set_timer(Some(Duration::from_secs(10)));
    let (mut sessions, mut is_replaced) = (0_usize, false);
    while !is_replaced || sessions > 0 {
        match events.next()? {
            Event::SessionBegun { .. } => sessions += 1,
            Event::SessionEnded { .. } => sessions -= 1,
            Event::SessionReceived { session, message } => {
                let (Some(session), Some(request)) = (events.session(session), message.request)
                else {
                    continue;
                };
                // Whoever does not read what he asked for is told of as an end of his session.
                let _full = session.answer_within(request, &message.payload, Patience::Never);
            }
            Event::Timer => println!("{sessions} sessions"),
            // Out of descriptors: it goes on by itself. Replaced by a newer process: nobody else
            // comes.
            Event::ServiceFailed { is_over, error, .. } => {
                eprintln!("event_loop: {error}");
                is_replaced |= is_over;
            }
            _ => {}
        }
    }
    Ok(())
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
