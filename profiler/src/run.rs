//! The commands: from the command line to an exit code.

mod stream;
mod trace;

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    cli::{Cli, Command, ReportArgs},
    config::Config,
    doctor,
    kernel::features,
    postgres::cluster::{self, ChooseError},
    probes::PROBES,
    report::{
        document::Document,
        output::{self, Destination, Place, Written},
    },
    say::say,
    ticker::Ticker,
    watch::{self, Refused, Watches},
};

/// Exit codes, a part of the interface.
pub mod exit {
    pub const DONE: u8 = 0;
    pub const FAILURE: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const TARGET: u8 = 3;
    pub const REFUSED: u8 = 4;
    pub const LOSS: u8 = 5;
}

/// Runs a command; errors become a sentence on stderr and an exit code.
pub fn run(cli: Cli) -> u8 {
    let result = match cli.command {
        Command::Report(args) => report(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Doctor => doctor::run(&mut std::io::stdout().lock()),
        Command::Probes => probes(),
    };
    result.unwrap_or_else(|error| {
        // A failed write has its cause in its sentence already.
        say(&if error.is::<output::WriteError>() { error.to_string() } else { format!("{error:#}") });
        code_of(&error)
    })
}

fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<ChooseError>() {
        exit::TARGET
    } else if error.is::<Refused>() {
        exit::REFUSED
    } else if error.is::<output::UnknownFormat>() {
        exit::USAGE
    } else {
        exit::FAILURE
    }
}

fn report(args: &ReportArgs) -> Result<u8> {
    let outputs = destinations(&args.output, output::REPORT)?;
    let began = Instant::now();
    let mut watches = start(args.config())?;
    let attached = began.elapsed();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stop = Stop::new()?;
        let mut ticker = Ticker::new(watches.drain_period())?;
        say_attached(&watches, attached, "profiling", args.duration);
        let period = args.interval.or(args.duration);
        let mut left = if args.interval.is_some() { args.count } else { Some(1) };
        let (mut first, mut lost, mut unwritten) = (true, false, false);
        loop {
            let interrupted = profile(&mut watches, period, &mut ticker, &mut stop).await?;
            left = left.map(|left| left - 1);
            let last = interrupted || left == Some(0);
            let document = watches.report(last);
            lost |= document.has_losses();
            let end = write(&document, args, &outputs, first);
            first = false;
            unwritten |= end.unwritten;
            if last || end.nobody_reads {
                return Ok(match () {
                    () if unwritten => exit::FAILURE,
                    () if lost && args.fail_on_loss => exit::LOSS,
                    () => exit::DONE,
                });
            }
        }
    })
}

/// Attaches to the server that is asked for, or, for reports without a choice, to all there are.
fn start(config: Config) -> Result<Watches> {
    watch::check_privilege()?;
    // Before any thread: the mount is for this process alone.
    if features::tracefs().is_none()
        && let Err(error) = features::mount_private_tracefs()
    {
        tracing::info!("tracefs cannot be mounted: {error}");
    }
    let discovery = cluster::discover();
    // A trace is of one server, and so are the names that one connection gives.
    let several = config.choice.is_any() && config.trace.is_none() && config.dsn.is_none();
    let all = config.all || several && discovery.clusters.len() > 1;
    let clusters = if all {
        cluster::choose_all(&discovery, &config.choice)?
    } else {
        vec![cluster::choose(&discovery, &config.choice)?]
    };
    Watches::start(config, clusters, all)
}

fn say_attached(watches: &Watches, took: Duration, doing: &str, duration: Option<Duration>) {
    let servers: Vec<_> = watches.servers().collect();
    let to = match servers[..] {
        [one] => format!("PostgreSQL {} (pid {})", one.version, one.postmaster_pid),
        _ => format!("{} PostgreSQL servers", servers.len()),
    };
    say(&format!(
        "attached in {} ms to {to}; {doing} {}",
        took.as_millis(),
        match duration {
            Some(duration) => format!("for {} s, Ctrl-C ends it early", duration.as_secs_f64()),
            None => "until Ctrl-C".into(),
        }
    ));
}

