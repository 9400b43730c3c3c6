//! Where reports go: a format by name or by a file's suffix, and a file or the standard output.
//!
//! A profile may have run for an hour when its report is written, so a place that cannot take it is refused before the
//! profile begins ([`check`]), and a half-written file is not left for a report ([`write`]).

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use terminal_size::terminal_size_of;

use super::document::Document;
use super::text::TextOptions;
use super::trace::{self, Line};

/// Writes one line of a trace.
pub type WriteLine = fn(&Line, &TextOptions, &mut dyn Write) -> io::Result<()>;

/// A way to write a report down, and a trace where it can hold one.
pub struct Format {
    /// As on the command line.
    pub name: &'static str,
    /// Suffixes of files that get this format, without the dot.
    pub suffixes: &'static [&'static str],
    pub write: fn(&Document, &TextOptions, &mut dyn Write) -> io::Result<()>,
    /// Writes one line of a trace as it comes; none where the format cannot be written piece by piece.
    pub line: Option<WriteLine>,
    /// It is read by people: on the standard output nothing is to be mixed with it.
    pub for_people: bool,
}

/// Every format there is.
pub static FORMATS: &[Format] = &[
    Format {
        name: "text",
        suffixes: &["txt", "text"],
        write: |document, options, out| out.write_all(super::text::document(document, options).as_bytes()),
        line: Some(|line, options, out| out.write_all(trace::text::line(line, options).as_bytes())),
        for_people: true,
    },
    Format {
        name: "json",
        suffixes: &["json"],
        write: |document, _, out| super::json::write(document, out),
        line: Some(|line, _, out| trace::json::line(line, out)),
        for_people: false,
    },
];

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

fn named(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Stdout,
    File(PathBuf),
}

/// One `-o`.
#[derive(Clone, Debug)]
pub struct Destination {
    pub format: &'static Format,
    pub place: Place,
}

/// What is wrong with an `-o`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot tell the format of \"{given}\": use {known}, a file name ending in one of them, or - for text")]
pub struct UnknownFormat {
    given: String,
    known: String,
}

impl std::str::FromStr for Destination {
    type Err = UnknownFormat;

    /// `-` is text on the standard output, `json` or `text` that format there, anything else a file whose suffix says
    /// the format. What is there and is no file (`/dev/null`, `/dev/fd/3`) needs no suffix for text.
    fn from_str(given: &str) -> Result<Self, UnknownFormat> {
        if matches!(given, "-" | "/dev/stdout" | "/proc/self/fd/1" | "/dev/fd/1") {
            return Ok(Destination { format: &FORMATS[0], place: Place::Stdout });
        }
        if let Some(format) = named(given) {
            return Ok(Destination { format, place: Place::Stdout });
        }
        let path = Path::new(given);
        let suffix = path.extension().and_then(|s| s.to_str()).unwrap_or("").to_ascii_lowercase();
        let by_suffix = FORMATS.iter().find(|format| format.suffixes.contains(&suffix.as_str()));
        let text = (suffix.is_empty() && is_special(path)).then_some(&FORMATS[0]);
        by_suffix.or(text).map(|format| Destination { format, place: Place::File(path.into()) }).ok_or_else(|| {
            UnknownFormat {
                given: given.into(),
                known: FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", "),
            }
        })
    }
}

/// What is written, for sentences.
pub const REPORT: &str = "report";
pub const TRACE: &str = "trace";

/// Why a report could not be written: one sentence for the user.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the {what} to {place}: {reason}")]
pub struct WriteError {
    what: &'static str,
    place: String,
    reason: String,
    #[source]
    source: io::Error,
}

