//! A service and a client on tokio.
//!
//!     async serve ADDRESS
//!     async ask ADDRESS TEXT…     all texts at once, the answers in their order
#![expect(clippy::print_stdout, reason = "an example for the command line")]

use std::io;
use std::time::Duration;

use libipc::async_io::{AsyncListener, AsyncSession, connect};
use libipc::session::{ClientOptions, ServerOptions, SessionError};
use libipc::{Address, Stream};
use tokio::task::JoinSet;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.as_slice() {
        [_, "serve", address] => runtime.block_on(serve(&at(address)?)),
        [_, "ask", address, texts @ ..] => runtime.block_on(ask(&at(address)?, texts)),
        _ => Err(io::Error::other("async serve ADDRESS | async ask ADDRESS TEXT…")),
    }
}

async fn serve(address: &Address) -> io::Result<()> {
    let listener = AsyncListener::new(address.listen().map_err(io::Error::other)?)?;
    let mut clients = JoinSet::new();
    while let Some(stream) = listener.next(|error| eprintln!("async: {error}")).await {
        clients.spawn(answer(stream));
        // Those that have left take no room any more.
        while clients.try_join_next().is_some() {}
    }
    clients.join_all().await;
    Ok(())
}

/// Answers one client until it leaves.
async fn answer(stream: Stream) -> Result<(), SessionError> {
    let mut session = AsyncSession::accept(stream, &ServerOptions::default(), "a-client").await?;
    while let Ok(message) = session.receive().await {
        if let Some(request) = message.request {
            session.answer(request, &message.payload).await?;
        }
    }
    Ok(())
}

async fn ask(address: &Address, texts: &[&str]) -> io::Result<()> {
    let mut asking = Vec::new();
    for text in texts {
        let (address, text) = (address.clone(), (*text).to_owned());
        asking.push(tokio::spawn(async move {
            let stream = connect(&address, Duration::from_secs(10)).await?;
            let mut session = AsyncSession::connect(stream, &ClientOptions::default()).await?;
            let answer = session.request(text.as_bytes()).await?;
            Ok::<_, io::Error>(String::from_utf8_lossy(&answer).into_owned())
        }));
    }
    for one in asking {
        println!("{}", one.await.map_err(io::Error::other)??);
    }
    Ok(())
}

fn at(text: &str) -> io::Result<Address> {
    text.parse().map_err(io::Error::other)
}
