//! One thread, one poller, any number of clients: each message goes back to whom it came from.
//!
//!     many_clients serve ADDRESS
//!     many_clients ask ADDRESS TEXT
#![expect(clippy::print_stdout, reason = "an example for the command line")]

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use libipc::poller::{Interest, Poller, Ready, Token};
use libipc::{Address, Channel, Connection, ConnectionError, Listener, Patience};

/// Clients at once; further ones wait until one has gone.
const CLIENTS_MOST: usize = 10_000;

/// How long to rest when the system is out of descriptors.
const REST: Duration = Duration::from_millis(100);

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
    let poller = Poller::new()?;
    poller.add(&listener, LISTENER, Interest::READ)?;
    let (clients, last, is_over) = (HashMap::new(), LISTENER, false);
    let mut service = Service { listener, poller, clients, last, is_over };
    let mut ready = Vec::new();
    while !(service.is_over && service.clients.is_empty()) {
        service.poller.wait(&mut ready, None)?;
        for Ready { token, .. } in ready.drain(..) {
            match token {
                LISTENER => service.accept()?,
                client => service.answer(client)?,
            }
        }
    }
    Ok(())
}

struct Service {
    listener: Listener,
    poller: Poller,
    clients: HashMap<Token, Connection>,
    last: Token,
    /// Another process has the name: those who have come are served, and nobody else comes.
    is_over: bool,
}

impl Service {
    /// Lets in who is there, as many as there is room for.
    fn accept(&mut self) -> io::Result<()> {
        // Told twice at once, by the listener and by the end of a rest.
        if self.is_over {
            return Ok(());
        }
        while self.clients.len() < CLIENTS_MOST {
            match self.listener.try_accept() {
                Ok(None) => break,
                Ok(Some(stream)) => {
                    self.last = Token(self.last.0 + 1);
                    let client = Connection::new(stream);
                    self.poller.add(&client, self.last, Interest::READ)?;
                    self.clients.insert(self.last, client);
                }
                Err(error) => {
                    eprintln!("many_clients: {error}");
                    return self.rest(&error);
                }
            }
        }
        self.listen()
    }

    /// Waits for clients while there is room for one.
    fn listen(&mut self) -> io::Result<()> {
        let has_room = self.clients.len() < CLIENTS_MOST;
        let wanted = if has_room { Interest::READ } else { Interest::NONE };
        if self.is_over { Ok(()) } else { self.poller.change(&self.listener, LISTENER, wanted) }
    }

    /// Leaves the listener alone for a moment, as without descriptors it would be ready at once;
    /// for good if that is what the error says.
    fn rest(&mut self, error: &io::Error) -> io::Result<()> {
        if error.kind() == io::ErrorKind::AddrInUse {
            self.is_over = true;
            return self.poller.remove(&self.listener);
        }
        self.poller.set_timer(LISTENER, Instant::now() + REST);
        self.poller.change(&self.listener, LISTENER, Interest::NONE)
    }

    /// Answers one client, if it is still there.
    fn answer(&mut self, token: Token) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(&token) else { return Ok(()) };
        match answer(client) {
            // Who does not read what we send is not read from either.
            Ok(true) => self.poller.change(&*client, token, Interest::READ),
            Ok(false) => self.poller.change(&*client, token, Interest::WRITE),
            Err(_) => {
                self.poller.remove(&*client)?;
                self.clients.remove(&token);
                self.listen()
            }
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
