//! `ipc rendezvous`: two processes of one user meet by number and name.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use libipc::private_place::PrivatePlace;
use libipc::rendezvous::{self, Meeting, RendezvousError};
use libipc::{Patience, Stream};

use crate::connect::relay_both;
use crate::place::Place;
use crate::report::Report;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Rendezvous {
    /// Wait for one process: standard input and output are the connection
    Serve {
        /// The name: any text without / \ : * ? " < > |
        name: String,
        /// Write this process's number to a file, once it can be met
        #[arg(long, short, value_name = "FILE")]
        pid_file: Option<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
    /// Meet a process that waits
    Connect {
        /// Its number
        pid: u32,
        /// The name under which it waits
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

pub(crate) fn run(command: &Rendezvous) -> Result<ExitCode, Report> {
    let (name, stream) = match command {
        Rendezvous::Serve { name, pid_file, place } => {
            (name, serve(name, pid_file.as_deref(), place)?)
        }
        Rendezvous::Connect { pid, name, place } => (name, connect(*pid, name, place)?),
    };
    relay_both(name, &stream)
}

/// Waits for one process. Nobody can meet us any more once that has come.
fn serve(name: &str, pid_file: Option<&Path>, place: &Place) -> Result<Stream, Report> {
    let patience = Patience::within(place.timeout()?);
    let mut meeting =
        Meeting::open_in(&private(name, place)?, name).map_err(|error| failure(name, &error))?;
    if let Some(file) = pid_file {
        std::fs::write(file, std::process::id().to_string())
            .map_err(|error| Report::system(&file.display().to_string(), error))?;
    }
    meeting.accept(patience).map_err(|error| failure(name, &error))
}

fn connect(pid: u32, name: &str, place: &Place) -> Result<Stream, Report> {
    let patience = Patience::within(place.timeout()?);
    rendezvous::connect_in(&private(name, place)?, pid, name, patience)
        .map_err(|error| failure(name, &error))
}

fn private(name: &str, place: &Place) -> Result<PrivatePlace, Report> {
    PrivatePlace::of(&place.environment(), rendezvous::PLACE)
        .map_err(|error| failure(name, &error.into()))
}

fn failure(name: &str, error: &RendezvousError) -> Report {
    let shown = name.escape_debug().to_string();
    let new = |code, what, cure: &str| Report::new(code, &shown, what, error).cure("to do", cure);
    match error {
        RendezvousError::Name(_) => new(64, "no name for a meeting", "write another name"),
        RendezvousError::Place(_) => {
            new(78, "configuration", "name a directory of your own in IPC_RUNDIR")
        }
        RendezvousError::Unknown { .. } => {
            new(69, "nobody waits", "start ipc rendezvous serve, and take the number from there")
                .retry(true)
        }
        RendezvousError::Gone { .. } => new(69, "nobody waits", "start it again"),
        RendezvousError::TimedOut => {
            new(124, "timed out", "wait longer: --timeout SECONDS").retry(true)
        }
        RendezvousError::Ended => new(3, "no meeting", "try again").retry(true),
        RendezvousError::Damaged { .. }
        | RendezvousError::WrongProcess { .. }
        | RendezvousError::Exchange(_) => {
            new(50, "not proven", "look which of your processes has tampered with the directory")
        }
        _ => Report::system(&shown, error),
    }
}
