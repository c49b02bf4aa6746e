//! `ipc serve`: one process per connection.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitCode, Stdio};

use libipc::environment::Environment;
use libipc::identity::{Identity, LocalIdentity};
use libipc::rundir::RunDirectory;
use libipc::{Listener, ServiceName, Stream};

use crate::args::Serve;
use crate::report::Report;

pub(crate) fn run(serve: &Serve) -> Result<ExitCode, Report> {
    let name = ServiceName::new(&serve.name)
        .map_err(|error| Report::usage(&serve.name, &error.to_string()))?;
    let listener = match &serve.rundir {
        Some(path) => {
            let directory = RunDirectory::named(path, &Environment::of_process());
            Listener::bind_in(&directory, &name)
        }
        None => Listener::bind(&name),
    };
    let listener = listener.map_err(|error| Report::new(71, &serve.name, error))?;
    let mut children: VecDeque<Child> = VecDeque::new();
    loop {
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        if children.len() >= serve.most.max(1)
            && let Some(mut oldest) = children.pop_front()
        {
            // Further clients wait in the listener's queue until the oldest has ended.
            oldest.wait().map_err(|error| Report::new(71, &serve.name, error))?;
        }
        let stream = listener.accept().map_err(|error| Report::new(71, &serve.name, error))?;
        children.push_back(start(serve, stream)?);
    }
}

fn start(serve: &Serve, stream: Stream) -> Result<Child, Report> {
    let failed = |error| Report::new(71, &serve.name, error);
    let (program, arguments) = serve
        .program
        .split_first()
        .ok_or_else(|| Report::usage(&serve.name, "no program is named"))?;
    let mut command = Command::new(program);
    command.args(arguments).env("IPC_SERVICE", &serve.name);
    if let Some(Identity::Local(peer)) = stream.peer() {
        describe(&mut command, peer);
    }
    let input = OwnedFd::from(stream);
    let output = input.try_clone().map_err(failed)?;
    command
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .spawn()
        .map_err(|error| Report::new(126, &program.to_string_lossy(), error))
}

fn describe(command: &mut Command, peer: &LocalIdentity) {
    let number = |id: Option<u32>| id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
    command
        .env("IPC_PEER", "local")
        .env("IPC_PEER_UID", number(peer.uid))
        .env("IPC_PEER_PID", number(peer.pid));
}
