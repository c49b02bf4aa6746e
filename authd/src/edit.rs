//! The commands that change or show the file of users.

use std::io::{self, Write};
use std::path::Path;

use daemon::exit::Failure;
use libipc::secret::Secret;

use crate::args::Command;
use crate::hash::Hash;
use crate::passwords::{file, line, with_line};
use crate::prompt::read_secret;

/// Carries out a command on the file at `path`.
///
/// # Errors
///
/// [`Failure`]; the file is as it was then.
pub(crate) fn run(command: &Command, path: &Path) -> Result<(), Failure> {
    match command {
        Command::Add { user, groups } => {
            // Before anybody types a secret for nothing; and again when it is written.
            let known = file::edit(path, |_, users| (None, users.get(user).is_some()));
            if known.map_err(|error| unusable(&error))? {
                return Err(exists(user));
            }
            add(path, user, &ask(user)?, groups)
        }
        Command::Change { user } => {
            if file::load(path).map_err(|error| unusable(&error))?.get(user).is_none() {
                return Err(unknown(user, path));
            }
            change(path, user, &ask(user)?)
        }
        Command::Remove { user } => remove(path, user),
        Command::List => list(path),
    }
}

fn add(path: &Path, user: &str, secret: &Secret, groups: &[String]) -> Result<(), Failure> {
    let hash = hash_of(secret)?;
    let added = file::edit(path, |text, users| match users.get(user) {
        Some(_) => (None, false),
        None => (Some(with_line(text, user, Some(&line(user, &hash, groups)))), true),
    });
    if added.map_err(|error| unusable(&error))? { Ok(()) } else { Err(exists(user)) }
}

fn change(path: &Path, user: &str, secret: &Secret) -> Result<(), Failure> {
    let hash = hash_of(secret)?;
    let changed = file::edit(path, |text, users| match users.get(user) {
        Some(entry) => (Some(with_line(text, user, Some(&line(user, &hash, &entry.groups)))), true),
        None => (None, false),
    });
    if changed.map_err(|error| unusable(&error))? { Ok(()) } else { Err(unknown(user, path)) }
}

fn remove(path: &Path, user: &str) -> Result<(), Failure> {
    let removed = file::edit(path, |text, users| match users.get(user) {
        Some(_) => (Some(with_line(text, user, None)), true),
        None => (None, false),
    });
    if removed.map_err(|error| unusable(&error))? { Ok(()) } else { Err(unknown(user, path)) }
}

fn list(path: &Path) -> Result<(), Failure> {
    let users = file::load(path).map_err(|error| unusable(&error))?;
    let lines = users.all().into_iter().map(|(user, groups)| match groups {
        [] => user.to_owned(),
        groups => format!("{user} {}", groups.join(",")),
    });
    let mut lines: Vec<_> = lines.collect();
    lines.push(String::new());
    io::stdout()
        .write_all(lines.join("\n").as_bytes())
        .map_err(|error| Failure::system("output", &error))
}

fn ask(user: &str) -> Result<Secret, Failure> {
    read_secret(user).map_err(|error| Failure::Usage(error.to_string()))
}

fn hash_of(secret: &Secret) -> Result<Hash, Failure> {
    Hash::of(secret).map_err(|error| Failure::system("the secret cannot be hashed", &error))
}

fn unusable(error: &file::FileError) -> Failure {
    Failure::Config(error.to_string())
}

fn exists(user: &str) -> Failure {
    Failure::Usage(format!("{user} is there already: authd change {user}"))
}

fn unknown(user: &str, path: &Path) -> Failure {
    Failure::Usage(format!("{}: there is no user {user}: authd list", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_come_change_and_go_and_others_stay() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("passwords");
        let secret = |text: &str| Secret::new(text.to_owned());
        let is = |user: &str, text: &str| {
            let users = file::load(&path).unwrap();
            users.get(user).map(|entry| entry.hash.is_of(&secret(text)).unwrap())
        };
        add(&path, "alice", &secret("one"), &["staff".to_owned()]).unwrap();
        add(&path, "bob", &secret("two"), &[]).unwrap();
        assert_eq!((is("alice", "one"), is("bob", "two")), (Some(true), Some(true)));
        let again = add(&path, "alice", &secret("x"), &[]).unwrap_err();
        assert_eq!(again.to_string(), "alice is there already: authd change alice");
        change(&path, "alice", &secret("three")).unwrap();
        assert_eq!((is("alice", "one"), is("alice", "three")), (Some(false), Some(true)));
        assert_eq!(file::load(&path).unwrap().get("alice").unwrap().groups, ["staff"]);
        remove(&path, "alice").unwrap();
        assert_eq!((is("alice", "three"), is("bob", "two")), (None, Some(true)));
        for missing in [remove(&path, "alice"), change(&path, "alice", &secret("x"))] {
            assert!(
                missing.unwrap_err().to_string().ends_with("there is no user alice: authd list")
            );
        }
    }
}
