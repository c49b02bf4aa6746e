//! Memory that holds secrets.

use crate::exit::Failure;

/// From now on there is no core dump of this process, and nobody but root looks into its memory.
/// A change of account undoes it: call it again then.
///
/// # Errors
///
/// [`Failure`]; the kernel forbids it.
pub fn hide() -> Result<(), Failure> {
    nix::sys::prctl::set_dumpable(false)
        .map_err(|error| Failure::system("memory cannot be protected", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_process_is_not_dumped() {
        hide().unwrap();
        assert!(!nix::sys::prctl::get_dumpable().unwrap());
    }
}
