//! The systemd unit of a process, as its control group says.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

/// Where the service managers have put a process. Both are unknown for a process that no manager
/// runs, and for one in a container's payload.
///
/// ```
/// use libipc::unit::Units;
///
/// let units = Units::parse("0::/system.slice/shop.service\n");
/// assert_eq!((units.unit.as_deref(), units.user_unit), (Some("shop.service"), None));
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Units {
    /// Unit of the system's service manager.
    pub unit: Option<String>,
    /// Unit of a user's service manager.
    pub user_unit: Option<String>,
}

/// Bytes of `/proc/PID/cgroup` that are read; a longer one is not believed.
const CGROUP_BYTES_MOST: usize = 16 * 1024;

impl Units {
    /// The units of whoever made this connection, if that process lives still.
    ///
    /// The control group is read by number between two looks at the kernel's own handle of the
    /// process: as the number was this process's before and after, it was in between. On a kernel
    /// before 6.5 there is no such handle, and nothing is known.
    #[must_use]
    pub fn of_peer(socket: BorrowedFd<'_>) -> Self {
        Self::look(socket).ok().flatten().unwrap_or_default()
    }

    fn look(socket: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let Some(process) = sys::credentials::peer_pidfd(socket)? else { return Ok(None) };
        let Some(pid) = sys::credentials::peer_credentials(socket)?.pid else { return Ok(None) };
        let text = read_cgroup(pid)?;
        let is_still_its = sys::process::is_alive(process.as_fd())?;
        Ok(text.filter(|_| is_still_its).map(|text| Self::parse(&text)))
    }

    /// Reads the text of `/proc/PID/cgroup`, of the unified, the legacy or the hybrid layout.
    ///
    /// The unit is the first component below the slices; what lies below `user@UID.service` is a
    /// user's unit as well. What lies in a container (`payload`, a machine's scope) is neither:
    /// who is root in there can choose the names.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let path = |wanted: &str| {
            text.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                (controllers == wanted).then_some(path)
            })
        };
        let legacy = path("name=systemd").map(Self::of_path).unwrap_or_default();
        let unified = path("").map(Self::of_path).unwrap_or_default();
        // The manager uses one of them, or says the same in both.
        match (legacy.unit.is_some(), unified.unit.is_some()) {
            (true, true) if legacy != unified => Self::default(),
            (true, _) => legacy,
            (false, _) => unified,
        }
    }

    fn of_path(path: &str) -> Self {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let Some(unit) = parts.by_ref().find(|part| !is_slice(part)) else {
            return Self::default();
        };
        if !is_unit(unit) || is_container(unit) || path.split('/').any(|part| part == "payload") {
            return Self::default();
        }
        let is_user_manager = unit.starts_with("user@") && unit.ends_with(".service");
        let user_unit = parts.find(|part| !is_slice(part)).filter(|_| is_user_manager);
        Self {
            unit: Some(unit.to_owned()),
            user_unit: user_unit.filter(|unit| is_unit(unit)).map(str::to_owned),
        }
    }
}

/// Whether a control group only groups others.
fn is_slice(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, kind)| kind == "slice")
}

/// Whether a control group's name is that of a unit that holds processes.
fn is_unit(name: &str) -> bool {
    [".service", ".scope", ".socket", ".mount", ".swap"].iter().any(|end| name.ends_with(end))
}

/// Whether another system's processes are in there.
fn is_container(unit: &str) -> bool {
    ["machine-", "docker-", "libpod-", "crio-", "cri-containerd-", "systemd-nspawn@"]
        .iter()
        .any(|start| unit.starts_with(start))
}

fn read_cgroup(pid: u32) -> io::Result<Option<String>> {
    let mut file = fs::File::open(format!("/proc/{pid}/cgroup"))?;
    // With room for one more: what fills it is too long.
    let mut bytes = vec![0; CGROUP_BYTES_MOST + 1];
    // The kernel makes this text at once: one read brings all of it, if there is room.
    let read = file.read(&mut bytes)?;
    bytes.truncate(read);
    Ok(believed(bytes))
}

