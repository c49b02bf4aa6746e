//! Network namespaces: hosts of their own, with links between them.
//!
//! Programs are started in one by `ip netns exec`, which also lays `/etc/netns/NAME/*` over `/etc`:
//! so each has its own `hosts` and `resolv.conf`. What a test makes goes when it is dropped, and
//! what a killed test left behind goes when the next one begins.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::CloneFlags;

use crate::{has, installed, is_root, outcome};

/// Whether this test may make namespaces. In CI it has to.
#[must_use]
pub fn has_namespaces() -> bool {
    has("root and iproute2, for network namespaces", is_root() && installed("ip").is_some())
}

/// A network namespace with its loopback up.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one. Nothing but itself can be reached from it.
    #[must_use]
    pub fn new() -> Self {
        static SWEPT: Once = Once::new();
        static LAST: AtomicU32 = AtomicU32::new(0);
        SWEPT.call_once(sweep);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        ip(&["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// Its name, as `ip netns` has it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` about what is in it.
    pub fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", self.name.as_str()], arguments].concat());
    }

    /// Lays a link to `other`; this end has the addresses `own`, the other end `others`, each as
    /// `ADDRESS/LENGTH`.
    pub fn link(&self, other: &Self, own: &[&str], others: &[&str]) {
        let (near, far) = (self.name.as_str(), other.name.as_str());
        ip(&[
            "link", "add", "wire", "netns", near, "type", "veth", "peer", "name", "wire", "netns",
            far,
        ]);
        for (end, addresses) in [(self, own), (other, others)] {
            for address in addresses {
                end.add_address("wire", address);
            }
            end.ip(&["link", "set", "wire", "up"]);
        }
    }

    /// Gives a device one more address, of use at once.
    pub fn add_address(&self, device: &str, address: &str) {
        let at_once: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        self.ip(&[&["address", "add", address, "dev", device], at_once].concat());
    }

    /// What its programs find in `/etc/FILE`. To be said before they start.
    pub fn write_etc(&self, file: &str, text: &str) {
        let directory = self.etc();
        fs::create_dir_all(&directory).expect("/etc/netns can be written");
        fs::write(directory.join(file), text).expect("the file can be written");
    }

    /// A command that runs in it, as the process that is started.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(installed("ip").expect("iproute2"));
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Does something as if in it: sockets that are made then are its own, wherever they are used.
    pub fn within<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let place = File::open(Path::new("/run/netns").join(&self.name)).expect("it is there");
        std::thread::scope(|scope| {
            // Only this thread enters, and it ends there.
            let inside = scope.spawn(|| {
                nix::sched::setns(&place, CloneFlags::CLONE_NEWNET).expect("root may enter");
                what()
            });
            inside.join().expect("it did not fail")
        })
    }

    fn etc(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Two linked hosts, each with an IPv4 and an IPv6 address; to `near`, `far` is also
/// [`FAR_NAME`].
#[derive(Debug)]
pub struct Pair {
    /// Where clients are.
    pub near: Namespace,
    /// Where services are.
    pub far: Namespace,
}

/// The far host's IPv4 address.
pub const FAR_V4: &str = "10.77.0.2";
/// The far host's IPv6 address.
pub const FAR_V6: &str = "fd77::2";
/// The far host's name.
pub const FAR_NAME: &str = "far.example";
/// The far host as a URI has it, in three ways.
pub const FAR_HOSTS: [&str; 3] = [FAR_V4, "[fd77::2]", FAR_NAME];

impl Pair {
    /// Makes them.
    #[must_use]
    pub fn new() -> Self {
        let pair = Self { near: Namespace::new(), far: Namespace::new() };
        pair.near.link(
            &pair.far,
            &["10.77.0.1/24", "fd77::1/64"],
            &[&format!("{FAR_V4}/24"), &format!("{FAR_V6}/64")],
        );
        let hosts = format!("127.0.0.1 localhost\n{FAR_V4} {FAR_NAME}\n{FAR_V6} {FAR_NAME}\n");
        pair.near.write_etc("hosts", &hosts);
        pair
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

/// What names of our namespaces begin with; the process that made them follows.
const PREFIX: &str = "ipcd-test-";

/// Removes what processes that are gone have left.
fn sweep() {
    for place in ["/run/netns", "/etc/netns"] {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
            if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                remove(&name);
            }
        }
    }
}

fn remove(name: &str) {
    // It may be half made: what is not there need not go.
    let _gone = Command::new("ip").args(["netns", "delete", name]).output().is_ok();
    let _gone = fs::remove_dir_all(Path::new("/etc/netns").join(name)).is_ok();
}

fn ip(arguments: &[&str]) {
    let (code, _, said) = outcome(Command::new("ip").args(arguments));
    assert_eq!(code, 0, "ip {}: {said}", arguments.join(" "));
}
