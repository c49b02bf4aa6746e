//! A child by `fork(2)` has a copy of everything; what it does with its copies is not its parent's
//! business.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use libipc::address::Address;
use libipc::environment::Environment;
use libipc::private_place::PrivatePlace;
use libipc::ring::{Reader, Writer};
use libipc::session::{ClientOptions, ServerOptions, Session};
use libipc::{Channel, Connection, Listener, Patience, Shm, Stream, ring};

/// What a process uses.
struct Used {
    listener: Listener,
    memory: Shm,
    connection: Connection,
    session: Session,
    writer: Writer,
    reader: Reader,
}

fn soon() -> Patience {
    Patience::within(Duration::from_secs(60))
}

/// Makes a child that drops its copies in the usual order, and waits for its end.
fn a_child_drops(used: Used) -> Used {
    // SAFETY: the child drops values, which allocates nothing, and ends without a destructor.
    match unsafe { libc::fork() } {
        0 => {
            drop(used);
            // SAFETY: it ends this process, and nothing else.
            unsafe { libc::_exit(7) }
        }
        child => {
            let mut status = 0;
            // SAFETY: the pointer is to a live integer, for this call alone.
            let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!((waited, libc::WEXITSTATUS(status)), (child, 7));
            used
        }
    }
}

#[test]
fn what_a_child_drops_stays_its_parents() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("socket");
    let address: Address = path.to_str().unwrap().parse().unwrap();
    let rundir = Some(place.path().join("run"));
    let environment = Environment { rundir, ..Environment::default() };
    let private = PrivatePlace::of(&environment, "shm").unwrap();
    let (near, far) = Stream::pair().unwrap();
    let (near_session, far_session) = Stream::pair().unwrap();
    let server = std::thread::spawn(move || {
        let mut session = Session::accept(far_session, &ServerOptions::default(), "p").unwrap();
        while let Ok(question) = session.receive() {
            session.answer(question.request.unwrap(), &question.payload).unwrap();
        }
    });
    let options = ClientOptions { request_ids: true, ..ClientOptions::default() };
    let (writer, reader) = ring::pair(64).unwrap();
    let size = NonZeroUsize::new(4096).unwrap();
    let used = Used {
        listener: address.listen().unwrap(),
        memory: Shm::named_in(&private, "memory", size, size).unwrap(),
        connection: Connection::new(near),
        session: Session::connect(near_session, &options).unwrap(),
        writer,
        reader,
    };
    let mut far = Connection::new(far);
    // The second child has the copies of a process that one has left before.
    let mut used = a_child_drops(a_child_drops(used));

    let client = address.connect(Instant::now() + Duration::from_secs(60)).unwrap();
    drop((used.listener.accept().unwrap(), client));
    assert!(Shm::open_in(&private, "memory").is_ok());
    used.memory.write(0, b"x").unwrap();
    used.connection.send(Channel::DATA, b"one").unwrap();
    assert_eq!(far.receive_within(soon()).unwrap().payload, "one");
    far.send(Channel::DATA, b"two").unwrap();
    assert_eq!(used.connection.receive_within(soon()).unwrap().payload, "two");
    assert_eq!(used.session.request(b"three", soon()).unwrap(), "three");
    used.writer.send(b"four", soon()).unwrap();
    assert_eq!(used.reader.receive(soon()).unwrap().to_vec().unwrap(), b"four");
    drop(used);
    server.join().unwrap();
    assert!(!path.exists(), "the parent's own end removes its socket");
}
