//! Lookup, handoff and first reply beside a bare connect and reply, in one run, on one CPU.
//!
//! `cargo run --release -p ipcd-bench`: rounds, each with every contestant, the reference first; a
//! ratio is contestant to reference of the same round. The program, the service and the broker are
//! three processes on one CPU, so what is compared is the length of the path.
//! `cargo run --release -p ipcd-bench handoff front`: only contestants with that word in their names.
//! `cargo run --release -p ipcd-bench messages`: what messages cost beside raw sockets.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the measurements are what it is for")]
#![expect(clippy::indexing_slicing, reason = "tables of a fixed shape")]

use std::error::Error;
use std::path::Path;

use libipc::rundir::{Instance, RunDirectory};

mod handoff;
mod messages;
mod processes;
mod service;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["activate", front, ..] => processes::activate(Path::new(front), &arguments[2..]),
        ["serve", directory, crowd] => {
            let directory = RunDirectory::new(directory.into(), Instance::Private);
            service::serve(&directory, crowd.parse()?)
        }
        [] => on_one_cpu().and_then(|()| handoff::run(None)),
        ["messages", part @ ..] => on_one_cpu().and_then(|()| messages::run(part.first().copied())),
        ["handoff", word] => on_one_cpu().and_then(|()| handoff::run(Some(word))),
        _ => Err("ipcd-bench [messages [trips | one-way | beginnings] | handoff WORD]".into()),
    }
}

/// For this process and those that it starts.
fn on_one_cpu() -> Result<(), Box<dyn Error>> {
    let mut one = nix::sched::CpuSet::new();
    one.set(0)?;
    Ok(nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &one)?)
}
