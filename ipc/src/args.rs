//! The commands and their options.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use libipc::ServiceName;
use libipc::secret::Secret;

use crate::format::Format;
use crate::init::Init;
use crate::place::Place;
use crate::rendezvous::Rendezvous;
use crate::report::{self, Report};
use crate::tls::Tls;
use crate::{check, connect, connections, kill, metrics, monitor, run, serve, session, why};

/// Reach services by name, offer them, and ask why.
#[derive(Debug, Parser)]
#[command(name = "ipc", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// How data is printed: a table on a terminal, json otherwise
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// Print data and errors as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// Reads a command line.
    ///
    /// # Errors
    ///
    /// clap's, in which help and version are too; and two ways to print.
    pub(crate) fn read(words: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        let args = Self::try_parse_from(with_message_text(words))?;
        // clap does not see it where one of them stands behind the command.
        if args.json && args.format.is_some() {
            let why = "--json and --format both say how data is printed: write one of them";
            return Err(Self::command().error(clap::error::ErrorKind::ArgumentConflict, why));
        }
        Ok(args)
    }

    /// How data is printed.
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format.unwrap_or_else(Format::default_here) }
    }

    /// How data is printed, if somebody has said so.
    pub(crate) fn chosen_format(&self) -> Option<Format> {
        if self.json { Some(Format::Json) } else { self.format }
    }

    /// Whether errors are JSON too: only where somebody has said so.
    pub(crate) fn has_json_errors(&self) -> bool {
        self.json || matches!(self.format, Some(Format::Json | Format::Pretty))
    }
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 refused by the far side, 3 no way there, 50 denied, 64 usage,
69 unknown service or no broker, 71 the system, 78 configuration, 124 timed out,
60 content against its schema, 125 our mistake; with -- PROG, PROG's own, 126 if it does not start, 127 if there is none";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Connect to a service: standard input and output, or a program's
    #[command(after_help = "\
Examples:
  echo ping | ipc connect pongd
  ipc connect db -- pg_isready
  ssh -o ProxyCommand='ipc connect --fdpass %h' -o ProxyUseFdpass=yes host")]
    Connect(connect::Connect),
    /// Print the messages that come, as a service that many may talk to at once
    #[command(after_help = "\
Examples:
  ipc listen /run/user/1000/inbox.sock
  ipc listen events --channels 3,300 --count 10 --format raw
INT and TERM end it.")]
    Listen(session::listen::Listen),
    /// Send a message, and perhaps wait for an answer
    #[command(after_help = "\
Examples:
  ipc send /run/user/1000/inbox.sock --data hello
  ipc send jobs --json '{\"action\":\"stop\"}' --wait --wait-timeout 2s
Behind `send`, --json TEXT is a message; for output as JSON write --format json.
Exit codes: 60 if the answer says that a schema does not allow the message, 1 if it is another
answer on channel 4")]
    Send(session::send::Send),
    /// Send every message back, as a service that many may talk to at once
    #[command(after_help = "\
Examples:
  ipc echo /tmp/echo.sock
  ipc echo echo --channels 2,300 --log-format json")]
    Echo(session::echo::Echo),
    /// Tell who serves there, and how fast
    #[command(after_help = "Example:\n  ipc info jobs --timeout 30s")]
    Info(session::info::Info),
    /// Measure the way to a service and back
    #[command(after_help = "Example:\n  ipc ping jobs --count 100")]
    Ping(session::ping::Ping),
    /// Measure a service that sends messages back
    #[command(after_help = "Example:\n  ipc bench /tmp/echo.sock --size 1024 --count 100000")]
    Bench(session::bench::Bench),
    /// Tell what this program is, and where it runs
    Envinfo,
    /// Offer a service: one process per connection
    #[command(after_help = "\
Examples:
  ipc serve echo -- cat
  ipc serve --fd 6,7 mail -- a-program-for-tcpclient
The program finds IPC_SERVICE, IPC_PEER (local, or how and whence it came), and of what is known
of its client IPC_PEER_UID, IPC_PEER_PID, IPC_PEER_UNIT and IPC_PEER_NAME.
TERM ends the command and, within 5 seconds, its programs.")]
    Serve(serve::Serve),
    /// Meet another process of one's own by its number, without a broker
    #[command(
        subcommand,
        after_help = "\
Examples:
  ipc rendezvous serve --pid-file pid copy < file
  ipc rendezvous connect $(cat pid) copy > file"
    )]
    Rendezvous(Rendezvous),
    /// Run a program that reaches some services and no others
    #[command(after_help = "\
