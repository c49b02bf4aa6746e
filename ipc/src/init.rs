//! `ipc init`: a first configuration, and what comes next. What is there already is left alone.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::report::{self, Report};

/// The file that comes with the broker: every key, switched off.
const FIRST: &str = include_str!("../../config/ipcd.toml");

/// What to write.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// For a broker of one's own, also as root
    #[arg(long)]
    user: bool,
}

/// Whose broker the configuration is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Whose {
    System,
    Own,
}

/// Makes the directory and the file.
pub(crate) fn run(wanted: &Init) -> Result<ExitCode, Report> {
    let is_root = nix::unistd::geteuid().is_root();
    let whose = if wanted.user || !is_root { Whose::Own } else { Whose::System };
    let base = match whose {
        Whose::System => PathBuf::from("/etc/ipcd"),
        Whose::Own => settings::configuration::user_base().ok_or_else(|| {
            let why = "neither XDG_CONFIG_HOME nor HOME says where";
            Report::new(78, "init", "configuration", why).cure("to do", "set HOME")
        })?,
    };
    let file = base.join("ipcd.toml");
    let is_new = make(&base, &file, whose)
        .map_err(|error| Report::system("init", format!("{}: {error}", file.display())))?;
    report::print(&next(&file, is_new, whose))
}

/// Makes what is not there; whether the file was not.
fn make(base: &Path, file: &Path, whose: Whose) -> io::Result<bool> {
    let (directory_mode, mode) = match whose {
        Whose::System => (0o755, 0o644),
        Whose::Own => (0o700, 0o600),
    };
    let drop_ins = base.join("ipcd.d");
    fs::DirBuilder::new().recursive(true).mode(directory_mode).create(drop_ins)?;
    match fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(file) {
        // Whatever the umask: whom it is for has to read it.
        Ok(mut opened) => opened
            .set_permissions(fs::Permissions::from_mode(mode))
            .and_then(|()| opened.write_all(FIRST.as_bytes()))
            .map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// What comes next, with what there is to start it.
fn next(file: &Path, is_new: bool, whose: Whose) -> String {
    let was = if is_new { "written" } else { "there already, and left as it is" };
    let start = match whose {
        Whose::System => "systemctl enable --now ipcd.socket ipcd-tcpd.socket",
        Whose::Own => "systemctl --user enable --now ipcd.socket ipcd-tcpd.socket",
    };
    let without = match whose {
        Whose::System => "ipcd --with tcpd &",
        Whose::Own => "ipcd --user --with tcpd &",
    };
    format!(
        "{}: {was}\nWrite rules there, or to a file of ipcd.d beside it. Then:\n  \
         ipc check\n  {start}\n  {without}      where there is no systemd\n  ipc status\n",
        file.display()
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_is_there_is_never_written() {
        let place = tempfile::tempdir().unwrap();
        let base = place.path().join("config/ipcd");
        let file = base.join("ipcd.toml");
        assert!(make(&base, &file, Whose::Own).unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), FIRST);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&base), mode(&file)), (0o700, 0o600));
        fs::write(&file, "own").unwrap();
        assert!(!make(&base, &file, Whose::Own).unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), "own");
    }

    #[test]
    fn what_comes_next_is_said_for_the_right_broker() {
        let said = next(Path::new("/x/ipcd.toml"), true, Whose::Own);
        assert!(said.starts_with("/x/ipcd.toml: written\n"), "{said}");
        assert!(said.contains("systemctl --user enable"), "{said}");
        let said = next(Path::new("/x/ipcd.toml"), false, Whose::System);
        assert!(said.contains("left as it is") && !said.contains("--user"), "{said}");
    }
}
