//! One thread, one poller, any number of clients: each message goes back to whom it came from.
//!
//!     many_clients serve ADDRESS
//!     many_clients ask ADDRESS TEXT
#![expect(clippy::print_stdout, reason = "an example for the command line")]

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use libipc::poller::{Interest, Poller, Ready, Token};
use libipc::{Address, Channel, Connection, ConnectionError, Patience};

/// Clients at once; further ones wait until one has gone.
const CLIENTS_MOST: usize = 10_000;

const LISTENER: Token = Token(0);

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [_, "serve", address] => serve(&at(address)?),
        [_, "ask", address, text] => ask(&at(address)?, text),
        _ => Err(io::Error::other("many_clients serve ADDRESS | many_clients ask ADDRESS TEXT")),
    }
}

fn serve(address: &Address) -> io::Result<()> {
    let listener = address.listen().map_err(io::Error::other)?;
    let mut poller = Poller::new()?;
    poller.add(&listener, LISTENER, Interest::READ)?;
    let (mut clients, mut last, mut ready) = (HashMap::new(), LISTENER, Vec::new());
    loop {
        poller.wait(&mut ready, None)?;
        for Ready { token, .. } in ready.drain(..) {
            if token == LISTENER {
                while clients.len() < CLIENTS_MOST
                    && let Some(stream) = listener.try_accept()?
                {
                    last = Token(last.0 + 1);
                    let client = Connection::new(stream);
                    poller.add(&client, last, Interest::READ)?;
                    clients.insert(last, client);
                }
            } else if let Some(client) = clients.get_mut(&token) {
                match answer(client) {
                    // Who does not read what we send is not read from either.
                    Ok(true) => poller.change(&*client, token, Interest::READ)?,
                    Ok(false) => poller.change(&*client, token, Interest::WRITE)?,
                    Err(_) => {
                        poller.remove(&*client)?;
                        clients.remove(&token);
                    }
                }
            }
            let room = clients.len() < CLIENTS_MOST;
            let wanted = if room { Interest::READ } else { Interest::NONE };
            poller.change(&listener, LISTENER, wanted)?;
        }
    }
}

/// Sends back what has come; whether all of that has left.
fn answer(client: &mut Connection) -> Result<bool, ConnectionError> {
    while client.flush(Patience::Never)? {
        let Some(message) = client.try_receive()? else { return Ok(true) };
        client.queue(message.channel, &message.payload)?;
    }
    Ok(false)
}

fn ask(address: &Address, text: &str) -> io::Result<()> {
    let patience = Duration::from_secs(10);
    let mut service = Connection::new(address.connect(Instant::now() + patience)?);
    service.send(Channel::COMMAND, text.as_bytes())?;
    let answer = service.receive_within(Patience::within(patience))?;
    println!("{}", String::from_utf8_lossy(&answer.payload));
    Ok(())
}

fn at(text: &str) -> io::Result<Address> {
    text.parse().map_err(io::Error::other)
}
