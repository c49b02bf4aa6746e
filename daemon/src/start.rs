//! Steps of start-up that daemons share.

use std::path::Path;

use libipc::rundir::{Instance, RunDirectory};
use settings::Problem;

use crate::account;
use crate::exit::Failure;
use sys::file;

/// The configuration that `parse` makes of the file; the default one without a file.
///
/// # Errors
///
/// [`Failure::Config`] with all problems of the file.
pub fn read_config<C: Default>(
    path: Option<&Path>,
    parse: impl FnOnce(&str, &str) -> Result<C, Vec<Problem>>,
) -> Result<C, Failure> {
    let Some(path) = path else { return Ok(C::default()) };
    let name = path.display().to_string();
    let text = file::read_text(path).map_err(|why| Failure::Config(format!("{name}: {why}")))?;
    parse(&name, &text).map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Failure::Config(problems.join("\n"))
    })
}

/// A daemon of the system, started as root, goes on as `account` where there is one. False if
/// there is none, and it goes on as root.
///
/// # Errors
///
/// [`Failure::System`]; nothing may go on then.
pub fn give_up_root(directory: &RunDirectory, account: &str) -> Result<bool, Failure> {
    if directory.instance() != Instance::System || !nix::unistd::geteuid().is_root() {
        return Ok(true);
    }
    account::switch_to(account).map_err(|error| Failure::system("cannot give up root", &error))
}
