//! A client that sends a query only when the backend sleeps, so that each message finds it waiting, and that says between
//! which moments the server worked on it.
//!
//! pgbench does not wait. A backend that is kept off the CPU between its answer and its next read finds the next query
//! already there, and when that came it cannot tell. Nor is pgbench's own log a witness on a busy machine: an answer
//! that is there before pgbench looks for it is logged with an earlier reading of the clock, as little as 0.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use xtask::cluster::Cluster;

use crate::clocks::{monotonic_ns, realtime_ahead_ns};
use crate::processes::pids_by_own;
use crate::witness::{wait_until, wait_until_looking};

/// How often the backend is looked at until it sleeps.
const LOOK: Duration = Duration::from_micros(50);

/// One query and its answer, by `CLOCK_MONOTONIC` in nanoseconds.
///
/// Whatever a machine does to client and server, a statement begins after `sent` and ends before `at_rest`: the backend,
/// whose only sleep is that for its client, has made its last system call for the answer when it sleeps again.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Before the query is sent.
    pub sent: u64,
    /// After the answer was read.
    pub answered: u64,
    /// The backend was seen asleep after that.
    pub at_rest: u64,
    /// How far `CLOCK_REALTIME` was ahead before `sent`, and by how much somebody set it until `at_rest`.
    pub ahead: i128,
    pub set_by: u64,
    /// The first column of the first row.
    pub value: String,
}

impl Exchange {
    /// Longer than the statement took.
    pub fn around(&self) -> u64 {
        self.at_rest - self.sent
    }

    /// A time by `CLOCK_REALTIME` as one by `CLOCK_MONOTONIC`, right to `set_by`.
    pub fn monotonic(&self, realtime: u64) -> u64 {
        (i128::from(realtime) - self.ahead) as u64
    }
}

/// While it lives, this thread gets a CPU as soon as it wants one, whoever else works on the machine: the moments it takes are
/// those of what it waited for. Where real-time scheduling is forbidden it goes without, and its moments lie further apart.
pub(crate) struct FirstOnCpu;

impl FirstOnCpu {
    pub(crate) fn get() -> Self {
        schedule(libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, 1);
        Self
    }
}

impl Drop for FirstOnCpu {
    fn drop(&mut self) {
        schedule(libc::SCHED_OTHER, 0);
    }
}

fn schedule(policy: i32, priority: i32) {
    let param = libc::sched_param { sched_priority: priority };
    // SAFETY: of this thread alone, with a local that lives through the call.
    unsafe { libc::sched_setscheduler(0, policy, &raw const param) };
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

pub struct PatientClient {
    stream: Box<dyn Stream>,
    /// `/proc/PID/stat` of its backend.
    stat: String,
}

impl PatientClient {
    pub fn over_tcp(cluster: &Cluster) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", cluster.port)).expect("the server's port");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self::greet(cluster, Box::new(stream), "postgres", "patient")
    }

    pub fn connect(cluster: &Cluster, user: &str, application_name: &str) -> Self {
        let path = cluster.dir.join(format!(".s.PGSQL.{}", cluster.port));
        let stream = UnixStream::connect(path).expect("the server's socket");
        Self::greet(cluster, Box::new(stream), user, application_name)
    }

    fn greet(cluster: &Cluster, mut stream: Box<dyn Stream>, user: &str, application_name: &str) -> Self {
        // Protocol 3.0: the length includes itself.
        let mut startup = 196_608u32.to_be_bytes().to_vec();
        let options = ["user", user, "database", "postgres", "application_name", application_name, ""];
        startup.extend(options.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()));
        send(&mut stream, None, &startup);
        let hello = answer(&mut stream);
        let pid = pids_by_own(cluster)[&backend_pid(&hello)];
        Self { stream, stat: format!("/proc/{pid}/stat") }
    }

    /// A simple query that waits for nothing that leaves the backend in an interruptible sleep after its answer.
    pub fn ask(&mut self, sql: &str) -> Exchange {
        let _first = FirstOnCpu::get();
        let sleeps = || std::fs::read_to_string(&self.stat).is_ok_and(|stat| stat.contains(") S "));
        std::thread::sleep(Duration::from_millis(1));
        wait_until("the backend waits for its client", sleeps);
        let ahead = realtime_ahead_ns();
        let sent = monotonic_ns();
        send(&mut self.stream, Some(b'Q'), format!("{sql}\0").as_bytes());
        let text = answer(&mut self.stream);
        let answered = monotonic_ns();
        wait_until_looking("the backend sleeps again", LOOK, sleeps);
        let at_rest = monotonic_ns();
        let set_by = (realtime_ahead_ns() - ahead).unsigned_abs() as u64;
        let value = first_value(&text).unwrap_or_else(|| panic!("{sql}: {}", String::from_utf8_lossy(&text)));
        Exchange { sent, answered, at_rest, ahead, set_by, value }
    }
}

/// Sends `sql` over TCP and reads the answer only after a while; its length.
pub fn read_late(cluster: &Cluster, sql: &str, pause: Duration) -> usize {
    let mut client = PatientClient::over_tcp(cluster);
    send(&mut client.stream, Some(b'Q'), format!("{sql}\0").as_bytes());
    std::thread::sleep(pause);
    answer(&mut client.stream).len()
}

fn send(stream: &mut impl Write, kind: Option<u8>, body: &[u8]) {
    let mut message: Vec<u8> = kind.into_iter().collect();
    message.extend((body.len() as u32 + 4).to_be_bytes());
    message.extend(body);
    stream.write_all(&message).expect("a message to the server");
}

/// Reads to the ReadyForQuery that ends the answer.
fn answer(stream: &mut impl Read) -> Vec<u8> {
    let (mut answer, mut buffer) = (Vec::new(), [0; 8192]);
    while !answer.ends_with(b"Z\0\0\0\x05I") {
        let n = stream.read(&mut buffer).expect("the server's answer");
        assert!(n > 0, "the server hung up: {}", String::from_utf8_lossy(&answer));
        answer.extend(&buffer[..n]);
    }
    answer
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(four.try_into().expect("four bytes")) as usize)
}

/// DataRow: type, length, number of columns, and of each column the length and the text.
fn first_value(answer: &[u8]) -> Option<String> {
    let mut at = 0;
    while *answer.get(at)? != b'D' {
        at += 1 + number(answer, at + 1)?;
    }
    let (from, len) = (at + 11, number(answer, at + 7)?);
    Some(String::from_utf8_lossy(answer.get(from..from.checked_add(len)?).unwrap_or_default()).into_owned())
}

/// BackendKeyData: type, length 12, pid, secret.
fn backend_pid(hello: &[u8]) -> u32 {
    let key = b"K\0\0\0\x0c";
    let at = hello.windows(key.len()).position(|window| window == key).expect("BackendKeyData") + key.len();
    number(hello, at).expect("a pid") as u32
}