Examples:
  ipc run --only api,log -- agent
  ipc run --only db='tcp://db1.example.com:5432' -- bwrap --unshare-all --ro-bind / / -- report
  ipc run --only www.example.com=tcp://www.example.com:443 --proxy -- \\
    curl https://www.example.com/
The program, and whatever it starts, asks through the connection that it inherits as IPC_BROKER_FD:
no directory has to be visible to it, and it may be forbidden to open sockets. Run it where it
cannot reach the broker's own socket; otherwise it may ask there as anybody of its user may.
With --proxy it has a network with nothing in it but 127.0.0.1, where a proxy listens that
HTTPS_PROXY and ALL_PROXY name. To connect to HOST and PORT there is to ask for the service HOST;
it goes on only if that leads to that host and port. The proxy ends with the program.
Exit codes: the program's own, 126 if it does not start, 127 if there is none")]
    Run(run::Run),
    /// Tell where a name leads, and which rule decides
    #[command(after_help = "\
Examples:
  ipc why authd
  ipc why db --network 'db tcp://db1.example.com:5432'
  ipc why db --as user:www-data,unit:shop.service
  ipc why authd --from tls:web1.example.com --config /etc/ipcd
  ipc why db --as unit:shop.service --as-test >> /etc/ipcd/ipcd.d/50-shop.toml
Exit codes: 0 allowed, 50 denied, 69 allowed and served by nobody")]
    Why(why::Why),
    /// Check configuration files, and tell everything that is wrong with them
    #[command(after_help = "\
