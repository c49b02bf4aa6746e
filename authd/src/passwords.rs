//! The users and the hashes of their secrets, as one text.
//!
//! A line is `USER:HASH` or `USER:HASH:GROUP,GROUP…`; empty ones and those that begin with `#` are
//! for people. Nothing here does I/O.

use std::collections::HashMap;
use std::fmt;

use crate::hash::{Hash, HashError};

pub(crate) mod file;

/// Characters of the longest name of a user or group.
pub(crate) const NAME_LENGTH_MOST: usize = 64;

/// Users at most.
pub(crate) const USERS_MOST: usize = 65_536;

/// One user.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The hash of the secret.
    pub(crate) hash: Hash,
    /// The groups that the user is in.
    pub(crate) groups: Vec<String>,
}

/// All users. Holding one is the proof that every line was valid.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passwords(HashMap<String, Entry>);

impl Passwords {
    /// Reads all of a file.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<LineError>> {
        let mut users = HashMap::new();
        let mut errors = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let Some(read) = read_line(line) else { continue };
            let outcome = match read {
                Ok((user, _)) if users.contains_key(user) => Err(LineFault::Twice),
                Ok(_) if users.len() >= USERS_MOST => Err(LineFault::TooMany),
                Ok((user, entry)) => {
                    users.insert(user.to_owned(), entry);
                    Ok(())
                }
                Err(fault) => Err(fault),
            };
            if let Err(fault) = outcome {
                errors.push(LineError { line: index + 1, fault });
            }
        }
        if errors.is_empty() { Ok(Self(users)) } else { Err(errors) }
    }

    /// What is known of a user.
    pub(crate) fn get(&self, user: &str) -> Option<&Entry> {
        self.0.get(user)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The users in the order of their names, each with its groups.
    pub(crate) fn all(&self) -> Vec<(&str, &[String])> {
        let users = self.0.iter().map(|(user, entry)| (user.as_str(), entry.groups.as_slice()));
        let mut users: Vec<_> = users.collect();
        users.sort_unstable();
        users
    }

    /// A hash that costs what most of them cost.
    pub(crate) fn typical(&self) -> Option<&Hash> {
        let mut counts: HashMap<String, (usize, &Hash)> = HashMap::new();
        for entry in self.0.values() {
            counts.entry(entry.hash.cost()).or_insert((0, &entry.hash)).0 += 1;
        }
        // Of two that are as frequent, the same one each time.
        let most = counts.iter().max_by_key(|(cost, (count, _))| (*count, cost.as_str()));
        most.map(|(_, (_, hash))| *hash)
    }
}

/// What a line says; `None` if it is for people.
fn read_line(line: &str) -> Option<Result<(&str, Entry), LineFault>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    Some(read_user(line))
}

fn read_user(line: &str) -> Result<(&str, Entry), LineFault> {
    let mut fields = line.split(':');
    let (Some(user), Some(hash), groups, None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(LineFault::Fields);
    };
    if !is_name(user) {
        return Err(LineFault::User);
    }
    let groups: Vec<&str> = groups.map(|groups| groups.split(',').collect()).unwrap_or_default();
    if !groups.iter().all(|group| is_name(group)) {
        return Err(LineFault::Group);
    }
    let hash = Hash::parse(hash).map_err(LineFault::Hash)?;
    Ok((user, Entry { hash, groups: groups.into_iter().map(ToOwned::to_owned).collect() }))
}

/// Whether a user or group may have this name: rules can name it, and a line can hold it.
pub(crate) fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte);
    text.len() <= NAME_LENGTH_MOST
        && text.bytes().all(fits)
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}

/// The line of a user.
pub(crate) fn line(user: &str, hash: &Hash, groups: &[String]) -> String {
    let groups = if groups.is_empty() { String::new() } else { format!(":{}", groups.join(",")) };
    format!("{user}:{hash}{groups}")
}

/// The text with the line of `user` replaced by `line`, added if there is none, or taken out.
/// All other lines stay as they are.
pub(crate) fn with_line(text: &str, user: &str, line: Option<&str>) -> String {
    let is_users = |line: &str| {
        let line = line.trim();
        !line.starts_with('#') && line.split(':').next() == Some(user)
    };
    let mut line = line;
    let mut lines: Vec<&str> = Vec::new();
    for old in text.lines() {
        if is_users(old) {
            lines.extend(line.take());
        } else {
            lines.push(old);
        }
    }
    lines.extend(line);
    // So that the last line ends too.
    lines.push("");
    lines.join("\n")
}

