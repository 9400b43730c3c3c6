//! What crossed the loopback interface: when a client's query left for the server and when the answer left for the
//! client, by the kernel's time stamps on the packets.
//!
//! On that interface a packet is stamped in the context of its sender (`netif_rx`), before the receiver is woken. So the answer's stamp does not move
//! when the client is kept off the CPU, which is what a client's own clock cannot offer; and neither stamp depends on
//! what pgstrobe hooks.

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

// linux/if_ether.h, linux/if_packet.h. A socket for one protocol sees each packet once, when it is received.
const ETH_P_IP: u16 = 0x0800;
const PACKET_STATISTICS: i32 = 6;

/// Room for all packets of a test; they are read at its end, so that reading disturbs nothing.
const ROOM: i32 = 256 << 20;

/// A tap on the loopback interface.
pub struct Wire {
    socket: OwnedFd,
    port: u16,
}

/// A TCP segment: when it was sent, from the server or to it, from which byte of its connection on, and what it carried.
struct Segment {
    at: Duration,
    from_server: bool,
    ports: (u16, u16),
    sequence: u32,
    payload: Vec<u8>,
}

/// A simple query and the last byte of its answer on the wire, by `CLOCK_REALTIME` in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct OnWire {
    pub asked: u64,
    pub answered: u64,
}

impl Wire {
    /// Looks at one TCP port from now on.
    pub fn tap(port: u16) -> Self {
        // SAFETY: plain system calls on a descriptor of our own, with structures that live through them.
        unsafe {
            let protocol = i32::from(ETH_P_IP.to_be());
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, protocol);
            assert!(fd >= 0, "a packet socket: {}", std::io::Error::last_os_error());
            let socket = OwnedFd::from_raw_fd(fd);
            let address = libc::sockaddr_ll {
                sll_family: libc::AF_PACKET as u16,
                sll_protocol: ETH_P_IP.to_be(),
                sll_ifindex: libc::if_nametoindex(c"lo".as_ptr()) as i32,
                ..std::mem::zeroed()
            };
            let len = size_of_val(&address) as u32;
            let bound = libc::bind(fd, (&raw const address).cast(), len);
            assert_eq!(bound, 0, "bind to the loopback interface: {}", std::io::Error::last_os_error());
            for (option, value) in [(libc::SO_RCVBUFFORCE, ROOM), (libc::SO_TIMESTAMPNS, 1)] {
                let set = libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const value).cast(), 4);
                assert_eq!(set, 0, "socket option {option}: {}", std::io::Error::last_os_error());
            }
            Self { socket, port }
        }
    }

    /// Each simple query and the end of its answer, in the order of the queries. One client at a time.
    pub fn exchanges(self) -> Vec<OnWire> {
        let mut exchanges: Vec<OnWire> = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(segment) = self.next() {
            // A sender whose segment is not acknowledged in time, as by a machine that is busy, sends it once more.
            if !seen.insert((segment.ports, segment.sequence)) {
                continue;
            }
            let at = segment.at.as_nanos() as u64;
            match exchanges.last_mut() {
                Some(last) if segment.from_server => last.answered = at,
                _ if !segment.from_server && segment.payload[0] == b'Q' => {
                    exchanges.push(OnWire { asked: at, answered: 0 });
                }
                _ => {}
            }
        }
        assert!(exchanges.iter().all(|one| one.answered >= one.asked), "a query without an answer");
        // tpacket_stats: packets, drops.
        let (mut statistics, mut len) = ([0u32; 2], 8);
        // SAFETY: the kernel fills the two numbers it is given the size of.
        let read = unsafe {
            let out = statistics.as_mut_ptr().cast();
            libc::getsockopt(self.socket.as_raw_fd(), libc::SOL_PACKET, PACKET_STATISTICS, out, &mut len)
        };
        assert_eq!((read, statistics[1]), (0, 0), "the tap dropped packets");
        exchanges
    }

    /// The next segment of the port that carries something, if one is there.
    fn next(&self) -> Option<Segment> {
        loop {
            let (packet, at) = receive(self.socket.as_raw_fd())?;
            let Some(segment) = tcp(&packet, at, self.port) else { continue };
            if !segment.payload.is_empty() && [segment.ports.0, segment.ports.1].contains(&self.port) {
                return Some(segment);
            }
        }
    }
}

/// A packet and its time stamp.
fn receive(socket: i32) -> Option<(Vec<u8>, Duration)> {
    let mut packet = vec![0; 1 << 16];
    // SAFETY: every pointer is to a local of the size given, and a control message is read within its length.
    unsafe {
        let mut part = libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: packet.len() };
        let mut control = [0u64; 16];
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&mut part, 1);
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        let n = libc::recvmsg(socket, &mut message, libc::MSG_DONTWAIT);
        if n < 0 {
            return None;
        }
        packet.truncate(n as usize);
        let header = libc::CMSG_FIRSTHDR(&message);
        assert!(!header.is_null() && (*header).cmsg_type == libc::SCM_TIMESTAMPNS, "a packet without a time stamp");
        let time: libc::timespec = std::ptr::read_unaligned(libc::CMSG_DATA(header).cast());
        Some((packet, Duration::new(time.tv_sec as u64, time.tv_nsec as u32)))
    }
}

/// What an IPv4 packet that is TCP carries; `server` is the server's port.
fn tcp(packet: &[u8], at: Duration, server: u16) -> Option<Segment> {
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    const TCP: u8 = 6;
    if *packet.get(9)? != TCP {
        return None;
    }
    let header = usize::from(packet[0] & 15) * 4;
    let offset = usize::from(*packet.get(header + 12)? >> 4) * 4;
    let ports = (word(header)?, word(header + 2)?);
    let sequence = u32::from(word(header + 4)?) << 16 | u32::from(word(header + 6)?);
    let payload = packet.get(header + offset..usize::from(word(2)?))?.to_vec();
    Some(Segment { at, from_server: ports.0 == server, ports, sequence, payload })
}
