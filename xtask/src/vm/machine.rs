//! One virtual machine: a kernel, an archive, a serial line, a limit of time.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use xtask::children::{Owned, check_interrupt};

pub const QEMU: &str = "qemu-system-x86_64";

/// What the clocks of a machine follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// The host's.
    Real,
    /// Its own work: an instruction is a nanosecond, and time in which it has nothing to do is skipped. What else the host does cannot
    /// be seen inside. With one processor: with two, the second one is never started by QEMU 7.2.
    Instructions,
}

pub struct Ended {
    /// What came over the serial line.
    pub lines: Vec<String>,
    pub wall: Duration,
    /// It did not switch itself off in time and was killed.
    pub overdue: bool,
}

/// Runs it until it switches itself off; every line goes to `log` and to `heard` with the time since the start.
pub fn run(
    kernel: &Path,
    initrd: &Path,
    log: &Path,
    (time, limit): (Time, Duration),
    heard: &mut dyn FnMut(&str, Duration),
) -> Result<Ended> {
    let mut log = std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut qemu = Command::new(QEMU);
    // All emulated: KVM is not everywhere, and the point is the kernel, not the speed.
    qemu.args(["-accel", "tcg,thread=single", "-cpu", "max,-cx16", "-m", "2G", "-nodefaults", "-no-user-config"]);
    qemu.args(["-display", "none", "-serial", "stdio", "-no-reboot", "-kernel"]).arg(kernel).arg("-initrd").arg(initrd);
    // A panic reboots at once, which -no-reboot turns into an end; so does a processor that is stuck.
    let mut told = "console=ttyS0 quiet loglevel=1 panic=-1 softlockup_panic=1 mitigations=off rdinit=/init".to_owned();
    match time {
        Time::Real => qemu.args(["-smp", "2"]),
        Time::Instructions => {
            // The same addresses at each start.
            told += " nokaslr norandmaps tsc=reliable nowatchdog";
            qemu.args(["-smp", "1", "-icount", "shift=0,sleep=off,align=off", "-rtc", "base=2026-01-01,clock=vm"])
        }
    };
    qemu.args(["-append", &told]);
    qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone()?);
    let begun = Instant::now();
    let mut qemu = Owned::spawn(&mut qemu, libc::SIGKILL)?;
    let stdout = qemu.child().stdout.take().context("no stdout")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        while stdout.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if sender.send(text).is_err() {
                break;
            }
        }
    });
    let mut lines = Vec::new();
    let mut overdue = false;
    loop {
        check_interrupt()?;
        match receiver.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => {
                writeln!(log, "{line}")?;
                heard(&line, begun.elapsed());
                lines.push(line);
            }
            Err(mpsc::RecvTimeoutError::Timeout) if begun.elapsed() < limit => {}
            Err(mpsc::RecvTimeoutError::Timeout) => {
                overdue = true;
                break;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
        overdue = begun.elapsed() > limit;
        if overdue {
            break;
        }
    }
    drop(qemu);
    Ok(Ended { lines, wall: begun.elapsed(), overdue })
}
