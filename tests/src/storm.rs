//! Connections as fast as they can be made: the little of the protocol that one needs, without a process for each.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use xtask::cluster::Cluster;

use crate::witness::LIMIT;

/// What one client of the storm does, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Connects, asks one statement, says goodbye.
    Statement,
    /// Sends its statement together with the start-up packet, without waiting for an answer.
    Together,
    /// Connects and says goodbye as soon as the server is ready.
    Nothing,
    /// Hangs up without a word.
    HangUp,
}

/// `version 3.0`, and the names for `trust` (src/interfaces/libpq/fe-protocol3.c).
const HELLO: &[u8] = b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0";
const QUERY: &[u8] = b"Q\0\0\0\x0dSELECT 1\0";
const GOODBYE: &[u8] = b"X\0\0\0\x04";

/// Visits by so many clients at once, `each` by each of them; how long all took. Panics where one is not served.
pub fn storm(cluster: &Cluster, visit: Visit, clients: u64, each: u64) -> Duration {
    let socket = cluster.dir.join(format!(".s.PGSQL.{}", cluster.port));
    let began = Instant::now();
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let socket = socket.clone();
            std::thread::spawn(move || (0..each).for_each(|_| once(&socket, visit)))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("a client of the storm"));
    began.elapsed()
}

fn once(socket: &Path, visit: Visit) {
    let mut server = UnixStream::connect(socket).expect("the server listens");
    server.set_read_timeout(Some(LIMIT)).expect("a limit");
    if visit == Visit::HangUp {
        return;
    }
    let hello = if visit == Visit::Together { [HELLO, QUERY].concat() } else { HELLO.to_vec() };
    server.write_all(&hello).expect("hello");
    until_ready(&mut server);
    if visit == Visit::Statement {
        server.write_all(QUERY).expect("a statement");
    }
    if matches!(visit, Visit::Statement | Visit::Together) {
        until_ready(&mut server);
    }
    server.write_all(GOODBYE).expect("goodbye");
    // The backend has gone when it closes its end: the storm's clients are as many as there are backends.
    while server.read(&mut [0; 64]).is_ok_and(|n| n > 0) {}
}

/// Reads messages up to a ReadyForQuery.
fn until_ready(server: &mut UnixStream) {
    loop {
        let mut head = [0; 5];
        server.read_exact(&mut head).expect("the server answers");
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length - 4];
        server.read_exact(&mut body).expect("the server answers in whole messages");
        match head[0] {
            b'Z' => return,
            b'E' => panic!("refused: {}", String::from_utf8_lossy(&body)),
            _ => {}
        }
    }
}
