//! What the packages hold, and what installing them does.

/// One package.
pub(crate) struct Component {
    /// Its name.
    pub(crate) name: &'static str,
    /// One line about it.
    pub(crate) title: &'static str,
    /// More about it, a line each.
    pub(crate) about: &'static [&'static str],
    /// Packages that it needs besides the C library.
    pub(crate) needs: &'static [&'static str],
    /// Programs, and the directory that each goes to.
    pub(crate) programs: &'static [(&'static str, &'static str)],
    /// Files of this tree, and the path that each gets.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// Manual pages.
    pub(crate) pages: &'static [&'static str],
    /// Directories that are empty at first.
    pub(crate) directories: &'static [&'static str],
    /// Files in sysusers.d that are carried out.
    pub(crate) accounts: &'static [&'static str],
    /// Files in tmpfiles.d that are carried out.
    pub(crate) places: &'static [&'static str],
    /// Directories of its own with what it keeps, which a purge removes.
    pub(crate) state: &'static [&'static str],
    /// Units that are enabled and started. No port is among them.
    pub(crate) enable: &'static [&'static str],
    /// Units that an upgrade starts again; none through which connections go.
    pub(crate) restart: &'static [&'static str],
    /// Units that removal ends.
    pub(crate) stop: &'static [&'static str],
}

const UNITS: &str = "usr/lib/systemd/system";
const USER_UNITS: &str = "usr/lib/systemd/user";

