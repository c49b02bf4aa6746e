//! `ipc doctor`, in a run directory that somebody has named.

use crate::place::{Place, run};

#[test]
fn the_broker_of_a_named_directory_is_started_there() {
    let place = Place::new();
    let rundir = place.rundir();
    std::fs::create_dir(&rundir).unwrap();
    let (code, said, _) = run(&mut place.ipc(&["doctor", "--format", "table"]), b"");
    let rundir = rundir.display();
    let expected = format!("{rundir}/ipc is not there\n  to do  ipcd --rundir {rundir} &\n");
    assert!(code == 78 && said.contains(&expected), "{said}");
    drop(std::os::unix::net::UnixListener::bind(place.rundir().join("ipc")).unwrap());
    let (code, said, _) = run(&mut place.ipc(&["doctor", "--format", "raw"]), b"");
    let expected = format!("broken\tnobody listens at {rundir}/ipc\tipcd --rundir {rundir} &\n");
    assert!(code == 78 && said.contains(&expected), "{said}");
}
