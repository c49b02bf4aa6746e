//! The users and groups of this host.

use policy::accounts::Accounts;

/// As the host's name service knows them. Asked when a configuration is loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostAccounts;

impl Accounts for HostAccounts {
    fn uid(&self, name: &str) -> Option<u32> {
        nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
    }

    fn gid(&self, name: &str) -> Option<u32> {
        nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
    }

    fn tells_units(&self) -> bool {
        libipc::identity::tells_units()
    }
}