/// Ticks until the period is over (`false`) or a signal asks to stop (`true`).
async fn profile(
    watches: &mut Watches,
    period: Option<Duration>,
    ticker: &mut Ticker,
    stop: &mut Stop,
) -> Result<bool> {
    let began = Instant::now();
    let bar = progress(period);
    let end = async {
        match period {
            Some(period) => tokio::time::sleep(period).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    let interrupted = loop {
        tokio::select! {
            biased;
            () = stop.asked() => break true,
            () = &mut end => break false,
            () = ticker.tick() => {
                watches.tick();
                if let Some(bar) = &bar {
                    bar.set_position(began.elapsed().as_millis() as u64);
                    bar.set_message(format!("{} statements", watches.statements()));
                }
            }
        }
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(interrupted)
}

/// A bar with the time left, on a terminal only.
fn progress(period: Option<Duration>) -> Option<ProgressBar> {
    let period = period?;
    if !std::io::stderr().is_terminal() || period < Duration::from_secs(2) {
        return None;
    }
    let style = ProgressStyle::with_template("{bar:30} {msg}, {eta} left").ok()?;
    Some(ProgressBar::new(period.as_millis() as u64).with_style(style))
}

/// Ctrl-C, `kill`, and a terminal that goes away.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        let on = |kind| signal(kind).context("cannot handle signals");
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// The places that are asked for, which can take `what`.
fn destinations(given: &[PathBuf], what: &'static str) -> Result<Vec<Destination>> {
    let outputs: Vec<Destination> = match given {
        [] => vec!["-".parse()?],
        given => given.iter().map(|path| path.to_string_lossy().parse()).collect::<Result<_, _>>()?,
    };
    outputs.iter().try_for_each(|to| output::check(what, to))?;
    Ok(outputs)
}

/// What became of a report at all its destinations.
struct End {
    /// At least one did not get it.
    unwritten: bool,
    /// All that got it have gone away.
    nobody_reads: bool,
}

/// Writes the report to every destination; one that fails does not cost the others. If none took it, it goes to the
/// standard output: what was measured is not thrown away.
fn write(document: &Document, args: &ReportArgs, outputs: &[Destination], first: bool) -> End {
    let options = output::terminal_options(args.top);
    let mut end = End { unwritten: false, nobody_reads: true };
    let mut taken = false;
    for to in outputs {
        match output::write(document, &options, to, first) {
            Ok(written) => {
                taken = true;
                end.nobody_reads &= written == Written::ReaderGone;
            }
            Err(error) => {
                say(&error.to_string());
                (end.unwritten, end.nobody_reads) = (true, false);
            }
        }
    }
    if !taken && outputs.iter().all(|to| to.place != Place::Stdout) {
        say("the report follows on the standard output");
        let stdout = Destination { format: &output::FORMATS[0], place: Place::Stdout };
        if let Err(error) = output::write(document, &options, &stdout, first) {
            say(&error.to_string());
        }
    }
    end
}

fn probes() -> Result<u8> {
    let mut out = std::io::stdout().lock();
    let mut print = || -> std::io::Result<()> {
        for probe in PROBES {
            writeln!(out, "{} ({})", probe.name, probe.level.name())?;
            writeln!(out, "    {}", probe.help)?;
            writeln!(out, "    unit: {}; by: {}", probe.unit, probe.labels.join(", "))?;
            for (i, way) in probe.ways.iter().enumerate() {
                let hooks: Vec<_> = way.hooks.iter().map(|hook| hook.point.describe()).collect();
                let rank = if i == 0 { "hooks".to_owned() } else { format!("else {}", way.name) };
                writeln!(out, "    {rank}: {}", hooks.join(", "))?;
                if !way.loses.is_empty() {
                    writeln!(out, "        loses: {}", way.loses)?;
                }
            }
            writeln!(out, "    without it: {}", probe.without)?;
        }
        Ok(())
    };
    match print() {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(exit::DONE),
    }
}
