//! A name server: it answers what the test tells it to, which may be another thing each time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::thread::JoinHandle;

use crate::namespace::Namespace;

/// What a name has: the name, and how often its IPv4 addresses were asked for before.
pub type Zone = dyn FnMut(&str, usize) -> Vec<IpAddr> + Send;

/// A name server on loopback of a namespace, where programs ask it and nobody else.
#[derive(Debug)]
pub struct NameServer {
    socket: UdpSocket,
    address: SocketAddr,
    serving: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Starts it. To be done before the programs of the namespace.
    #[must_use]
    pub fn start(namespace: &Namespace, zone: Box<Zone>) -> Self {
        let socket = Self::bind(namespace);
        let address = socket.local_addr().expect("it is bound");
        let served = socket.try_clone().expect("a descriptor");
        let serving = Some(std::thread::spawn(move || serve(&served, zone)));
        Self { socket, address, serving }
    }

    /// A name server that hears and never answers, for as long as the socket is kept.
    #[must_use]
    pub fn silent(namespace: &Namespace) -> UdpSocket {
        Self::bind(namespace)
    }

    fn bind(namespace: &Namespace) -> UdpSocket {
        namespace.write_etc("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
        namespace.write_etc("nsswitch.conf", "hosts: files dns\n");
        let socket = namespace.within(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, PORT)));
        socket.expect("nobody else serves names in a new namespace")
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // An empty message ends it.
        let _sent = self.socket.send_to(&[], self.address).is_ok();
        let _ended = self.serving.take().map(JoinHandle::join);
    }
}

const PORT: u16 = 53;

/// Bytes of the longest message without extensions (RFC 1035, section 4.2.1).
const MESSAGE_BYTES_MOST: usize = 512;

fn serve(socket: &UdpSocket, mut zone: Box<Zone>) {
    let mut message = [0; MESSAGE_BYTES_MOST];
    let mut asked = std::collections::HashMap::new();
    while let Ok((length @ 1.., client)) = socket.recv_from(&mut message) {
        let Some(question) = Question::read(&message[..length]) else { continue };
        let before = asked.entry(question.name.clone()).or_insert(0);
        let answer = question.answer(&zone(&question.name, *before));
        *before += usize::from(question.kind == A);
        // Whoever asked may be gone.
        let _sent = socket.send_to(&answer, client).is_ok();
    }
}

/// Kinds of records: an IPv4 and an IPv6 address.
const A: u16 = 1;
const AAAA: u16 = 28;

/// What is asked, and its bytes, which the answer repeats (RFC 1035, section 4.1).
struct Question<'m> {
    id: [u8; 2],
    name: String,
    kind: u16,
    bytes: &'m [u8],
}

impl<'m> Question<'m> {
    fn read(message: &'m [u8]) -> Option<Self> {
        let (header, rest) = message.split_at_checked(12)?;
        let (mut labels, mut at) = (Vec::new(), 0);
        while let length @ 1.. = usize::from(*rest.get(at)?) {
            let label = rest.get(at + 1..=at + length)?;
            labels.push(String::from_utf8_lossy(label).to_lowercase());
            at += 1 + length;
        }
        let bytes = rest.get(..at + 5)?;
        let kind = u16::from_be_bytes([bytes[at + 1], bytes[at + 2]]);
        Some(Self { id: [header[0], header[1]], name: labels.join("."), kind, bytes })
    }

    /// A response without recursion's doubts, whose records nobody may keep.
    fn answer(&self, addresses: &[IpAddr]) -> Vec<u8> {
        let records: Vec<u8> =
            addresses.iter().filter_map(|one| self.record(*one)).flatten().collect();
        let count = addresses.iter().filter(|one| self.record(**one).is_some()).count();
        let count = u8::try_from(count).expect("few addresses");
        let header = [self.id[0], self.id[1], 0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0];
        [&header, self.bytes, records.as_slice()].concat()
    }

    fn record(&self, address: IpAddr) -> Option<Vec<u8>> {
        let (kind, octets) = match address {
            IpAddr::V4(four) => (A, four.octets().to_vec()),
            IpAddr::V6(six) => (AAAA, six.octets().to_vec()),
        };
        // The name as a pointer to the question, class IN, no time to live.
        let length = u8::try_from(octets.len()).expect("4 or 16");
        let start =
            [0xc0, 12, 0, u8::try_from(kind).expect("1 or 28"), 0, 1, 0, 0, 0, 0, 0, length];
        (kind == self.kind).then(|| [start.as_slice(), &octets].concat())
    }
}
