//! A client hands a service an open file; on another host, where no descriptor goes, its content.
//!
//!     descriptors serve ADDRESS
//!     descriptors send ADDRESS FILE       prints how many bytes the service has read
#![expect(clippy::print_stdout, reason = "an example for the command line")]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::thread::Builder;
use std::time::{Duration, Instant};

use libipc::{Address, Channel, Connection, ConnectionError, Patience};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [_, "serve", address] => serve(&at(address)?),
        [_, "send", address, file] => send(&at(address)?, &File::open(file)?),
        _ => Err(io::Error::other("descriptors serve ADDRESS | descriptors send ADDRESS FILE")),
    }
}

fn serve(address: &Address) -> io::Result<()> {
    let listener = address.listen().map_err(io::Error::other)?;
    std::thread::scope(|clients| {
        for stream in listener.clients(|error| eprintln!("descriptors: {error}")) {
            let client = Connection::new(stream);
            let thread = Builder::new().spawn_scoped(clients, || count(client));
            drop(thread.inspect_err(|error| eprintln!("descriptors: {error}")));
        }
    });
    Ok(())
}

/// Answers each message of a client with how many bytes it has brought.
fn count(mut client: Connection) -> Result<(), ConnectionError> {
    loop {
        let message = client.receive()?;
        let mut content = message.payload.to_vec();
        for descriptor in message.descriptors {
            File::from(descriptor).read_to_end(&mut content)?;
        }
        client.send(Channel::DATA, content.len().to_string().as_bytes())?;
    }
}

fn send(address: &Address, mut file: &File) -> io::Result<()> {
    let patience = Duration::from_secs(10);
    let mut service = Connection::new(address.connect(Instant::now() + patience)?);
    let patience = Patience::within(patience);
    match service.send_within(Channel::DATA, b"", &[file.as_fd()], patience) {
        Err(ConnectionError::NoDescriptorsHere) => {
            let mut content = Vec::new();
            file.read_to_end(&mut content)?;
            service.send_within(Channel::DATA, &content, &[], patience)?;
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
