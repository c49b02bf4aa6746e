//! The configuration: what the command line says, and the files of the instance.

use std::path::{Path, PathBuf};

use libipc::rundir::Instance;
use policy::config::{CommandLine, Sources};
use settings::configuration::{Found, Places, Reader, Unread};

/// Where to look: what stays the same from reload to reload.
#[derive(Debug)]
pub(crate) struct Files {
    places: Places,
    command_line: Vec<CommandLine>,
}

impl Files {
    /// The files of an instance, or those that were named.
    pub(crate) fn of(
        instance: Instance,
        named: Option<&Path>,
        command_line: Vec<CommandLine>,
    ) -> Self {
        let places = match (named, instance) {
            (Some(path), _) => Places::named(path),
            (None, Instance::System) => Places::of_system(),
            (None, Instance::User) => Places::of_user(),
            (None, Instance::Private) => Places::none(),
        };
        Self { places, command_line }
    }

    /// The directories that they are in, whether these exist or not.
    pub(crate) fn places(&self) -> Vec<PathBuf> {
        self.places.directories()
    }

    /// Reads all of them.
    ///
    /// # Errors
    ///
    /// [`Unread`] of the first that cannot be read, or that others could have written.
    pub(crate) fn read(&self) -> Result<Sources, Unread> {
        let Found { main, drop_ins } = self.places.read(&Reader::of_process())?;
        Ok(Sources { command_line: self.command_line.clone(), drop_ins, main })
    }
}
