//! Everything that the administrator has written.

use std::collections::BTreeMap;

use libipc::name::ServiceName;
use settings::{File, Problem};

use crate::accounts::Accounts;
use crate::lint::Thoroughness;
use crate::redirect::Redirects;
use crate::rule::Direction;
use crate::rules::Rules;
use crate::scheme::Schemes;
use crate::subject::Subjects;

mod limits;
mod load;
mod raw;
mod service;

pub(crate) use limits::defaults as limit_defaults;
pub use limits::{Limits, REQUEST_BYTES_MOST};
pub use service::{Front, Service};

/// A configuration of `ipcd`. Holding one is the proof that all its texts were valid.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The rules, in their order.
    pub rules: Rules,
    /// The redirects, in their order.
    pub redirects: Redirects,
    /// What is written about services of this host.
    pub services: BTreeMap<ServiceName, Service>,
    /// How much of what there may be.
    pub limits: Limits,
    /// Groups whose members may administer this broker.
    pub admin_gids: Vec<u32>,
    /// Which decisions are logged.
    pub log_decisions: LogDecisions,
    /// What a reload does with connections that it would deny.
    pub on_reload: OnReload,
    /// The service that verifies logins; without one they are refused.
    pub authentication: Option<ServiceName>,
}

/// Which decisions are logged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogDecisions {
    /// Those that refuse, and those of permissive rules.
    #[default]
    Denied,
    /// All.
    All,
    /// None.
    None,
}

/// What a reload does with connections that were handed over and that it would deny.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnReload {
    /// They stay.
    #[default]
    Keep,
    /// Those that the broker can end are ended: what is relayed, and what registered services
    /// have.
    Revoke,
}

/// All texts that make a configuration, the most important first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Rules and redirects of the command line, in the order in which they stand there.
    pub command_line: Vec<CommandLine>,
    /// The files of `ipcd.d`, in their order.
    pub drop_ins: Vec<File>,
    /// `ipcd.toml`, if there is one.
    pub main: Option<File>,
}

impl Sources {
    /// The texts, the most important first, as people are to see them.
    #[must_use]
    pub fn order(&self) -> Vec<String> {
        let command_line = (!self.command_line.is_empty()).then(|| "command line".to_owned());
        let files = self.drop_ins.iter().chain(&self.main).map(|file| file.name.clone());
        command_line.into_iter().chain(files).collect()
    }
}

/// One rule or redirect of the command line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CommandLine {
    /// A rule, as its whole text: `allow out pong tls:pong.example.com:9000`.
    Rule(String),
    /// A redirect.
    Redirect {
        /// The name.
        from: String,
        /// Where it leads.
        to: String,
    },
}

/// A configuration that can be used, and what is odd about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is probably not meant.
    pub warnings: Vec<Warning>,
    /// How many tests of the configuration were run, all with the result that they expect.
    pub tests: usize,
}

/// Something in a configuration that is valid and probably not meant.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Warning {
    /// Of which kind it is.
    pub kind: WarningKind,
    /// What, and where.
    pub problem: Problem,
}

/// Kinds of warnings: `ipcd --check` fails for the first, `--strict` for all.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum WarningKind {
    /// A line that has no effect, or more than it looks like.
    Lint,
    /// A rule of which there was no time to find out whether it has an effect.
    Open,
    /// A user or group that does not exist, today and on this host.
    Dormant,
}

impl Config {
    /// Whether anything here depends on the unit that a client runs in, which is dear to find out.
    #[must_use]
    pub fn asks_about_units(&self) -> bool {
        let directions = [Direction::Local, Direction::Out, Direction::In];
        let rules = directions.iter().flat_map(|direction| self.rules.all(*direction));
        let redirects = self.redirects.all().iter().map(|redirect| &redirect.subjects);
        rules.map(|rule| &rule.subjects).chain(redirects).any(Subjects::asks_about_units)
    }

    /// Whether it depends on a login where a program of this host may go: then it is looked at here.
    #[must_use]
    pub fn asks_about_logins(&self) -> bool {
        self.rules.all(Direction::Out).iter().any(|rule| rule.subjects.asks_about_logins())
    }

    /// Reads and checks all of `sources`. Names of accounts are looked up in `accounts`.
    ///
    /// # Errors
    ///
    /// Every problem of every text, in the order of the texts.
    pub fn load(sources: &Sources, accounts: &dyn Accounts) -> Result<Loaded, Vec<Problem>> {
        load::load(sources, accounts, Thoroughness::Quick)
    }

    /// As [`Config::load`], with all the time that it takes to find what is odd.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub(crate) fn examine(
        sources: &Sources,
        accounts: &dyn Accounts,
    ) -> Result<Loaded, Vec<Problem>> {
        load::load(sources, accounts, Thoroughness::Thorough)
    }

    /// The schemes that targets may have.
    #[must_use]
    pub fn schemes(&self) -> &Schemes {
        self.rules.schemes()
    }

    /// Looks up the accounts again that did not exist when the configuration was loaded. Returns
    /// how many exist now.
    pub fn wake(&mut self, accounts: &dyn Accounts) -> usize {
        let mut woken = 0;
        self.rules.change_subjects(|subjects| woken += subjects.wake(accounts));
        woken += self.redirects.subjects().map(|subjects| subjects.wake(accounts)).sum::<usize>();
        let services = self.services.values_mut();
        woken + services.map(|service| usize::from(service.wake(accounts))).sum::<usize>()
    }

    /// Whether [`Config::wake`] has anything to look up.
    #[must_use]
    pub fn sleeps(&self) -> bool {
        let redirects = self.redirects.all().iter().map(|redirect| &redirect.subjects);
        self.rules.dormant().next().is_some()
            || redirects.into_iter().any(|subjects| !subjects.dormant().is_empty())
            || self.services.values().any(Service::sleeps)
    }

    /// The same configuration on a host with other accounts.
    pub(crate) fn renamed(&self, accounts: &dyn Accounts) -> Self {
        let mut config = self.clone();
        config.rules.change_subjects(|subjects| subjects.rename(accounts));
        config.redirects.subjects().for_each(|subjects| subjects.rename(accounts));
        for service in config.services.values_mut() {
            service.rename(accounts);
        }
        config
    }
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