impl WriteError {
    pub fn new(what: &'static str, place: &Place, source: io::Error) -> Self {
        let reason = match source.kind() {
            ErrorKind::StorageFull => "the disk is full".into(),
            ErrorKind::QuotaExceeded => "the disk quota is used up".into(),
            ErrorKind::ReadOnlyFilesystem => "the file system is read-only".into(),
            ErrorKind::PermissionDenied => "permission denied".into(),
            ErrorKind::NotFound => "the directory does not exist".into(),
            ErrorKind::NotADirectory => "a part of the path is not a directory".into(),
            ErrorKind::IsADirectory => "it is a directory".into(),
            // `ErrorKind::FilesystemLoop` is not stable yet.
            _ if source.raw_os_error() == Some(libc::ELOOP) => "its symbolic links go round in a circle".into(),
            _ => source.to_string(),
        };
        let place = match place {
            Place::Stdout => "the standard output".into(),
            Place::File(path) => path.display().to_string(),
        };
        WriteError { what, place, reason, source }
    }
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Done,
    /// Its reader went away (`pgstrobe report | head`): no error, and no use in writing more.
    ReaderGone,
}

/// Whether `what` can be written there, found out by doing as [`write`] will do. What was there stays as it is, and
/// what was not is not there afterwards.
///
/// # Errors
/// One clear sentence on what would keep the report from being written.
pub fn check(what: &'static str, to: &Destination) -> Result<(), WriteError> {
    let Place::File(path) = &to.place else { return Ok(()) };
    let opened = match fs::metadata(path) {
        // A pipe that nobody reads yet would not open.
        Ok(meta) if meta.file_type().is_fifo() => Ok(()),
        Ok(_) => OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).map(drop),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // A symbolic link to nowhere: what it names will be made.
            let target = target_of(path);
            OpenOptions::new().write(true).create_new(true).open(&target).and_then(|_| fs::remove_file(&target))
        }
        Err(error) => Err(error),
    };
    opened.map_err(|source| WriteError::new(what, &to.place, source))
}

/// What a chain of symbolic links names, whether or not it is there.
fn target_of(path: &Path) -> PathBuf {
    let mut path = path.to_path_buf();
    // As many as the kernel follows (MAXSYMLINKS, include/linux/namei.h).
    for _ in 0..40 {
        let Ok(next) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(next);
    }
    path
}

/// Something that is there and is neither a file nor a directory.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir())
}

/// Writes the report to one destination; one that is not the `first` of a profile goes behind those before. Text in a
/// file has no colours. Of a report that a file could not take, nothing stays: half a report is none.
///
/// # Errors
/// One clear sentence on what kept the report from being written.
pub fn write(document: &Document, options: &TextOptions, to: &Destination, first: bool) -> Result<Written, WriteError> {
    let done = match &to.place {
        Place::Stdout => write_to(document, options, to.format, &mut io::stdout().lock()),
        Place::File(path) => {
            let plain = TextOptions { colour: false, ..options.clone() };
            let mut open = OpenOptions::new();
            let open =
                if first { open.write(true).create(true).truncate(true) } else { open.append(true).create(true) };
            open.open(path).and_then(|mut file| {
                let before = file.metadata().ok().filter(|meta| meta.is_file()).map(|meta| meta.len());
                let result = write_to(document, &plain, to.format, &mut file);
                if result.is_err() {
                    let _ = match before {
                        Some(0) => fs::remove_file(path),
                        Some(len) => file.set_len(len),
                        None => Ok(()),
                    };
                }
                result
            })
        }
    };
    match done {
        Ok(()) => Ok(Written::Done),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Written::ReaderGone),
        Err(source) => Err(WriteError::new(REPORT, &to.place, source)),
    }
}

fn write_to(document: &Document, options: &TextOptions, format: &Format, out: &mut dyn Write) -> io::Result<()> {
    let mut buffered = BufWriter::new(out);
    (format.write)(document, options, &mut buffered)?;
    buffered.flush()
}

