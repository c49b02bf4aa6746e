//! Who asks: this process.

use libipc::identity::LocalIdentity;
use libipc::interface::broker::Subject;
use libipc::unit::Units;
use nix::unistd::{self, Group, User};

/// This process, as the broker sees it.
pub(crate) fn identity() -> LocalIdentity {
    let groups = unistd::getgroups().ok();
    let Units { unit, user_unit } = units();
    LocalIdentity {
        pid: Some(std::process::id()),
        uid: Some(unistd::geteuid().as_raw()),
        gid: Some(unistd::getegid().as_raw()),
        groups: groups.map(|groups| groups.iter().map(|gid| gid.as_raw()).collect()),
        unit,
        user_unit,
        ..LocalIdentity::default()
    }
}

/// The units of this process; what cannot be read is not known.
fn units() -> Units {
    std::fs::read_to_string("/proc/self/cgroup").map(|text| Units::parse(&text)).unwrap_or_default()
}

/// This process as somebody would describe it in a test.
pub(crate) fn subject() -> Subject {
    let LocalIdentity { uid, groups, unit, user_unit, .. } = identity();
    let user = |uid: u32| match User::from_uid(uid.into()).ok().flatten() {
        Some(user) => user.name,
        None => uid.to_string(),
    };
    let group = |gid: u32| match Group::from_gid(gid.into()).ok().flatten() {
        Some(group) => group.name,
        None => gid.to_string(),
    };
    let groups: Vec<String> = groups.into_iter().flatten().map(group).collect();
    Subject {
        user: uid.map(user),
        groups: (!groups.is_empty()).then_some(groups),
        unit,
        user_unit,
        socket: None,
        login: None,
    }
}

/// This process for people: `user shop (998), unit shop.service, pid 4711`.
pub(crate) fn text() -> String {
    let uid = unistd::geteuid();
    let user = match User::from_uid(uid).ok().flatten() {
        Some(user) => format!("user {} ({uid})", user.name),
        None => format!("user {uid}"),
    };
    let Units { unit, user_unit } = units();
    let unit = unit.map(|unit| format!(", unit {unit}")).unwrap_or_default();
    let user_unit = user_unit.map(|unit| format!(", user unit {unit}")).unwrap_or_default();
    format!("{user}{unit}{user_unit}, pid {}", std::process::id())
}