/// The text of a control group, if it is whole.
fn believed(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok().filter(|text| text.len() <= CGROUP_BYTES_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The unit and the user's unit; empty if there is none.
    fn units(text: &str) -> [String; 2] {
        let units = Units::parse(text);
        [units.unit, units.user_unit].map(Option::unwrap_or_default)
    }

    #[test]
    fn a_system_service_is_found_in_every_layout() {
        let expected = ["shop.service", ""];
        assert_eq!(units("0::/system.slice/shop.service\n"), expected);
        assert_eq!(units("0::/system.slice/shop.service/worker\n"), expected);
        assert_eq!(units("0::/system.slice/system-shop.slice/shop.service\n"), expected);
        let legacy = "9:name=systemd:/system.slice/shop.service\n3:cpu:/\n0::/\n";
        assert_eq!(units(legacy), expected);
        assert_eq!(units("9:name=systemd:/\n0::/system.slice/shop.service\n"), expected);
    }

    #[test]
    fn a_users_unit_is_never_the_systems() {
        let text = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service\n";
        assert_eq!(units(text), ["user@1000.service", "shop.service"]);
        let session = "0::/user.slice/user-1000.slice/session-3.scope\n";
        assert_eq!(units(session), ["session-3.scope", ""]);
    }

    #[test]
    fn what_lies_in_a_container_is_neither() {
        for text in [
            "0::/machine.slice/systemd-nspawn@web.service/payload/system.slice/shop.service\n",
            "0::/machine.slice/machine-web.scope/system.slice/shop.service\n",
            "0::/system.slice/docker-0123.scope\n",
            "0::/machine.slice/libpod-77.scope/container\n",
        ] {
            assert_eq!(units(text), ["", ""], "{text}");
        }
    }

    #[test]
    fn managers_that_disagree_are_not_believed() {
        let text = "1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n";
        assert_eq!(units(text), ["", ""]);
    }

    #[test]
    fn no_unit_is_no_unit() {
        for text in ["", "0::/\n", "0::/system.slice\n", "0::/../..\n", "garbage", "0::/docker/1\n"]
        {
            assert_eq!(units(text), ["", ""], "{text}");
        }
    }

    #[test]
    fn a_control_group_of_the_most_bytes_is_believed_and_a_longer_one_is_not() {
        let start = "0::/system.slice/shop.service/";
        let longest = start.to_owned() + &"x".repeat(16 * 1024 - start.len());
        let text = believed(longest.clone().into_bytes()).unwrap();
        assert_eq!(Units::parse(&text).unit.as_deref(), Some("shop.service"));
        assert_eq!(believed((longest + "x").into_bytes()), None);
        assert_eq!(believed(b"0::/\xff".to_vec()), None);
    }

    #[test]
    fn a_living_peer_has_its_unit_and_a_dead_one_none() {
        let (left, _right) = sys::socket::unix_pair(sys::socket::SocketKind::Stream).unwrap();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        assert_eq!(Units::of_peer(left.as_fd()), Units::parse(&own));

        let listener = std::os::unix::net::UnixListener::bind_addr(&abstract_name()).unwrap();
        let mut child = std::process::Command::new("python3")
            .args([
                "-c",
                "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect('\\0'+sys.argv[1])",
            ])
            .arg(format!("ipcd-unit-test-{}", std::process::id()))
            .spawn()
            .unwrap();
        let (accepted, _) = listener.accept().unwrap();
        child.wait().unwrap();
        assert_eq!(Units::of_peer(accepted.as_fd()), Units::default());
    }

    fn abstract_name() -> std::os::unix::net::SocketAddr {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("ipcd-unit-test-{}", std::process::id());
        std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap()
    }
}
