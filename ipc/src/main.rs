//! The command line of ipcd: reach services, offer them, ask why, look at the broker.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use crate::args::{Args, Command};
use crate::report::Report;

mod args;
mod asker;
mod check;
mod connect;
mod connections;
mod control;
mod doctor;
mod envinfo;
mod failure;
mod format;
mod init;
mod kill;
mod log;
mod metrics;
mod monitor;
mod place;
mod rendezvous;
mod report;
mod run;
mod serve;
mod services;
mod session;
mod signals;
mod sources;
mod status;
mod tls;
mod why;

fn main() -> ExitCode {
    let args = match Args::read(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => {
            // Where even that cannot be written, nobody reads it.
            let _unwritten = error.print().is_err();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let (format, has_json_errors) = (args.format(), args.has_json_errors());
    let chosen = args.chosen_format();
    let result = match args.command {
        Command::Connect(connect) => connect::run(connect, format),
        Command::Serve(serve) => serve::run(&serve),
        Command::Rendezvous(command) => rendezvous::run(&command),
        Command::Run(run) => run::run(&run),
        Command::Why(why) => why::run(&why, format),
        Command::Check(check) => check::run(&check, format),
        Command::Status(place) => status::run(&place, format),
        Command::Services(place) => services::run(&place, format),
        Command::Connections(wanted) => connections::run(&wanted, format),
        Command::Kill(wanted) => kill::run(&wanted, has_json_errors),
        Command::Monitor(wanted) => monitor::run(&wanted, format),
        Command::Metrics(wanted) => metrics::run(&wanted, chosen),
        Command::Reload(place) => control::reload(&place, has_json_errors),
        Command::Listen(listen) => session::listen::run(&listen, format),
        Command::Send(send) => session::send::run(&send, format),
        Command::Echo(echo) => session::echo::run(&echo),
        Command::Info(info) => session::info::run(&info, format),
        Command::Ping(ping) => session::ping::run(&ping, format),
        Command::Bench(bench) => session::bench::run(&bench, format),
        Command::Init(wanted) => init::run(&wanted),
        Command::Tls(wanted) => tls::run(&wanted, chosen),
        Command::Doctor(place) => doctor::run(&place, format),
        Command::Envinfo => envinfo::run(format),
        Command::Version { extended } => envinfo::version(extended, chosen),
        Command::Completions { shell } => args::completions(shell),
    };
    result.unwrap_or_else(|report: Report| report.finish(has_json_errors))
}
