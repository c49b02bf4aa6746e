//! Messages whose content is checked, on the way out and on the way in.
//!
//!     schema serve ADDRESS
//!     schema ask ADDRESS JSON
#![expect(clippy::print_stdout, reason = "an example for the command line")]

use std::io;
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use libipc::schema::{SchemaOptions, SchemaRegistry};
use libipc::session::{Checked, ClientOptions, ServerOptions, Session, SessionError};
use libipc::{Address, Channel, Patience, Stream};

/// What a message on channel 2 may be.
const SUM: &str = r#"{"type": "object", "required": ["of"],
    "properties": {"of": {"type": "array", "items": {"type": "number"}}}}"#;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let schemas = [(Channel::DATA, SUM)];
    let schemas = SchemaRegistry::from_embedded(&schemas, SchemaOptions::default());
    let schemas = Arc::new(schemas.map_err(io::Error::other)?);
    match arguments.as_slice() {
        [_, "serve", address] => serve(&at(address)?, &schemas),
        [_, "ask", address, json] => ask(&at(address)?, schemas, json),
        _ => Err(io::Error::other("schema serve ADDRESS | schema ask ADDRESS JSON")),
    }
}

fn serve(address: &Address, schemas: &Arc<SchemaRegistry>) -> io::Result<()> {
    let listener = address.listen().map_err(io::Error::other)?;
    std::thread::scope(|clients| {
        for stream in listener.clients(|error| eprintln!("schema: {error}")) {
            let answer = || answer(stream, Arc::clone(schemas));
            let thread = Builder::new().spawn_scoped(clients, answer);
            drop(thread.inspect_err(|error| eprintln!("schema: {error}")));
        }
    });
    Ok(())
}

/// Answers one client until it leaves.
fn answer(stream: Stream, schemas: Arc<SchemaRegistry>) -> Result<(), SessionError> {
    let mut session = Session::accept(stream, &ServerOptions::default(), "a-client")?;
    session.check(schemas, Checked::Received);
    loop {
        match session.receive() {
            // One wrong message ends nothing.
            Err(SessionError::Schema(error)) => {
                session.send(Channel::ERROR, error.to_string().as_bytes())?;
            }
            message => {
                let sum = sum(&message?.payload);
                session.send(Channel::TELEMETRY, sum.to_string().as_bytes())?;
            }
        }
    }
}

/// The content is what the schema says, so nothing is missing.
fn sum(content: &[u8]) -> f64 {
    let content: serde_json::Value = serde_json::from_slice(content).unwrap_or_default();
    let numbers = content.get("of").and_then(|of| of.as_array());
    numbers.into_iter().flatten().filter_map(serde_json::Value::as_f64).sum()
}

fn ask(address: &Address, schemas: Arc<SchemaRegistry>, json: &str) -> io::Result<()> {
    let patience = Duration::from_secs(10);
    let stream = address.connect(Instant::now() + patience)?;
    let mut session = Session::connect(stream, &ClientOptions::default())?;
    session.check(schemas, Checked::Sent);
    match session.send(Channel::DATA, json.as_bytes()) {
        Err(SessionError::Schema(error)) => println!("not sent: {error}"),
        sent => {
            sent?;
            let answer = session.receive_within(Patience::within(patience))?;
            println!("{}", String::from_utf8_lossy(&answer.payload));
        }
    }
    Ok(())
}

fn at(text: &str) -> io::Result<Address> {
    text.parse().map_err(io::Error::other)
}
