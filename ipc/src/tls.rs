//! `ipc tls init`: a key for this host, and the hosts that it is to know by theirs.
//!
//! Keys are made and read by tlsd alone; here are the files that say whom to believe.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::format::{self, Format, Listing, Shown};
use crate::report::Report;
use crate::tls::peers::{Peer, Peers};

mod peers;

/// Where the service manager keeps what it passes to the system's tlsd.
const CREDENTIALS: &str = "/run/credentials/ipcd-tlsd.service";

/// The variable by which it says so.
const PASSED: &str = "CREDENTIALS_DIRECTORY";

/// What to do about TLS.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Tls {
    /// Make a key for this host, and know other hosts by theirs
    #[command(after_help = EXAMPLES)]
    Init(Init),
}

/// Whom to know.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// Know the host of this name by the pin that this command printed there; may be repeated
    #[arg(long = "peer", value_name = "NAME=PIN", value_parser = Peer::parse)]
    peers: Vec<Peer>,
    /// For daemons of one's own, also as root
    #[arg(long)]
    user: bool,
}

const EXAMPLES: &str = "\
Two hosts in three commands, on web1, db1, and web1 again:
  ipc tls init
  ipc tls init --peer web1.example.com=sha256-…      the pin that web1 has printed
  ipc tls init --peer db1.example.com=sha256-…       the pin that db1 has printed
No key leaves its host. Nothing listens, and nobody may enter, before that is configured: each
command prints what comes next.
With --format json: the pin, the files, and the hosts that are known.
Exit codes: 0 done, 3 no tlsd, 64 usage, 71 the system, 78 the configuration cannot be changed";

/// Where this instance has its files.
struct Place {
    base: PathBuf,
    is_system: bool,
}

/// What is there when it is done, for programs.
#[derive(Debug, serde::Serialize)]
struct Done<'d> {
    /// This host's pin.
    pin: &'d str,
    key: PathBuf,
    file: PathBuf,
    peers: &'d [Peer],
    /// For people, who want to know what comes next.
    #[serde(skip)]
    next: String,
}

impl Shown for Done<'_> {
    fn table(&self) -> String {
        self.next.clone()
    }

    fn raw(&self) -> String {
        let mut listing = Listing::default();
        listing.add("pin", self.pin);
        listing.add("key", text(&self.key));
        listing.add("file", text(&self.file));
        // A host may be called `key`.
        self.peers.iter().for_each(|peer| listing.add(&format!("peer {}", peer.name), &*peer.pin));
        listing.raw()
    }
}

/// Carries a command out. `format` is the one that somebody has chosen.
pub(crate) fn run(wanted: &Tls, format: Option<Format>) -> Result<ExitCode, Report> {
    let Tls::Init(init) = wanted;
    let is_system = nix::unistd::geteuid().is_root() && !init.user;
    let base = if is_system {
        Some(PathBuf::from("/etc/ipcd"))
    } else {
        settings::configuration::user_base()
    };
    let base = base.ok_or_else(|| {
        let why = "neither XDG_CONFIG_HOME nor HOME says where";
        Report::new(78, "tls", "configuration", why).cure("to do", "set HOME")
    })?;
    let place = Place { base, is_system };
    let key = text(&place.key());
    let pin = tlsd(&["--key", &key])?;
    let pin = pin.trim();
    let (file, before) = (place.file(), place.written()?);
    let peers = Peers::of_text(&before).with(&init.peers);
    let after = peers.written_into(&before, &key);
    if after != before {
        write(&place, &file, &after)?;
    }
    let next = place.next(pin, &peers);
    let done = Done { pin, key: place.key(), file, peers: peers.all(), next };
    format::print(format.unwrap_or(Format::Table), &done, &done)
}

/// What tlsd says of the configuration of TLS.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) text: String,
    /// It cannot be used as it is.
    pub(crate) is_broken: bool,
}

/// What is wrong with the configuration of TLS, or will be soon; nothing where there is none.
pub(crate) fn problems() -> Vec<Said> {
    let own = settings::configuration::user_base().into_iter();
    let files = own.chain([PathBuf::from("/etc/ipcd")]).map(|base| base.join("tlsd.toml"));
    let is_root = nix::unistd::geteuid().is_root();
    // The system's keys are for others than this user.
    let files = files.filter(|file| file.exists() && (is_root || !file.starts_with("/etc")));
    let checked = files.map(|file| match tlsd(&["--check", "--config", &text(&file)]) {
        Ok(remarks) => (remarks, false),
        Err(report) => (report.why().to_owned(), true),
    });
    let said = checked.filter(|(text, _)| !text.is_empty());
    said.map(|(text, is_broken)| Said { text: text.trim().to_owned(), is_broken }).collect()
}

impl Place {
    fn key(&self) -> PathBuf {
        self.base.join("tls/host.key")
    }

    fn file(&self) -> PathBuf {
        self.base.join("tlsd.toml")
    }

