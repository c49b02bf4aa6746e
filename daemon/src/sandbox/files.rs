//! Which files can be used, by landlock(7).

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

use crate::sandbox::Sandbox;

/// What is restricted where the kernel can: files since 5.13, moving them since 5.19, truncating
/// them since 6.2, ioctl of devices since 6.10, abstract sockets and signals since 6.12.
const NEWEST: ABI = ABI::V6;

/// What every program of this system reads: names of accounts and hosts, libraries that look them
/// up, the time zone, and the kernel's word about processes.
const SYSTEM: [&str; 8] =
    ["/etc", "/usr", "/lib", "/lib64", "/proc", "/run", "/var/lib", "/dev/null"];

/// Restricts this thread and those that it starts. False if the kernel knows nothing of it.
pub(super) fn restrict(sandbox: &Sandbox<'_>) -> io::Result<bool> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.scope(Scope::AbstractUnixSocket))
        .map_err(io::Error::other)?;
    // A child that was started before is outside, and could not be ended.
    if !sandbox.has_children {
        rules = rules.scope(Scope::Signal).map_err(io::Error::other)?;
    }
    let mut rules = rules.create().map_err(io::Error::other)?;
    for path in SYSTEM.iter().map(Path::new).chain(sandbox.reads.iter().map(PathBuf::as_path)) {
        rules = allow(rules, path, Use::Read)?;
    }
    for path in sandbox.binds {
        rules = allow(rules, path, Use::Bind)?;
    }
    let status = rules.restrict_self().map_err(io::Error::other)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// What is allowed below a path.
#[derive(Clone, Copy)]
enum Use {
    Read,
    Bind,
}

fn allow(rules: RulesetCreated, path: &Path, what: Use) -> io::Result<RulesetCreated> {
    let Some((path, is_directory)) = existing(path)? else { return Ok(rules) };
    let mut access = match what {
        Use::Read => AccessFs::ReadFile | AccessFs::ReadDir,
        Use::Bind => {
            AccessFs::ReadFile
                | AccessFs::ReadDir
                | AccessFs::WriteFile
                | AccessFs::MakeReg
                | AccessFs::MakeSock
                | AccessFs::MakeDir
                | AccessFs::RemoveFile
        }
    };
    if !is_directory {
        access &= AccessFs::from_file(NEWEST);
    }
    let opened = PathFd::new(&path).map_err(io::Error::other)?;
    rules.add_rule(PathBeneath::new(opened, access)).map_err(io::Error::other)
}

/// The path, or the nearest above it that exists; and whether it is a directory. Never the root
/// in place of something else.
fn existing(path: &Path) -> io::Result<Option<(PathBuf, bool)>> {
    for found in path.ancestors() {
        match found.metadata() {
            Ok(_) if found != path && found == Path::new("/") => return Ok(None),
            Ok(facts) => return Ok(Some((found.to_owned(), facts.is_dir()))),
            Err(error) if is_out_of_reach(&error) => {}
            // Left out, it would be missed only when it is needed.
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// What is not there, or not for this account, is missed by nobody.
fn is_out_of_reach(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_not_there_yet_stands_for_the_directory_above() {
        let place = tempfile::tempdir().unwrap();
        let found = existing(&place.path().join("not/there")).unwrap();
        assert_eq!(found, Some((place.path().to_owned(), true)));
        assert_eq!(existing(Path::new("/dev/null")).unwrap(), Some(("/dev/null".into(), false)));
        assert_eq!(existing(Path::new("/no-such-place/at-all")).unwrap(), None);
    }
}
