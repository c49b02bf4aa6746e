//! `authd.toml`: which name is served, and where the users are.

use std::path::PathBuf;

use libipc::name::ServiceName;
use settings::Problem;

/// Verifications at the same time, whatever the configuration says.
pub(crate) const VERIFICATIONS_MOST: u64 = 64;

/// What the file says. Holding one is the proof that it was valid.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Config {
    /// The name to serve.
    pub(crate) service: Option<ServiceName>,
    /// The file of users; absolute.
    pub(crate) passwords: Option<PathBuf>,
    /// Verifications at the same time, each of which takes memory and a processor.
    pub(crate) verifications: Option<usize>,
}

impl Config {
    /// Reads the text of the file that people know as `file`.
    ///
    /// # Errors
    ///
    /// All problems of the file.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        settings::read(file, text, |mut root| {
            let service = root.text("service").and_then(|text| {
                let name = ServiceName::new(text.as_str());
                name.map_err(|error| root.report(text.problem(error))).ok()
            });
            let passwords = root.text("passwords").and_then(|text| {
                let path = PathBuf::from(text.as_str());
                if !path.is_absolute() {
                    root.report(text.problem("wants an absolute path"));
                }
                path.is_absolute().then_some(path)
            });
            let verifications = root.integer("verifications", 1..=VERIFICATIONS_MOST);
            let verifications = verifications.and_then(|number| usize::try_from(number).ok());
            Self { service, passwords, verifications }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELIVERED: &str = include_str!("../../config/authd.toml");

    fn problems(text: &str) -> Vec<String> {
        let problems = Config::parse("authd.toml", text).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_file_as_it_is_delivered_is_valid_and_shows_every_key() {
        assert!(Config::parse("authd.toml", DELIVERED).is_ok());
        let on: Vec<_> = DELIVERED
            .lines()
            .map(|line| {
                line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)
            })
            .collect();
        let config = Config::parse("authd.toml", &on.join("\n")).unwrap();
        assert_eq!(config.service.unwrap().as_str(), "authd");
        assert!(config.passwords.is_some() && config.verifications.is_some());
    }

    #[test]
    fn what_is_wrong_is_told_where_it_stands() {
        assert_eq!(
            problems("service = 'a b'\npasswords = 'x'\nverifications = 65\ncolour = 1"),
            [
                "authd.toml:1:11: a service name has only A-Z a-z 0-9 . _ -, not ' ' (U+0020) at \
                 character 2",
                "authd.toml:2:13: wants an absolute path",
                "authd.toml:3:17: wants a whole number from 1 to 64, not 65",
                "authd.toml:4:1: unknown key `colour`\n  help: the keys here are passwords, service, verifications",
            ]
        );
        for number in [1, VERIFICATIONS_MOST] {
            assert!(Config::parse("x", &format!("verifications = {number}")).is_ok());
        }
    }
}
