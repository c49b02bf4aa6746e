//! What is connected to: a process of its own that answers whoever asks, by one poller.

use std::collections::HashMap;
use std::error::Error;
use std::io::{Read, Write};

use libipc::poller::{Interest, Poller, Token};
use libipc::rundir::RunDirectory;
use libipc::{Listener, ServiceName, Stream};

/// Bytes of a question and its answer.
pub(crate) const BYTES: usize = 64;

/// A service with a socket of its own.
pub(crate) const WITH_SOCKET: &str = "own";

/// A service that has told the broker.
pub(crate) const REGISTERED: &str = "told";

/// Serves both names, and registers further ones that nobody asks for, until it is killed.
pub(crate) fn serve(directory: &RunDirectory, crowd: usize) -> Result<(), Box<dyn Error>> {
    let register = |name: &str| -> Result<Listener, Box<dyn Error>> {
        Ok(Listener::bind_in(directory, &ServiceName::new(name)?)?)
    };
    let idle: Vec<Listener> =
        (0..crowd).map(|number| register(&format!("idle{number}"))).collect::<Result<_, _>>()?;
    let own = Listener::own_socket_in(directory, &ServiceName::new(WITH_SOCKET)?)?;
    let listeners = [register(REGISTERED)?, own];
    let mut poller = Poller::new()?;
    for (number, listener) in (0..).zip(&listeners) {
        poller.add(listener, Token(number), Interest::READ)?;
    }
    let (mut clients, mut last, mut ready) = (HashMap::new(), 1, Vec::new());
    while idle.len() == crowd {
        poller.wait(&mut ready, None)?;
        for one in ready.drain(..) {
            let listener = usize::try_from(one.token.0).ok().and_then(|place| listeners.get(place));
            if let Some(listener) = listener {
                while let Some(client) = listener.try_accept()? {
                    last += 1;
                    poller.add(&client, Token(last), Interest::READ)?;
                    clients.insert(Token(last), client);
                }
            } else if clients.get_mut(&one.token).is_some_and(|client| !answers(client))
                && let Some(client) = clients.remove(&one.token)
            {
                poller.remove(&client)?;
            }
        }
    }
    Ok(())
}

/// A question comes whole, as it was sent.
fn answers(client: &mut Stream) -> bool {
    let mut buffer = [0; BYTES];
    client.read_exact(&mut buffer).is_ok() && client.write_all(&buffer).is_ok()
}
