//! The container itself, which all else here stands on.

use ipcd_tests::container::Container;

#[test]
fn two_systems_boot_and_reach_each_other() {
    let (Some(one), Some(two)) = (Container::boot(), Container::boot()) else { return };
    one.join("10.9.0.1/24", &two, "10.9.0.2/24", "lan0");
    // Nobody listens there: the answer is a refusal by the other system.
    assert_eq!(one.run("curl --silent --max-time 5 http://10.9.0.2/").code, 7);
    assert_eq!(one.output("cat /proc/1/comm"), "systemd\n");
    one.write("/etc/some/place/file", "text");
    assert_eq!(one.output("cat /etc/some/place/file"), "text");
    assert_eq!(two.run("cat /etc/some/place/file; exit 7").code, 7);
    let group = one.output("systemd-run --quiet --wait --pipe --unit=shop cat /proc/self/cgroup");
    assert!(group.contains("0::/system.slice/shop.service"), "{group}");
}
