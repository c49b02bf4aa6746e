//! The command line of `ipcd`.

use std::path::PathBuf;

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, ValueEnum};
use daemon::options::LogOptions;
use policy::config::CommandLine;

/// The broker: programs ask it for a service by name, and get a connected descriptor.
///
/// Rules and redirects given here come before those of files, in the order in which they stand.
#[derive(Debug, Parser)]
#[command(name = "ipcd", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The only configuration file, instead of the default ones (an ipcd.d beside it is not read);
    /// or a directory like /etc/ipcd
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) config: Option<PathBuf>,
    /// The run directory
    #[arg(long, value_name = "DIR", conflicts_with = "user")]
    pub(crate) rundir: Option<PathBuf>,
    /// Be the user's own broker, in `$XDG_RUNTIME_DIR/ipc`
    #[arg(long)]
    pub(crate) user: bool,
    /// What kind of instance --rundir is
    #[arg(long, value_name = "KIND", requires = "rundir")]
    pub(crate) instance: Option<InstanceKind>,
    /// Start these daemons as children, for example tcpd; not again if they end
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) with: Vec<String>,
    /// Allow: DIRECTION SERVICE ADDRESS
    #[arg(long, num_args = 3, value_names = ["DIRECTION", "SERVICE", "ADDRESS"], action = ArgAction::Append)]
    allow: Vec<String>,
    /// Deny: DIRECTION SERVICE ADDRESS
    #[arg(long, num_args = 3, value_names = ["DIRECTION", "SERVICE", "ADDRESS"], action = ArgAction::Append)]
    deny: Vec<String>,
    /// Any rule, as in a file
    #[arg(long, value_name = "TEXT", action = ArgAction::Append)]
    rule: Vec<String>,
    /// Lead a name elsewhere
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"], action = ArgAction::Append)]
    redirect: Vec<String>,
    /// Check the configuration, say what is wrong with it, and end
    #[arg(long)]
    pub(crate) check: bool,
    /// With --check: warnings are errors
    #[arg(long, requires = "check")]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) log: LogOptions,
    /// Rules and redirects in the order of the command line.
    #[arg(skip)]
    pub(crate) policy: Vec<CommandLine>,
}

/// What kind of instance a run directory is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum InstanceKind {
    /// For every user of the host.
    System,
    /// For one user.
    Private,
}

const EXAMPLES: &str = "\
Examples:
  ipcd --user --with tcpd --allow out pongd tcp:example.com:9000
  ipcd --allow in authd tls:example.com --deny in '*' '*' --redirect authd nextversion-authd
  ipcd --check --strict

Exit codes: 0 ended by a signal, 64 usage, 71 the system, 78 configuration";

impl Args {
    /// Reads the process's command line.
    ///
    /// # Errors
    ///
    /// clap's, which also stands for `--help` and `--version`.
    pub(crate) fn from_env() -> Result<Self, clap::Error> {
        Self::read(std::env::args_os())
    }

    fn read(words: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches_from(words)?;
        let mut args = Self::from_arg_matches(&matches)?;
        args.policy = in_order(&matches);
        Ok(args)
    }
}

/// Rules and redirects by the place of their first word.
fn in_order(matches: &clap::ArgMatches) -> Vec<CommandLine> {
    let mut placed: Vec<(usize, CommandLine)> = Vec::new();
    for (flag, words_each) in [("allow", 3), ("deny", 3), ("rule", 1), ("redirect", 2)] {
        let words: Vec<&String> = matches.get_many(flag).into_iter().flatten().collect();
        let indices: Vec<usize> = matches.indices_of(flag).into_iter().flatten().collect();
        for (chunk, span) in words.chunks(words_each).zip(indices.chunks(words_each)) {
            if let (Some(item), Some(place)) = (item(flag, chunk), span.first()) {
                placed.push((*place, item));
            }
        }
    }
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, item)| item).collect()
}

fn item(flag: &str, words: &[&String]) -> Option<CommandLine> {
    Some(match (flag, words) {
        ("redirect", [from, to]) => {
            CommandLine::Redirect { from: (*from).clone(), to: (*to).clone() }
        }
        ("rule", [text]) => CommandLine::Rule((*text).clone()),
        (action, [direction, service, address]) => {
            CommandLine::Rule(format!("{action} {direction} {service} {address}"))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(words: &[&str]) -> Vec<String> {
        let words = std::iter::once("ipcd").chain(words.iter().copied()).map(Into::into);
        let args = Args::read(words).unwrap();
        args.policy
            .iter()
            .map(|item| match item {
                CommandLine::Rule(text) => text.clone(),
                CommandLine::Redirect { from, to } => format!("redirect {from} {to}"),
            })
            .collect()
    }

    #[test]
    fn the_order_is_that_of_the_command_line() {
        let rules: [(&[&str], &str); 3] = [
            (&["--allow", "in", "authd", "tls:example.com"], "allow in authd tls:example.com"),
            (&["--deny", "in", "*", "*"], "deny in * *"),
            (&["--redirect", "authd", "other"], "redirect authd other"),
        ];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let words: Vec<&str> =
                order.iter().flat_map(|index| rules[*index].0).copied().collect();
            let expected: Vec<&str> = order.iter().map(|index| rules[*index].1).collect();
            assert_eq!(policy(&words), expected);
        }
        let twice =
            ["--allow", "out", "a", "*", "--rule", "deny out b *", "--allow", "out", "c", "*"];
        assert_eq!(policy(&twice), ["allow out a *", "deny out b *", "allow out c *"]);
    }
}
