//! A client that waits until the server asks before it sends: one simple query at a time, and the next one only when
//! the backend sleeps, so that each message finds it waiting.
//!
//! pgbench does not wait. A backend that is kept off the CPU between its answer and its next read finds the next query
//! already there, and when that came it cannot tell. Nor is pgbench's own log a witness on a busy machine: an answer
//! that is there before pgbench looks for it is logged with an earlier reading of the clock, as little as 0.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use xtask::cluster::Cluster;

use crate::witness::wait_until;

/// Sends `sql` that many times over TCP; how long it waited for each answer, by its own clock, in nanoseconds.
pub fn patient_client(cluster: &Cluster, sql: &str, times: usize) -> Vec<u64> {
    let (mut stream, hello) = connect(cluster);
    let stat = format!("/proc/{}/stat", backend_pid(&hello));
    let sleeps = || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") S "));
    let query = format!("{sql}\0");
    let latencies = (0..times).map(|_| {
        std::thread::sleep(Duration::from_millis(1));
        wait_until("the backend waits for its client", sleeps);
        let began = Instant::now();
        exchange(&mut stream, Some(b'Q'), query.as_bytes());
        began.elapsed().as_nanos() as u64
    });
    latencies.collect()
}

/// Sends `sql` over TCP and reads the answer only after a while; its length.
pub fn read_late(cluster: &Cluster, sql: &str, pause: Duration) -> usize {
    let (mut stream, _) = connect(cluster);
    send(&mut stream, Some(b'Q'), format!("{sql}\0").as_bytes());
    std::thread::sleep(pause);
    answer(&mut stream).len()
}

/// A session, and what the server said to begin with.
fn connect(cluster: &Cluster) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", cluster.port)).expect("the server's port");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    // Protocol 3.0: the length includes itself.
    let mut startup = 196_608u32.to_be_bytes().to_vec();
    startup.extend(b"user\0postgres\0database\0postgres\0\0");
    let hello = exchange(&mut stream, None, &startup);
    (stream, hello)
}

/// Sends a message and reads to the ReadyForQuery that ends the answer.
fn exchange(stream: &mut TcpStream, kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    send(stream, kind, body);
    answer(stream)
}

fn send(stream: &mut TcpStream, kind: Option<u8>, body: &[u8]) {
    let mut message: Vec<u8> = kind.into_iter().collect();
    message.extend((body.len() as u32 + 4).to_be_bytes());
    message.extend(body);
    stream.write_all(&message).expect("a message to the server");
}

fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let (mut answer, mut buffer) = (Vec::new(), [0; 8192]);
    while !answer.ends_with(b"Z\0\0\0\x05I") {
        let n = stream.read(&mut buffer).expect("the server's answer");
        assert!(n > 0, "the server hung up: {}", String::from_utf8_lossy(&answer));
        answer.extend(&buffer[..n]);
    }
    answer
}

/// BackendKeyData: type, length 12, pid, secret.
fn backend_pid(hello: &[u8]) -> u32 {
    let key = b"K\0\0\0\x0c";
    let at = hello.windows(key.len()).position(|window| window == key).expect("BackendKeyData") + key.len();
    u32::from_be_bytes(hello[at..at + 4].try_into().expect("four bytes"))
}
