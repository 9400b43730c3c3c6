//! What is written piece by piece, as long as somebody takes it.
//!
//! A reader may be slow, stop, or go away. So nothing is written that would have to wait: Ctrl-C must end a trace whose
//! reader sleeps, and one whose reader has gone ends even if there is nothing to write.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};

use crate::report::{
    output::{self, Destination, FORMATS, Place, WriteError, WriteLine},
    text::TextOptions,
    trace::Line,
};

/// How often it is looked whether a reader takes more.
const AGAIN: Duration = Duration::from_millis(10);

/// One `-o`.
pub struct Stream {
    to: Destination,
    options: TextOptions,
    line: WriteLine,
    file: File,
    /// Not written yet, from `at` on.
    pending: Vec<u8>,
    at: usize,
}

impl Stream {
    /// # Errors
    /// One clear sentence on what keeps it from being written.
    pub fn open(to: Destination) -> Result<Self, WriteError> {
        let Some(line) = to.format.line else {
            let able: Vec<&str> = FORMATS.iter().filter(|one| one.line.is_some()).map(|one| one.name).collect();
            let reason = format!("{} cannot hold a trace: use {}", to.format.name, able.join(" or "));
            return Err(WriteError::new(output::TRACE, &to.place, io::Error::new(ErrorKind::Unsupported, reason)));
        };
        let mut options = output::terminal_options(1);
        let file = match &to.place {
            Place::Stdout => io::stdout().as_fd().try_clone_to_owned().map(File::from),
            Place::File(path) => {
                options.colour = false;
                OpenOptions::new().write(true).create(true).truncate(true).open(path)
            }
        };
        let file = file.map_err(|source| WriteError::new(output::TRACE, &to.place, source))?;
        Ok(Self { to, options, line, file, pending: Vec::new(), at: 0 })
    }

    /// Text on the standard output.
    pub fn is_seen(&self) -> bool {
        self.to.place == Place::Stdout && self.to.format.for_people
    }

    pub fn add(&mut self, line: &Line) {
        // Into memory, which takes everything.
        let _ = (self.line)(line, &self.options, &mut self.pending);
    }

    /// Bytes that are not written yet.
    pub fn left(&self) -> usize {
        self.pending.len() - self.at
    }

    /// Writes what there is. What was written is so even if this is given up in between.
    ///
    /// # Errors
    /// Those of the file; a reader that has gone is [`ErrorKind::BrokenPipe`].
    pub async fn flush(&mut self) -> io::Result<()> {
        loop {
            let ready = self.ready()?;
            if self.left() == 0 {
                self.pending.clear();
                self.at = 0;
                return Ok(());
            }
            if !ready {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            // A pipe that can be written to takes as much without a wait.
            let end = self.pending.len().min(self.at + libc::PIPE_BUF);
            match self.file.write(&self.pending[self.at..end]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => self.at += n,
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether it can be written to without a wait.
    fn ready(&self) -> io::Result<bool> {
        let mut poll = libc::pollfd { fd: self.file.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: one entry, which lives through the call.
        if unsafe { libc::poll(&raw mut poll, 1, 0) } < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == ErrorKind::Interrupted { Ok(false) } else { Err(error) };
        }
        // Of a pipe without a reader; a terminal that was hung up.
        if poll.revents & (libc::POLLERR | libc::POLLHUP) != 0 {
            return Err(ErrorKind::BrokenPipe.into());
        }
        Ok(poll.revents & libc::POLLOUT != 0)
    }

    pub fn error(&self, source: io::Error) -> WriteError {
        WriteError::new(output::TRACE, &self.to.place, source)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::report::{output::Format, trace::Request};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn stream(file: File) -> Stream {
        let to: Destination = "json".parse().unwrap();
        let line = to.format.line.unwrap();
        Stream { to, options: TextOptions::default(), line, file, pending: Vec::new(), at: 0 }
    }

    #[test]
    fn a_reader_that_sleeps_is_not_waited_for_and_gets_every_line_later() {
        runtime().block_on(async {
            let (mut reader, writer) = io::pipe().unwrap();
            let mut stream = stream(File::from(std::os::fd::OwnedFd::from(writer)));
            // More than a pipe takes.
            for n in 0..2000 {
                stream.add(&Line::Request(Request { completed_ns: n, ..Request::default() }));
            }
            let stalled = tokio::time::timeout(Duration::from_millis(200), stream.flush()).await;
            assert!(stalled.is_err() && stream.left() > 0);
            let thread = std::thread::spawn(move || {
                let mut text = String::new();
                reader.read_to_string(&mut text).unwrap();
                text
            });
            stream.flush().await.unwrap();
            assert_eq!(stream.left(), 0);
            drop(stream);
            let text = thread.join().unwrap();
            let times = text.lines().map(|line| match serde_json::from_str(line).unwrap() {
                Line::Request(request) => request.completed_ns,
                other => panic!("{other:?}"),
            });
            assert!(times.eq(0..2000));
        });
    }

    #[test]
    fn a_format_that_cannot_hold_a_trace_is_refused() {
        static PAGES: Format =
            Format { name: "pages", suffixes: &[], write: |_, _, _| Ok(()), line: None, for_people: true };
        let refused = Stream::open(Destination { format: &PAGES, place: Place::Stdout }).err().unwrap();
        let said = refused.to_string();
        assert!(said.ends_with("pages cannot hold a trace: use text or json"), "{said}");
    }

    #[test]
    fn a_reader_that_has_gone_is_noticed_without_a_line() {
        runtime().block_on(async {
            let (reader, writer) = io::pipe().unwrap();
            let mut stream = stream(File::from(std::os::fd::OwnedFd::from(writer)));
            stream.flush().await.unwrap();
            drop(reader);
            assert_eq!(stream.flush().await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        });
    }
}
