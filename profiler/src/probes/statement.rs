//! Statements by what crosses the client's socket: no trap in Postgres.

use std::os::fd::AsRawFd as _;

use pgstrobe_common::hits::Hit;

use super::{Hook, Level, Point, Probe, Way};

pub static PROBE: Probe = Probe {
    name: "statement",
    help: "every statement, from the arrival of its message to the last byte of its answer",
    level: Level::Standard,
    unit: "ns",
    labels: &["statement class", "backend", "database", "user"],
    essential: false,
    ways: &[
        Way {
            name: "tp_btf",
            hooks: &[
                Hook { program: "sock_recv_length", point: Point::TpBtf("sock_recv_length") },
                Hook { program: "sock_send_length", point: Point::TpBtf("sock_send_length") },
                Hook { program: "sock_recv_length_again", point: Point::TpBtfAgain("sock_recv_length") },
                Hook { program: "sock_send_length_again", point: Point::TpBtfAgain("sock_send_length") },
            ],
            loses: "",
        },
        Way {
            name: "fexit",
            hooks: &[
                Hook { program: "sock_recvmsg", point: Point::Fexit(&["sock_recvmsg"]) },
                Hook { program: "sock_sendmsg", point: Point::Fexit(&["__sock_sendmsg", "sock_sendmsg"]) },
            ],
            loses: "nothing; a receive or send costs a little more",
        },
        Way {
            name: "syscall",
            hooks: &[
                Hook { program: "sys_enter_recvfrom", point: Point::Tracepoint("syscalls", "sys_enter_recvfrom") },
                Hook { program: "sys_exit_recvfrom", point: Point::Tracepoint("syscalls", "sys_exit_recvfrom") },
                Hook { program: "sys_enter_sendto", point: Point::Tracepoint("syscalls", "sys_enter_sendto") },
                Hook { program: "sys_exit_sendto", point: Point::Tracepoint("syscalls", "sys_exit_sendto") },
            ],
            loses: "nothing; four hooks on system calls of every process instead of two on sockets",
        },
    ],
    without: "no statements: only waits and on-CPU time of backends",
    hit_kinds: &[Hit::Receive, Hit::Send],
    exercise: Some(talk_to_self),
};

/// One byte to a socket of our own and back from it, by the calls that Postgres makes (src/backend/libpq/be-secure.c).
fn talk_to_self() -> std::io::Result<()> {
    let (one, two) = std::os::unix::net::UnixStream::pair()?;
    let mut byte = 0u8;
    let address = std::ptr::addr_of_mut!(byte).cast();
    // SAFETY: both calls touch the one byte only.
    let moved = unsafe {
        libc::send(one.as_raw_fd(), address, 1, libc::MSG_NOSIGNAL) + libc::recv(two.as_raw_fd(), address, 1, 0)
    };
    if moved == 2 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
