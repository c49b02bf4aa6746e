//! This project's daemons: two hosts with a broker, a tcpd and a tlsd each.

use std::error::Error;
use std::path::Path;
use std::process::{Child, Command};

use libipc::environment::Environment;

use crate::contestant::{Entry, spawn};
use crate::place::Place;

type Started = (Vec<Child>, Entry);

pub(crate) fn start(place: &Place, port: u16) -> Result<Started, Box<dyn Error>> {
    let (near, far) = (place.file("near"), place.file("far"));
    for host in [&near, &far] {
        if host.exists() {
            std::fs::remove_dir_all(host)?;
        }
        std::fs::create_dir(host)?;
    }
    let show = |name: &str| place.file(name).display().to_string();
    let service = place.service().display().to_string();
    std::fs::write(
        far.join("ipcd.toml"),
        format!(
            "rules = 'allow in bench tls for anonymous'\n[services.bench]\nsocket = '{service}'\n"
        ),
    )?;
    let listen = format!("[listen.a]\naddress = '127.0.0.1:{port}'\nthen = 'tls'\n");
    std::fs::write(far.join("tcpd.toml"), listen)?;
    let (chain, key) = (show("host.crt"), show("host.key"));
    std::fs::write(
        far.join("tlsd.toml"),
        format!(
            "[listen.a]\ncertificate = 'host'\nclients = 'none'\n\
             [certificate.host]\nchain = '{chain}'\nkey = '{key}'\n"
        ),
    )?;
    let target = format!("tls://127.0.0.1:{port}/bench");
    std::fs::write(
        near.join("ipcd.toml"),
        format!(
            "rules = 'allow out bench tls:127.0.0.1:{port}'\nredirects = {{ bench = '{target}' }}\n\
             [limits]\ndials-per-user = 1000\nqueue-per-user = 4000\n"
        ),
    )?;
    std::fs::write(near.join("tcpd.toml"), "")?;
    let trust = format!("[trust.a]\nca = '{}'\n[dial]\ntrust = 'a'\n", show("ca.crt"));
    std::fs::write(near.join("tlsd.toml"), trust)?;
    let mut processes = Vec::new();
    for host in [&far, &near] {
        for daemon in ["ipcd", "tcpd", "tlsd"] {
            processes.push(start_one(daemon, host)?);
        }
    }
    let environment = Environment { rundir: Some(near.join("ipc")), ..Environment::default() };
    Ok((processes, Entry::Name(environment)))
}

fn start_one(daemon: &str, host: &Path) -> Result<Child, Box<dyn Error>> {
    let program = std::env::current_exe()?.with_file_name(daemon);
    if !program.exists() {
        return Err(format!("build it first: cargo build --release ({daemon})").into());
    }
    let mut command = Command::new(program);
    command.arg("--rundir").arg(host.join("ipc"));
    command.arg("--config").arg(host.join(format!("{daemon}.toml"))).args(["--log-level", "warn"]);
    spawn(&mut command)
}
