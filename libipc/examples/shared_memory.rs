//! A client puts a text into memory and hands that to a service; on another host the text itself.
//!
//!     shared_memory serve ADDRESS
//!     shared_memory send ADDRESS TEXT       prints what the service has seen
#![expect(clippy::print_stdout, reason = "an example for the command line")]

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::thread::Builder;
use std::time::{Duration, Instant};

use libipc::{Address, Channel, Connection, ConnectionError, Patience, Shm};

/// Bytes of memory that a service takes from a client at most.
const MEMORY_MOST: usize = 1 << 20;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [_, "serve", address] => serve(&at(address)?),
        [_, "send", address, text] => send(&at(address)?, text),
        _ => Err(io::Error::other("shared_memory serve ADDRESS | shared_memory send ADDRESS TEXT")),
    }
}

fn serve(address: &Address) -> io::Result<()> {
    let listener = address.listen().map_err(io::Error::other)?;
    std::thread::scope(|clients| {
        for stream in listener.clients(|error| eprintln!("shared_memory: {error}")) {
            let client = Connection::new(stream);
            let thread = Builder::new().spawn_scoped(clients, || look(client));
            drop(thread.inspect_err(|error| eprintln!("shared_memory: {error}")));
        }
    });
    Ok(())
}

/// Answers each message of a client with what is in the memory that it has brought.
fn look(mut client: Connection) -> io::Result<()> {
    loop {
        let message = client.receive()?;
        let mut seen = message.payload.to_vec();
        for descriptor in message.descriptors {
            // Whatever the client does to it later, this copy stays what it is.
            let memory = Shm::from_descriptor(descriptor, MEMORY_MOST);
            let memory = memory.map_err(io::Error::other)?;
            seen.resize(memory.size(), 0);
            memory.read(0, &mut seen).map_err(io::Error::other)?;
        }
        client.send(Channel::DATA, &seen)?;
    }
}

fn send(address: &Address, text: &str) -> io::Result<()> {
    let patience = Duration::from_secs(10);
    let mut service = Connection::new(address.connect(Instant::now() + patience)?);
    let patience = Patience::within(patience);
    let size = NonZeroUsize::new(text.len()).ok_or_else(|| io::Error::other("write a text"))?;
    let memory = Shm::new(size).map_err(io::Error::other)?;
    memory.write(0, text.as_bytes()).map_err(io::Error::other)?;
    match service.send_within(Channel::DATA, b"", &[memory.as_fd()], patience) {
        Err(ConnectionError::NoDescriptorsHere) => {
            service.send_within(Channel::DATA, text.as_bytes(), &[], patience)?;
        }
        sent => sent?,
    }
    let answer = service.receive_within(patience)?;
    println!("{}", String::from_utf8_lossy(&answer.payload));
    Ok(())
}

fn at(text: &str) -> io::Result<Address> {
    text.parse().map_err(io::Error::other)
}
