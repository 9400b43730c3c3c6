//! Where reports go: a format by name or by a file's suffix, and a file or the standard output.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::model::Report;
use super::text::TextOptions;

/// A way to write a report down.
pub struct Format {
    /// As on the command line.
    pub name: &'static str,
    /// Suffixes of files that get this format, without the dot.
    pub suffixes: &'static [&'static str],
    pub write: fn(&Report, &TextOptions, &mut dyn Write) -> io::Result<()>,
}

/// Every format there is.
pub static FORMATS: &[Format] = &[
    Format {
        name: "text",
        suffixes: &["txt", "text"],
        write: |report, options, out| out.write_all(super::text::render(report, options).as_bytes()),
    },
    Format { name: "json", suffixes: &["json"], write: |report, _, out| super::json::to_writer(report, out) },
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
    /// the format.
    fn from_str(given: &str) -> Result<Self, UnknownFormat> {
        if given == "-" {
            return Ok(Destination { format: &FORMATS[0], place: Place::Stdout });
        }
        if let Some(format) = named(given) {
            return Ok(Destination { format, place: Place::Stdout });
        }
        let path = Path::new(given);
        let suffix = path.extension().and_then(|s| s.to_str()).unwrap_or("").to_ascii_lowercase();
        FORMATS
            .iter()
            .find(|format| format.suffixes.contains(&suffix.as_str()))
            .map(|format| Destination { format, place: Place::File(path.into()) })
            .ok_or_else(|| UnknownFormat {
                given: given.into(),
                known: FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", "),
            })
    }
}

/// Why a report could not be written: one sentence for the user.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the report to {place}: {reason}")]
pub struct WriteError {
    place: String,
    reason: String,
    #[source]
    source: io::Error,
}

impl WriteError {
    fn new(place: &Place, source: io::Error) -> Self {
        let reason = match source.kind() {
            ErrorKind::StorageFull => "the disk is full".into(),
            ErrorKind::QuotaExceeded => "the disk quota is used up".into(),
            ErrorKind::ReadOnlyFilesystem => "the file system is read-only".into(),
            ErrorKind::PermissionDenied => "permission denied".into(),
            ErrorKind::NotFound => "the directory does not exist".into(),
            ErrorKind::IsADirectory => "it is a directory".into(),
            _ => source.to_string(),
        };
        let place = match place {
            Place::Stdout => "the standard output".into(),
            Place::File(path) => path.display().to_string(),
        };
        WriteError { place, reason, source }
    }
}

/// Writes the report to one destination. A reader of the standard output that went away (`pgstrobe report | head`) is
/// no error. Text in a file has no colours.
///
/// # Errors
/// One clear sentence on what kept the report from being written.
pub fn write(report: &Report, options: &TextOptions, to: &Destination) -> Result<(), WriteError> {
    let done = match &to.place {
        Place::Stdout => {
            let result = write_to(report, options, to.format, &mut io::stdout().lock());
            match result {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
                other => other,
            }
        }
        Place::File(path) => {
            let plain = TextOptions { colour: false, ..options.clone() };
            File::create(path).and_then(|mut file| write_to(report, &plain, to.format, &mut file))
        }
    };
    done.map_err(|source| WriteError::new(&to.place, source))
}

fn write_to(report: &Report, options: &TextOptions, format: &Format, out: &mut dyn Write) -> io::Result<()> {
    let mut buffered = BufWriter::new(out);
    (format.write)(report, options, &mut buffered)?;
    buffered.flush()
}

/// Options that fit the standard output: its width and, unless `NO_COLOR` is set or it is no terminal, colours.
pub fn terminal_options(top: usize) -> TextOptions {
    let terminal = io::stdout().is_terminal();
    let width = if terminal { terminal_width() } else { None };
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let width =
        width.or_else(|| std::env::var("COLUMNS").ok()?.parse().ok()).unwrap_or(if terminal { 80 } else { 120 });
    TextOptions { top, width, colour }
}

fn terminal_width() -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ fills the winsize it is given and touches nothing else.
    let done = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) };
    (done == 0 && size.ws_col > 0).then_some(size.ws_col as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

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
    fn files_are_written_without_colour() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.txt");
        write(&fixture::busy(), &options(), &path.to_str().unwrap().parse().unwrap()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains('\x1b') && text.contains("PostgreSQL 18"));
    }

    #[test]
    fn a_full_disk_and_a_missing_directory_are_sentences() {
        let full = Destination { format: named("json").unwrap(), place: Place::File("/dev/full".into()) };
        let error = write(&fixture::busy(), &options(), &full).unwrap_err();
        assert_eq!(error.to_string(), "cannot write the report to /dev/full: the disk is full");
        let missing = "/nonexistent/dir/r.json".parse().unwrap();
        let error = write(&fixture::busy(), &options(), &missing).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot write the report to /nonexistent/dir/r.json: the directory does not exist"
        );
    }
}