/// All packages.
pub(crate) const COMPONENTS: &[Component] = &[
    Component {
        name: "ipcd",
        title: "broker for connections by name",
        about: &[
            "Programs ask for a service by name. ipcd decides where that name leads, on",
            "this host or on another, and whether this program may go there, and hands",
            "back a connected descriptor. It has no network of its own: connections to",
            "other hosts are made by ipcd-tcpd. The command ipc is part of this package.",
        ],
        needs: &["systemd (>= 252)", "init-system-helpers (>= 1.62)"],
        programs: &[("ipcd", "usr/bin"), ("ipc", "usr/bin")],
        files: &[
            ("config/ipcd.toml", "etc/ipcd/ipcd.toml"),
            ("systemd/system/ipcd.service", UNITS),
            ("systemd/system/ipcd.socket", UNITS),
            ("systemd/system/ipcd-front@.socket", UNITS),
            ("systemd/user/ipcd.service", USER_UNITS),
            ("systemd/user/ipcd.socket", USER_UNITS),
            ("systemd/preset.conf", "usr/lib/systemd/system-preset/60-ipcd.preset"),
            ("systemd/sysusers/ipcd.conf", "usr/lib/sysusers.d/ipcd.conf"),
            ("systemd/tmpfiles.conf", "usr/lib/tmpfiles.d/ipcd.conf"),
            ("CHANGELOG.md", "usr/share/doc/ipcd/CHANGELOG.md"),
            ("config/examples/00-ceiling.toml", "usr/share/doc/ipcd/examples/00-ceiling.toml"),
            ("config/examples/service-host.toml", "usr/share/doc/ipcd/examples/service-host.toml"),
            ("config/examples/web-host.toml", "usr/share/doc/ipcd/examples/web-host.toml"),
        ],
        pages: &["ipcd.8", "ipc.1"],
        directories: &["etc/ipcd/ipcd.d"],
        accounts: &["ipcd.conf"],
        places: &["ipcd.conf"],
        state: &[],
        enable: &["ipcd.socket"],
        restart: &["ipcd.service"],
        stop: &["ipcd-front@*.socket", "ipcd.socket", "ipcd.service"],
    },
    Component {
        name: "ipcd-tcpd",
        title: "connections of ipcd over TCP",
        about: &[
            "Connects to other hosts for ipcd, and lets other hosts reach services of this",
            "one. Nothing listens until the administrator says where.",
        ],
        needs: &["ipcd (= @VERSION@)"],
        programs: &[("tcpd", "usr/libexec/ipcd")],
        files: &[
            ("config/tcpd.toml", "etc/ipcd/tcpd.toml"),
            ("systemd/system/ipcd-tcpd.service", UNITS),
            ("systemd/system/ipcd-tcpd.socket", UNITS),
            ("systemd/system/ipcd-tcpd-listen.socket", UNITS),
            ("systemd/user/ipcd-tcpd.service", USER_UNITS),
            ("systemd/user/ipcd-tcpd.socket", USER_UNITS),
            ("systemd/sysusers/ipcd-tcpd.conf", "usr/lib/sysusers.d/ipcd-tcpd.conf"),
        ],
        pages: &["ipcd-tcpd.8"],
        directories: &[],
        accounts: &["ipcd-tcpd.conf"],
        places: &[],
        state: &[],
        enable: &["ipcd-tcpd.socket"],
        restart: &[],
        stop: &["ipcd-tcpd-listen.socket", "ipcd-tcpd.socket", "ipcd-tcpd.service"],
    },
    Component {
        name: "ipcd-tlsd",
        title: "connections of ipcd over TLS",
        about: &[
            "Encrypts connections for ipcd, and proves who is at their other end. It opens no",
            "network socket itself: ipcd-tcpd does. Keys are readable for it alone.",
        ],
        needs: &["ipcd (= @VERSION@)", "ipcd-tcpd (= @VERSION@)"],
        programs: &[("tlsd", "usr/libexec/ipcd")],
        files: &[
            ("config/tlsd.toml", "etc/ipcd/tlsd.toml"),
            ("systemd/system/ipcd-tlsd.service", UNITS),
            ("systemd/system/ipcd-tlsd.socket", UNITS),
            ("systemd/system/ipcd-tlsd-listen.socket", UNITS),
            ("systemd/user/ipcd-tlsd.service", USER_UNITS),
            ("systemd/user/ipcd-tlsd.socket", USER_UNITS),
            ("systemd/sysusers/ipcd-tlsd.conf", "usr/lib/sysusers.d/ipcd-tlsd.conf"),
        ],
        pages: &["ipcd-tlsd.8"],
        directories: &[],
        accounts: &["ipcd-tlsd.conf"],
        places: &[],
        state: &[],
        enable: &["ipcd-tlsd.socket"],
        restart: &[],
        stop: &["ipcd-tlsd-listen.socket", "ipcd-tlsd.socket", "ipcd-tlsd.service"],
    },
    Component {
        name: "ipcd-authd",
        title: "logins for ipcd",
        about: &[
            "Verifies the logins that other hosts bring to services of this one, against a",
            "file of users and argon2id hashes. It is a service like any other, and may",
            "serve other hosts too.",
        ],
        needs: &["ipcd (= @VERSION@)"],
        programs: &[("authd", "usr/libexec/ipcd")],
        files: &[
            ("config/authd.toml", "etc/ipcd/authd.toml"),
            ("systemd/system/ipcd-authd.service", UNITS),
            ("systemd/system/ipcd-authd.socket", UNITS),
            ("systemd/sysusers/ipcd-authd.conf", "usr/lib/sysusers.d/ipcd-authd.conf"),
            ("systemd/tmpfiles-authd.conf", "usr/lib/tmpfiles.d/ipcd-authd.conf"),
        ],
        pages: &["ipcd-authd.8"],
        directories: &[],
        accounts: &["ipcd-authd.conf"],
        places: &["ipcd-authd.conf"],
        state: &["/var/lib/ipcd-authd"],
        enable: &[],
        restart: &[],
        stop: &["ipcd-authd.socket", "ipcd-authd.service"],
    },
    Component {
        name: "pongd",
        title: "echo service for ipcd, the template for one's own",
        about: &["What it is sent, it sends back. pongd@NAME.socket offers it under that name."],
        needs: &["ipcd (= @VERSION@)"],
        programs: &[("pongd", "usr/libexec/ipcd")],
        files: &[("systemd/system/pongd@.service", UNITS), ("systemd/system/pongd@.socket", UNITS)],
        pages: &[],
        directories: &[],
        accounts: &[],
        places: &[],
        state: &[],
        enable: &[],
        restart: &[],
        stop: &["pongd@*.socket", "pongd@*.service"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_unit_that_we_have_is_in_one_package() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        for directory in ["systemd/system", "systemd/user", "systemd/sysusers"] {
            for entry in std::fs::read_dir(root.join(directory)).unwrap() {
                let file = format!("{directory}/{}", entry.unwrap().file_name().display());
                let holders = COMPONENTS
                    .iter()
                    .filter(|component| component.files.iter().any(|(source, _)| *source == file));
                assert_eq!(holders.count(), 1, "{file}");
            }
        }
    }

    #[test]
    fn no_package_enables_what_listens_for_other_hosts_or_cuts_what_it_carries() {
        for component in COMPONENTS {
            assert!(component.enable.iter().all(|unit| !unit.contains("listen")));
            assert!(component.restart.iter().all(|unit| *unit == "ipcd.service"));
        }
    }
}