    fn written(&self) -> Result<String, Report> {
        match fs::read_to_string(self.file()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other.map_err(|error| system(&self.file(), &error)),
        }
    }

    /// What has been done, and what comes next.
    fn next(&self, pin: &str, peers: &Peers) -> String {
        let (key, file) = (text(&self.key()), text(&self.file()));
        let command = if self.is_system { "ipc tls init" } else { "ipc tls init --user" };
        let mut said = vec![format!("This host's key is {pin}\n  ({key}, {file})\n")];
        // To try things out on one host that is meant; of another host it is a mistake.
        let whose = |peer: &Peer| if peer.pin == pin { ", which is its own key" } else { "" };
        let known = peers.all().iter();
        said.extend(
            known.map(|peer| format!("It knows {} by {}{}\n", peer.name, peer.pin, whose(peer))),
        );
        said.push(format!(
            "On the other host, with the name by which that one reaches this one:\n  \
             {command} --peer NAME={pin}\n"
        ));
        said.extend(peers.all().last().map(|peer| self.next_with(peer)));
        said.concat()
    }

    /// What comes next when a host is known.
    fn next_with(&self, Peer { name, pin }: &Peer) -> String {
        // A file of its own, for there may be rules and redirects in every other.
        let file = text(&self.base.join("ipcd.d/50-SERVICE.toml"));
        format!(
            "To offer a service to {name}, in {file}:\n  \
             rules = \"allow in SERVICE tls:* for pin:{pin}\"\n\
             {}\
             To use one of {name}, in {file}:\n  \
             rules = \"allow out SERVICE tls:{name}\"\n  \
             redirects = {{ SERVICE = \"tls://{name}/SERVICE?certificate=host&trust={name}\" }}\n\
             Then:\n  {}\n  ipc doctor\n",
            self.listening(),
            self.reloading(),
        )
    }

    fn listening(&self) -> String {
        if self.is_system {
            return "and to listen on port 9001:\n  systemctl enable ipcd-tlsd-listen.socket\n  \
                    systemctl restart ipcd-tlsd\n"
                .to_owned();
        }
        let file = text(&self.base.join("tcpd.toml"));
        format!(
            "and to listen, in {file}:\n  [listen.fleet]\n  address = \"0.0.0.0:9001\"      # or \"[::]:9001\" for IPv6\n  \
             then = \"tls\"\n"
        )
    }

    fn reloading(&self) -> &'static str {
        if self.is_system {
            "systemctl reload ipcd-tlsd; ipc reload"
        } else {
            "systemctl --user reload ipcd-tlsd; ipc reload"
        }
    }
}

/// Puts a text in the place of the configuration, if tlsd can use it.
fn write(place: &Place, file: &Path, content: &str) -> Result<(), Report> {
    let mode = if place.is_system { 0o644 } else { 0o600 };
    let directory_mode = if place.is_system { 0o755 } else { 0o700 };
    let new = file.with_extension("toml.new");
    let written = fs::DirBuilder::new()
        .recursive(true)
        .mode(directory_mode)
        .create(&place.base)
        .and_then(|()| remove(&new))
        .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(mode).open(&new))
        .and_then(|mut opened| {
            opened.write_all(content.as_bytes())?;
            opened.sync_all()
        });
    written.map_err(|error| system(&new, &error))?;
    let outcome = tlsd(&["--check", "--config", &text(&new)]).map_err(|report| {
        report.cure("to do", format!("write its tables into {} by hand", file.display()))
    });
    if let Err(report) = outcome {
        // It stays, to be looked at.
        return Err(report.fact("left as it was", file.display()));
    }
    fs::rename(&new, file).map_err(|error| system(file, &error))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What tlsd prints; its own words if it fails.
pub(crate) fn tlsd(arguments: &[&str]) -> Result<String, Report> {
    let mut command = Command::new(program());
    // As its unit has it: root alone gets there.
    if Path::new(CREDENTIALS).is_dir() && std::env::var_os(PASSED).is_none() {
        command.env(PASSED, CREDENTIALS);
    }
    let output = command.args(arguments).output().map_err(|error| {
        Report::new(3, "tls", "tlsd cannot be started", error)
            .cure("to do", "install the package ipcd-tlsd")
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().strip_prefix("tlsd: ").unwrap_or(said.trim());
    Err(Report::new(78, "tls", "configuration", said))
}

/// tlsd, which lies beside this program where it was built, and elsewhere where it was installed.
fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|path| path.with_file_name("tlsd"));
    let installed = PathBuf::from("/usr/libexec/ipcd/tlsd");
    let places = beside.into_iter().chain([installed]);
    places.into_iter().find(|path| path.exists()).unwrap_or_else(|| "tlsd".into())
}

fn system(path: &Path, error: &io::Error) -> Report {
    Report::system("tls", format!("{}: {error}", path.display()))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
