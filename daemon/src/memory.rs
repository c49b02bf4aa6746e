//! Memory that holds secrets.

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};

use crate::exit::Failure;

/// From now on there is no core dump of this process or of one that it starts, and nobody but root
/// looks into its memory. A change of account undoes the second: call it again then.
///
/// # Errors
///
/// [`Failure`]; the kernel forbids it.
pub fn hide() -> Result<(), Failure> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
        .and_then(|()| set_dumpable(false))
        .map_err(|error| Failure::system("memory cannot be protected", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_process_is_not_dumped() {
        hide().unwrap();
        assert!(!nix::sys::prctl::get_dumpable().unwrap());
        let limits = nix::sys::resource::getrlimit(Resource::RLIMIT_CORE).unwrap();
        assert_eq!(limits, (0, 0));
    }
}
