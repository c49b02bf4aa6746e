//! Clients of the installed broker: whose units they are, by the word of the managers that run
//! them.

use ipcd_tests::container::Container;

/// One service under several names, each with rules of its own.
const CONFIG: &str = "rules = '''
allow local shop for unit:shop.service
deny local open for unit:elsewhere.service
allow local open
'''
[redirects]
shop = 'pongd'
open = 'pongd'
[log]
decisions = 'all'
";

fn host() -> Option<Container> {
    let host = Container::installed()?;
    host.must("for id in 4711 4712; do useradd --uid $id --create-home u$id; done");
    host.write("/etc/ipcd/ipcd.toml", CONFIG);
    host.must("systemctl start pongd@pongd.socket; ipc reload");
    Some(host)
}

/// The exit code of `ipc connect`, as a unit of that name and by those properties.
fn connect(host: &Container, unit: &str, more: &str, service: &str) -> i32 {
    let run = format!("systemd-run --quiet --collect --wait --pipe --unit={unit} {more}");
    host.run(&format!("{run} ipc connect {service} -- true")).code
}

#[test]
fn a_unit_is_reached_by_its_rules_alone() {
    let Some(host) = host() else { return };
    for user in ["--uid=4711", "--uid=4712", "-p DynamicUser=yes"] {
        assert_eq!(connect(&host, "shop", user, "shop"), 0, "{user}");
        assert_eq!(connect(&host, "shops", user, "shop"), 50, "{user}");
        assert_eq!(connect(&host, "elsewhere", user, "open"), 50, "{user}");
        assert_eq!(connect(&host, "shops", user, "open"), 0, "{user}");
    }
    // In a slice of another name, and in one below another.
    let slice = "--uid=4711 --slice=system-shop-deep.slice";
    assert_eq!(connect(&host, "shop", slice, "shop"), 0);
    // A scope is a unit too, and not that service.
    let scope = "systemd-run --quiet --scope --unit=shop.scope --uid=4711";
    assert_eq!(host.run(&format!("{scope} ipc connect shop -- true")).code, 50);
    // Root is let in by the rule behind all others, but for what denies it.
    assert_eq!(connect(&host, "elsewhere", "", "open"), 50);
    let record = host.output("journalctl --unit ipcd --output=cat --no-pager");
    assert!(record.contains("shop.service"), "{record}");
}

#[test]
fn what_a_unit_or_a_container_makes_below_itself_is_not_that_unit() {
    let Some(host) = host() else { return };
    // Whoever may make control groups below his own can give them any name.
    let below = |unit: &str, slice: &str, path: &str, service: &str| {
        let group = format!("/sys/fs/cgroup/{slice}/{unit}.service/{path}");
        let script = format!(
            "mkdir -p {group} && echo $$ >{group}/cgroup.procs && \
             exec setpriv --reuid=4711 --clear-groups ipc connect {service} -- true"
        );
        host.run(&format!(
            "systemd-run --quiet --collect --wait --pipe --unit={unit} --slice={slice} -p Delegate=yes \
             sh -c '{}'",
            script.replace('$', "$$")
        ))
        .code
    };
    let container = "systemd-nspawn@web";
    assert_eq!(below("evil", "system.slice", "shop.service", "shop"), 50);
    assert_eq!(below("evil", "system.slice", "system.slice/shop.service", "shop"), 50);
    assert_eq!(below("shop", "system.slice", "worker", "shop"), 0, "a part of it is it");
    for path in ["payload/system.slice/shop.service", "payload", "system.slice/shop.service"] {
        assert_eq!(below(container, "machine.slice", path, "shop"), 50, "{path}");
        assert_eq!(below(container, "machine.slice", path, "open"), 50, "it may be any unit");
    }
}

#[test]
fn a_broker_of_private_users_refuses_to_start() {
    let Some(host) = Container::installed() else { return };
    let said = host.run(
        "systemd-run --quiet --collect --wait --pipe -p PrivateUsers=yes ipcd --rundir /run/private-ipc",
    );
    assert_eq!(said.code, 78, "{}", said.stderr);
    assert!(said.stderr.contains("run without PrivateUsers="), "{}", said.stderr);
}
