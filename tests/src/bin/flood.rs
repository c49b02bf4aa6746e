//! A hostile program: `flood RUNDIR FILE` does to the broker of that run directory, as fast as it
//! can until the file is there, what a user may try: connections that say nothing, half of
//! something, garbage, and requests whose answers it does not read. At the end it tells how many.
//! `flood RUNDIR FILE COUNT` makes so many connections, tells so, and keeps them until its input
//! ends.
#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]
#![expect(clippy::expect_used, reason = "tests: a broken premise ends them")]

use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Connections that it keeps open; the broker allows fewer.
const KEPT: usize = 2_000;

/// What it says, in turn.
const WORDS: [&[u8]; 5] = [
    b"",
    b"{\"method\":\"org.ipcd.Broker.Conn",
    b"\x00\x00\xff\xff",
    b"{\"method\":\"org.ipcd.Broker.Connect\",\"parameters\":{\"service\":\"pongd\",\"take\":[\"door\"]}}\0",
    b"{\"method\":\"org.varlink.service.GetInfo\"}\0{\"method\":\"org.varlink.service.GetInfo\"}\0",
];

fn main() {
    let mut words = std::env::args().skip(1);
    let place = PathBuf::from(words.next().expect("a directory")).join("ipc");
    let end = PathBuf::from(words.next().expect("a file"));
    let most = words.next().map_or(usize::MAX, |word| word.parse().expect("a number"));
    let (mut kept, mut made) = (VecDeque::new(), 0_usize);
    while made < most && !end.exists() {
        for words in WORDS {
            let Ok(mut one) = UnixStream::connect(&place) else { continue };
            // Who is not wanted is closed.
            let _closed = one.write_all(words).is_err();
            made += 1;
            kept.push_back(one);
        }
        while kept.len() > KEPT {
            kept.pop_front();
        }
    }
    println!("{made}");
    if made >= most {
        std::io::read_to_string(std::io::stdin()).expect("an end");
    }
}