/// What is wrong with a line, which is not repeated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct LineError {
    line: usize,
    fault: LineFault,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LineFault {
    Fields,
    User,
    Group,
    Hash(HashError),
    Twice,
    TooMany,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match self.fault {
            LineFault::Fields => f.write_str("a line is USER:HASH or USER:HASH:GROUP,GROUP"),
            LineFault::User => write!(f, "a user has {NAME_RULE}"),
            LineFault::Group => write!(f, "a group has {NAME_RULE}"),
            LineFault::Hash(error) => error.fmt(f),
            LineFault::Twice => f.write_str("this user stands there twice"),
            LineFault::TooMany => write!(f, "there are more than {USERS_MOST} users"),
        }
    }
}

impl std::error::Error for LineError {}

/// What [`is_name`] wants.
pub(crate) const NAME_RULE: &str =
    "1 to 64 of A-Z a-z 0-9 . _ - + @, the first of them a letter or digit";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_line_is_a_user_a_hash_and_perhaps_groups() {
        let text = format!("# people\n\nalice:{HASH}\n  bob@example.com:{HASH}:staff,on-call  \n");
        let passwords = Passwords::parse(&text).unwrap();
        let groups = ["staff".to_owned(), "on-call".to_owned()];
        assert_eq!(passwords.all(), [("alice", &[][..]), ("bob@example.com", &groups[..])]);
        assert!(passwords.get("carol").is_none() && passwords.get("").is_none());
    }

    #[test]
    fn every_line_that_is_wrong_is_told_with_its_number_and_without_its_content() {
        let text = format!(
            "alice\nalice:{HASH}:a:b\n:{HASH}\n@alice:{HASH}\na b:{HASH}\nalice:CANARY\n\
             alice:{HASH}:\nalice:{HASH}:a,,b\nalice:{HASH}\nalice:{HASH}\n{}:{HASH}",
            "a".repeat(NAME_LENGTH_MOST + 1)
        );
        let errors: Vec<_> =
            Passwords::parse(&text).unwrap_err().iter().map(ToString::to_string).collect();
        let user = format!("a user has {NAME_RULE}");
        let group = format!("a group has {NAME_RULE}");
        assert_eq!(
            errors,
            [
                "line 1: a line is USER:HASH or USER:HASH:GROUP,GROUP".to_owned(),
                "line 2: a line is USER:HASH or USER:HASH:GROUP,GROUP".to_owned(),
                format!("line 3: {user}"),
                format!("line 4: {user}"),
                format!("line 5: {user}"),
                "line 6: this is no hash in the form $argon2id$v=19$…".to_owned(),
                format!("line 7: {group}"),
                format!("line 8: {group}"),
                "line 10: this user stands there twice".to_owned(),
                format!("line 11: {user}"),
            ]
        );
        assert!(is_name(&"a".repeat(NAME_LENGTH_MOST)));
    }

    #[test]
    fn one_line_changes_and_no_other_one() {
        let text = "# alice:x\nalice:1\nbob:2\n";
        assert_eq!(with_line(text, "bob", Some("bob:3")), "# alice:x\nalice:1\nbob:3\n");
        assert_eq!(with_line(text, "carol", Some("carol:4")), format!("{text}carol:4\n"));
        assert_eq!(with_line(text, "alice", None), "# alice:x\nbob:2\n");
        assert_eq!(with_line("", "a", Some("a:1")), "a:1\n");
        assert_eq!(with_line("b:1", "a", Some("a:1")), "b:1\na:1\n");
    }

    #[test]
    fn users_are_bounded() {
        let line = |number: usize| format!("u{number}:{HASH}\n");
        let text: String = (0..USERS_MOST).map(line).collect();
        assert_eq!(Passwords::parse(&text).unwrap().len(), USERS_MOST);
        let errors = Passwords::parse(&format!("{text}{}", line(USERS_MOST))).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].to_string().contains("more than 65536 users"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(([a-z:$=,]{0,9}|\\PC{0,5})\n){0,9}") {
            drop(Passwords::parse(&text));
        }
    }
}
