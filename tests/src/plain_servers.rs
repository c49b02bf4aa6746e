//! Servers of others without TLS, in threads.

use std::net::TcpListener;

/// Echoes what comes on any number of connections; its port.
#[must_use]
pub fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut other = client.try_clone().expect("a descriptor");
            std::thread::spawn(move || std::io::copy(&mut client, &mut other));
        }
    });
    port
}