/// Options that fit the standard output: its width and, unless `NO_COLOR` is set or it is no terminal, colours.
pub fn terminal_options(top: usize) -> TextOptions {
    let terminal = io::stdout().is_terminal();
    let width = if terminal { terminal_size_of(io::stdout()).map(|(width, _)| width.0.into()) } else { None };
    // 0 where nobody has told the terminal.
    let width = width.filter(|width| *width > 0);
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let width =
        width.or_else(|| std::env::var("COLUMNS").ok()?.parse().ok()).unwrap_or(if terminal { 80 } else { 120 });
    TextOptions { top, width, colour }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn busy() -> Document {
        Document::One(Box::new(fixture::busy()))
    }

    fn options() -> TextOptions {
        TextOptions { top: 10, width: 80, colour: true }
    }

    #[test]
    fn formats_by_name_and_suffix() {
        let parse = |s: &str| s.parse::<Destination>().map(|d| (d.format.name, d.place));
        assert_eq!(parse("-").unwrap(), ("text", Place::Stdout));
        assert_eq!(parse("json").unwrap(), ("json", Place::Stdout));
        assert_eq!(parse("/tmp/a.JSON").unwrap(), ("json", Place::File("/tmp/a.JSON".into())));
        assert_eq!(parse("a.b.txt").unwrap().0, "text");
        assert_eq!(
            parse("report.pdf").unwrap_err().to_string(),
            "cannot tell the format of \"report.pdf\": use text, json, a file name ending in one of them, or - for text"
        );
    }

    #[test]
    fn what_is_no_file_takes_text_without_a_suffix() {
        let parse = |s: &str| s.parse::<Destination>().map(|d| (d.format.name, d.place));
        assert_eq!(parse("/dev/null").unwrap(), ("text", Place::File("/dev/null".into())));
        assert_eq!(parse("/dev/stdout").unwrap(), ("text", Place::Stdout));
        let dir = tempfile::tempdir().unwrap();
        assert!(parse(dir.path().to_str().unwrap()).is_err());
        assert!(parse("/dev/no-such-device").is_err());
        let null = "/dev/null".parse().unwrap();
        check(REPORT, &null).unwrap();
        assert_eq!(write(&busy(), &options(), &null, true).unwrap(), Written::Done);
        assert!(is_special(Path::new("/dev/null")));
    }

    #[test]
    fn a_check_leaves_things_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let checked = |name: &str| {
            let to = Destination { format: named("json").unwrap(), place: Place::File(at(name)) };
            check(REPORT, &to).map_err(|error| error.to_string().rsplit(": ").next().unwrap().to_owned())
        };
        assert_eq!(checked("new.json"), Ok(()));
        assert!(!at("new.json").exists());
        fs::write(at("old.json"), "old").unwrap();
        assert_eq!(checked("old.json"), Ok(()));
        assert_eq!(fs::read_to_string(at("old.json")).unwrap(), "old");
        std::os::unix::fs::symlink("nowhere.json", at("link.json")).unwrap();
        assert_eq!(checked("link.json"), Ok(()));
        assert!(!at("nowhere.json").exists() && at("link.json").is_symlink());
        std::os::unix::fs::symlink("round.json", at("round.json")).unwrap();
        assert_eq!(checked("round.json"), Err("its symbolic links go round in a circle".into()));
        fs::create_dir(at("dir.json")).unwrap();
        assert_eq!(checked("dir.json"), Err("it is a directory".into()));
        assert_eq!(checked("missing/r.json"), Err("the directory does not exist".into()));
        assert_eq!(checked("old.json/r.json"), Err("a part of the path is not a directory".into()));
        assert!(fs::read_dir(dir.path()).unwrap().count() == 4);
    }

    #[test]
    fn files_are_written_without_colour() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.txt");
        write(&busy(), &options(), &path.to_str().unwrap().parse().unwrap(), true).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains('\x1b') && text.contains("PostgreSQL 18"));
    }

    #[test]
    fn a_full_disk_and_a_missing_directory_are_sentences() {
        let full = Destination { format: named("json").unwrap(), place: Place::File("/dev/full".into()) };
        let error = write(&busy(), &options(), &full, true).unwrap_err();
        assert_eq!(error.to_string(), "cannot write the report to /dev/full: the disk is full");
        let missing = "/nonexistent/dir/r.json".parse().unwrap();
        let error = write(&busy(), &options(), &missing, true).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot write the report to /nonexistent/dir/r.json: the directory does not exist"
        );
    }
}