Examples:
  ipc check
  ipc check --config ipcd.toml --strict
  ipc check ipcd.d/*.toml
  ipc check --dump
Exit codes: 0 good, 78 not")]
    Check(check::Check),
    /// Tell how the broker does
    #[command(after_help = "\
Examples:
  ipc status
  ipc --json status | jq .revision")]
    Status(Place),
    /// List the services of this host
    #[command(after_help = "\
Example:
  ipc services
Kinds: registered (its program told the broker), socket (it listens in the run directory),
path (it listens where the configuration says).")]
    Services(Place),
    /// List the connections that were handed over
    #[command(after_help = "\
Examples:
  ipc connections
  ipc connections --stale
Kinds: name (the client may connect, any number of times), socket (the client holds the connection
alone), registered (the service took it over), relayed (a daemon of ours moves the bytes).
The first two are listed until the client's process ends, at the latest.")]
    Connections(connections::Options),
    /// End a connection
    #[command(after_help = "\
Example:
  ipc kill 4711
The broker ends what it has relayed, and connections at services that registered. What the client
holds alone is ended by this command itself, if it is run by root.
Exit codes: 0 ended, 50 out of reach, 69 no such connection")]
    Kill(kill::Kill),
    /// Tell of decisions as they are made
    #[command(after_help = "\
Examples:
  ipc monitor
  ipc monitor --denied --service 'db*'
  ipc --json monitor --uid 33 | jq .reason
It tells of every decision, whatever the log leaves out, until it is interrupted or the broker
ends. If it is not read fast enough, it tells how many it has missed.")]
    Monitor(monitor::Options),
    /// Print all numbers for a monitoring system, in the text form of Prometheus
    #[command(after_help = "\
Examples:
  ipc metrics
  ipc metrics --textfile /var/lib/prometheus/node-exporter/ipcd.prom")]
    Metrics(metrics::Options),
    /// Have the broker read its configuration again
    #[command(after_help = "\
Example:
  ipc reload
It prints which revision is live, and how many connections it would deny now.
Exit codes: 0 done, 50 not permitted, 78 the new configuration has problems and the old one stays")]
    Reload(Place),
    /// Write a first configuration; what is there already is left alone
    Init(Init),
    /// Encrypted connections between hosts
    #[command(subcommand)]
    Tls(Tls),
    /// Tell what is wrong with the installation, and what to do about it
    #[command(after_help = "It changes nothing. Exit codes: 0 nothing is broken, 78 something is")]
    Doctor(Place),
    /// Print the version
    Version {
        /// And what it was built for
        #[arg(long)]
        extended: bool,
    },
    /// Print completions for a shell
    #[command(after_help = "Example:\n  ipc completions bash > /etc/bash_completion.d/ipc")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// A command line in which `--json TEXT` behind `send` is a message, as programs of ipcprims write
/// it; elsewhere `--json` says how data is printed.
fn with_message_text(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut is_send = None;
    let renamed = args.enumerate().map(|(place, argument)| {
        let is_option = argument.as_encoded_bytes().starts_with(b"-");
        if is_send == Some(true) && argument == "--json" {
            return "--json-text".into();
        }
        let text = argument.as_encoded_bytes().strip_prefix(b"--json=");
        if let Some(text) = text.filter(|_| is_send == Some(true)) {
            let mut renamed = OsString::from("--json-text=");
            renamed.push(OsStr::from_bytes(text));
            return renamed;
        }
        if place > 0 && is_send.is_none() && !is_option {
            is_send = Some(argument == "send");
        }
        argument
    });
    renamed.collect()
}

/// A service name of the command line.
pub(crate) fn service(text: &str) -> Result<ServiceName, Report> {
    ServiceName::new(text).map_err(|error| {
        let name = text.escape_debug().to_string();
        Report::new(64, &name, "no service name", error).cure("to do", "write another name")
    })
}

/// What `option` says as `IPC_NETWORK`. Everybody on this host can read a command line.
pub(crate) fn network(option: &str, text: &str) -> Result<Secret, Report> {
    let has_login = |rest: &str| {
        rest.split(['/', '?', ';', '\n']).next().is_some_and(|authority| authority.contains('@'))
    };
    if text.split("://").skip(1).any(has_login) {
        let why = "everybody on this host can read a login on a command line";
        return Err(Report::usage(option, why)
            .cure("to do", "write it into a file, and name that in IPC_NETWORK_FILE"));
    }
    Ok(Secret::new(text.to_owned()))
}

/// Prints completions.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Report> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "ipc", &mut text);
    report::print(&String::from_utf8_lossy(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_refused_on_the_command_line() {
        assert!(network("--network", "a tcp://h:1/x; b unix://c").is_ok());
        let said = network("--network", "a tls://u:secret@h/x").unwrap_err().to_string();
        assert!(said.contains("can read a login") && !said.contains("secret@"), "{said}");
        assert!(network("--network", "a tls://u@secret:h:1/x").is_err());
        assert!(network("--network", "a tcp://h:1/x;b tls://u:s@h/x").is_err());
    }

    #[test]
    fn the_text_of_a_message_is_told_from_the_form_of_data() {
        let renamed = |line: &str| {
            let words = with_message_text(line.split(' ').map(OsString::from));
            words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(renamed("ipc send x --json {}"), "ipc send x --json-text {}");
        assert_eq!(renamed("ipc --json send --json={}"), "ipc --json send --json-text={}");
        assert_eq!(renamed("ipc why send --json"), "ipc why send --json");
    }

    #[test]
    fn two_ways_to_print_are_an_error_and_neither_wins() {
        for line in ["ipc --json --format table status", "ipc --format table status --json"] {
            let said = Args::read(line.split(' ').map(OsString::from)).unwrap_err().to_string();
            assert!(said.contains("both say how data is printed: write one of them"), "{said}");
        }
    }

    #[test]
    fn the_commands_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn numbers_out_of_range_are_usage_errors() {
        for wrong in ["--most=0", "--fd=100", "--fd=x"] {
            assert!(Args::try_parse_from(["ipc", "serve", "x", wrong, "--", "cat"]).is_err());
        }
        let args = Args::try_parse_from(["ipc", "status", "--timeout", "nan"]).unwrap();
        let Command::Status(place) = args.command else { panic!("not status") };
        assert!(place.timeout().is_err());
    }

    #[test]
    fn no_help_has_an_implementers_word() {
        let mut all = Args::command();
        all.build();
        let mut texts = vec![all.render_long_help().to_string()];
        for command in all.get_subcommands_mut() {
            texts.push(command.render_long_help().to_string());
        }
        for word in ["transport", " stack", " dial", "arrival", "attach", "handoff", "upgrade"] {
            assert!(texts.iter().all(|text| !text.to_lowercase().contains(word)), "{word}");
        }
    }
}
