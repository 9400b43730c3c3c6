//! The only code that turns a [`Hook`] into a loaded and attached program.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    path::PathBuf,
    sync::Mutex,
};

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    programs::{
        BtfTracePoint, FExit, PerfEvent, Program, TracePoint, UProbe,
        perf_event::{PerfEventConfig, PerfEventLink, PerfEventScope, SamplePolicy, SoftwareEvent},
        uprobe::UProbeScope,
    },
    util::{nr_cpus, online_cpus},
};
use pgstrobe_common::{
    hits::Hit,
    perf::{EventAttr, FD_CLOEXEC},
    state::{Settings, TEXT_BUFFERS},
    trace::{TRACE_NONE, TRACED_NAMES},
};

use super::counters::counter;
use crate::{
    kernel::btf::Btf,
    probes::{Hook, Point, Probe, Way},
};

/// The eBPF programs, embedded: what is shipped is one file.
pub static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pgstrobe"));

/// A place in the server's binary.
#[derive(Clone, Debug)]
pub struct Site {
    /// A path that leads to the very file the server runs.
    pub file: PathBuf,
    /// Offset of the instruction in the file.
    pub offset: u64,
    /// Offset of a USDT's semaphore in the file: raised by the kernel while attached.
    pub semaphore: Option<u64>,
}

/// What became of a probe.
pub struct Attached {
    pub probe: &'static Probe,
    /// The way in use; none when it is not attached.
    pub way: Option<&'static Way>,
    /// Why not, or what the way in use loses.
    pub reason: Option<String>,
}

/// What is attached by hand, and detached when this is dropped.
#[derive(Default)]
pub struct Links {
    usdts: Vec<OwnedFd>,
    /// By the number of the CPU.
    pub timers: BTreeMap<u32, PerfEventLink>,
    /// Programs of the probes that are attached.
    programs: HashSet<&'static str>,
}

/// Where hooks may go on this host and server.
pub struct Sites<'a> {
    pub btf: &'a Btf,
    pub kernel: &'a aya::Btf,
    /// All places of a name: an inlined USDT has several.
    pub server: &'a dyn Fn(&str) -> Vec<Site>,
    /// The programs do nothing, and so count nothing.
    pub empty: bool,
    /// Only the way of this name is tried (for tests of fallbacks).
    pub only_way: Option<&'a str>,
}

/// Loads the object: maps are made, programs not yet.
pub fn load(settings: &Settings, btf: &aya::Btf, ring_bytes: u32) -> Result<Ebpf> {
    let cpus = nr_cpus().map_err(|(what, error)| anyhow!("{what}: {error}"))? as u32;
    EbpfLoader::new()
        .btf(Some(btf))
        .override_global("SETTINGS", settings, true)
        .map_max_entries("RING", ring_bytes)
        .map_max_entries("TEXTS", cpus * TEXT_BUFFERS)
        .map_max_entries("TRACED_PROCESSES", if settings.trace == TRACE_NONE { 1 } else { TRACED_NAMES })
        .load(OBJECT)
        .context("the kernel refuses pgstrobe's maps")
}

/// Attaches a probe by the first of its ways that works as a whole. What is attached by hand is added to `links`.
pub fn attach(ebpf: &mut Ebpf, probe: &'static Probe, sites: &Sites<'_>, links: &mut Links) -> Attached {
    let mut reasons = Vec::new();
    // A probe that has no way of the name is attached as ever.
    let only = sites.only_way.filter(|only| probe.ways.iter().any(|way| way.name == *only));
    for way in probe.ways {
        if only.is_some_and(|only| only != way.name) {
            continue;
        }
        let mut made = Links::default();
        // A program that a probe before shares runs already.
        let own = way.hooks.iter().filter(|hook| !links.programs.contains(hook.program)).collect::<Vec<_>>();
        let result = own.iter().try_for_each(|hook| {
            let began = std::time::Instant::now();
            let result = attach_hook(ebpf, hook, sites, &mut made).with_context(|| hook.point.describe());
            let took = began.elapsed();
            let info = ebpf.program(hook.program).and_then(|program| program.info().ok());
            let verified = info.and_then(|info| info.verified_instruction_count());
            tracing::debug!("{}: {took:?}, {} instructions verified", hook.point.describe(), verified.unwrap_or(0));
            result
        });
        match result.and_then(|()| prove(ebpf, probe, sites)) {
            Ok(()) => {
                links.usdts.append(&mut made.usdts);
                links.timers.append(&mut made.timers);
                links.programs.extend(own.iter().map(|hook| hook.program));
                let reason = (!way.loses.is_empty()).then(|| format!("{} ({})", way.loses, reasons.join("; ")));
                return Attached { probe, way: Some(way), reason };
            }
            Err(error) => {
                reasons.push(format!("{error:#}"));
                for hook in own {
                    let _ = ebpf.program_mut(hook.program).map(unload);
                }
            }
        }
    }
    let reason = format!("{}; without it: {}", reasons.join("; "), probe.without);
    Attached { probe, way: None, reason: Some(reason) }
}

/// An attached hook need not be one that is met: the compiler may have copied a function into its callers. So a probe
/// with an exercise is put to the proof.
fn prove(ebpf: &Ebpf, probe: &Probe, sites: &Sites<'_>) -> Result<()> {
    const TIMES: u64 = 32;
    let Some(exercise) = probe.exercise.filter(|_| !sites.empty) else { return Ok(()) };
    let hits = |kind: &Hit| counter(ebpf, "HITS", *kind as u32);
    let before: Vec<u64> = probe.hit_kinds.iter().map(hits).collect();
    for _ in 0..TIMES {
        exercise().context("the exercise that proves the hooks")?;
    }
    let seen = probe.hit_kinds.iter().zip(before).map(|(kind, before)| hits(kind) - before);
    // A few may be left out by the kernel, and other processes only add to them.
    if seen.clone().all(|seen| seen >= TIMES / 2) {
        return Ok(());
    }
    let seen: Vec<String> = seen.map(|seen| seen.to_string()).collect();
    Err(anyhow!("attached, but this kernel does not pass through all of the hooks ({} of {TIMES})", seen.join(" and ")))
}

/// Loads the programs of the ways that will be tried first, on several CPUs: most of the time of a start is the verifier's,
/// which works for one program at a time, but for several callers at once. What is refused is left to [`attach`], which
/// tries again and says why.
pub fn preload(ebpf: &mut Ebpf, probes: &[&'static Probe], sites: &Sites<'_>) {
    /// More would wait for the kernel's memory.
    const THREADS: usize = 4;
    let ways = probes.iter().filter_map(|probe| {
        let only = probe.ways.iter().find(|way| sites.only_way == Some(way.name));
        only.or(probe.ways.first())
    });
    let hooks: HashMap<&str, &Point> = ways.flat_map(|way| way.hooks).map(|hook| (hook.program, &hook.point)).collect();
    let programs = ebpf.programs_mut().filter_map(|(name, program)| Some((program, *hooks.get(name)?)));
    let programs = Mutex::new(programs.collect::<Vec<_>>());
    let (btf, kernel) = (sites.btf, sites.kernel);
    let threads = std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(THREADS));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((program, point)) = programs.lock().ok().and_then(|mut left| left.pop()) {
                    let _ = load_program(program, point, btf, kernel);
                }
            });
        }
    });
}

/// Loads a program for its point, unless it is loaded.
fn load_program(program: &mut Program, point: &Point, btf: &Btf, kernel: &aya::Btf) -> Result<()> {
    if program.fd().is_ok() {
        return Ok(());
    }
    match point {
        Point::TpBtf(name) => {
            let name = name.split('|').find(|name| btf.has_tracepoint(name));
            let name = name.ok_or_else(|| anyhow!("this kernel has no such tracepoint"))?;
            <&mut BtfTracePoint>::try_from(program)?.load(name, kernel)
        }
        Point::TpBtfAgain(_) if !btf.preempts_tracepoints() => return Ok(()),
        Point::TpBtfAgain(name) => <&mut BtfTracePoint>::try_from(program)?.load(name, kernel),
        Point::Fexit(names) => {
            let name = names.iter().find(|name| btf.has_function(name));
            let name = name.ok_or_else(|| anyhow!("this kernel has no such function"))?;
            <&mut FExit>::try_from(program)?.load(name, kernel)
        }
        Point::Tracepoint(..) => <&mut TracePoint>::try_from(program)?.load(),
        Point::CpuClock(_) => <&mut PerfEvent>::try_from(program)?.load(),
        Point::Server(_) => <&mut UProbe>::try_from(program)?.load(),
    }
    .map_err(brief)
}

fn attach_hook(ebpf: &mut Ebpf, hook: &Hook, sites: &Sites<'_>, links: &mut Links) -> Result<()> {
    let program = ebpf.program_mut(hook.program).ok_or_else(|| anyhow!("no program {}", hook.program))?;
    let places = if let Point::Server(name) = hook.point { (sites.server)(name) } else { Vec::new() };
    if matches!(hook.point, Point::Server(_)) && places.is_empty() {
        return Err(anyhow!("not found in this server's binary"));
    }
    load_program(program, &hook.point, sites.btf, sites.kernel)?;
    match hook.point {
        Point::TpBtfAgain(_) if !sites.btf.preempts_tracepoints() => {}
        Point::TpBtf(_) | Point::TpBtfAgain(_) => {
            <&mut BtfTracePoint>::try_from(program)?.attach()?;
        }
        Point::Fexit(_) => {
            <&mut FExit>::try_from(program)?.attach()?;
        }
        Point::Tracepoint(category, name) => {
            <&mut TracePoint>::try_from(program)?.attach(category, name)?;
        }
        Point::CpuClock(hz) => {
            let program: &mut PerfEvent = program.try_into()?;
            for cpu in cpus()? {
                links.timers.insert(cpu, start_timer(program, hz, cpu)?);
            }
        }
        Point::Server(_) => {
            let program: &mut UProbe = program.try_into()?;
            for site in places {
                match site.semaphore {
                    None => {
                        program.attach(site.offset, &site.file, UProbeScope::AllProcesses)?;
                    }
                    Some(_) => links.usdts.push(attach_usdt(program, &site)?),
                }
            }
        }
    }
    Ok(())
}

/// The numbers of the CPUs in use.
pub fn cpus() -> Result<Vec<u32>> {
    online_cpus().map_err(|(what, error)| anyhow!("{what}: {error}"))
}

/// Runs a program so many times a second on a CPU, until the link is dropped or the CPU taken out.
pub fn start_timer(program: &mut PerfEvent, hz: u64, cpu: u32) -> Result<PerfEventLink> {
    let link = program.attach(
        PerfEventConfig::Software(SoftwareEvent::CpuClock),
        PerfEventScope::AllProcessesOneCpu { cpu },
        SamplePolicy::Frequency(hz),
        false,
    )?;
    Ok(program.take_link(link)?)
}

/// Makes a uprobe whose reference counter is the USDT's semaphore: the kernel raises it while the probe is attached and
/// lowers it when the descriptor is closed, however this process ends.
fn attach_usdt(program: &UProbe, site: &Site) -> Result<OwnedFd> {
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| path.to_owned());
    let kind: u32 = read("/sys/bus/event_source/devices/uprobe/type")?.trim().parse()?;
    // "config:32-63": where the offset of the counter goes in `config`.
    let format = read("/sys/bus/event_source/devices/uprobe/format/ref_ctr_offset")?;
    let shift: u32 = format.trim().trim_start_matches("config:").split('-').next().unwrap_or("32").parse()?;
    let path = std::ffi::CString::new(site.file.as_os_str().as_encoded_bytes())?;
    let attr = EventAttr {
        kind,
        size: EventAttr::SIZE,
        config: site.semaphore.unwrap_or(0) << shift,
        config1: path.as_ptr() as u64,
        config2: site.offset,
        ..EventAttr::default()
    };
    // SAFETY: the attribute and its path live through the call; the descriptor is new and ours.
    let fd = unsafe {
        let cpu = online_cpus().ok().and_then(|cpus| cpus.first().copied()).unwrap_or(0);
        let fd = libc::syscall(libc::SYS_perf_event_open, &attr, -1, cpu, -1, FD_CLOEXEC);
        if fd < 0 {
            return Err(io::Error::last_os_error()).context("perf_event_open");
        }
        OwnedFd::from_raw_fd(fd as i32)
    };
    /// `PERF_EVENT_IOC_ENABLE` and `PERF_EVENT_IOC_SET_BPF` (include/uapi/linux/perf_event.h).
    const ENABLE: libc::c_ulong = 0x2400;
    const SET_BPF: libc::c_ulong = 0x4004_2408;
    // SAFETY: both descriptors are open.
    unsafe {
        if libc::ioctl(fd.as_raw_fd(), SET_BPF, program.fd()?.as_fd().as_raw_fd()) != 0
            || libc::ioctl(fd.as_raw_fd(), ENABLE, 0) != 0
        {
            return Err(io::Error::last_os_error()).context("perf event of a USDT");
        }
    }
    Ok(fd)
}

/// A loaded program's descriptor.
pub fn descriptor(program: &Program) -> Option<BorrowedFd<'_>> {
    program.fd().ok().map(|fd| fd.as_fd())
}

/// Unloads a program of any kind, and so detaches it.
pub fn unload(program: &mut Program) {
    let _ = match program {
        Program::BtfTracePoint(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        Program::TracePoint(program) => program.unload(),
        Program::PerfEvent(program) => program.unload(),
        Program::UProbe(program) => program.unload(),
        _ => Ok(()),
    };
}

/// Detaches the programs of tracepoints. After each the kernel waits until no task can be in it, up to a tenth of a second:
/// for those of one caller one after the other, for those of several at once. What finds no thread is left to the drop.
pub fn detach(ebpf: &mut Ebpf) {
    let programs = ebpf.programs_mut().map(|(_, program)| program);
    let programs = programs.filter(|program| matches!(program, Program::TracePoint(_)));
    std::thread::scope(|scope| {
        for program in programs {
            let _ = std::thread::Builder::new().spawn_scoped(scope, || unload(program));
        }
    });
}

/// The verifier's log is for `RUST_LOG=debug`; people get its verdict.
fn brief(error: aya::programs::ProgramError) -> anyhow::Error {
    use aya::programs::ProgramError;
    match &error {
        ProgramError::LoadError { io_error, verifier_log } => {
            tracing::debug!("verifier: {verifier_log}");
            anyhow!("the kernel refuses the program: {io_error}{}", objection(&verifier_log.to_string()))
        }
        _ => error.into(),
    }
}

/// What the verifier objects to, in its own words: the line before its statistics; nothing where there is no log.
fn objection(log: &str) -> String {
    const STATISTICS: [&str; 3] = ["processed ", "stack depth ", "verification time "];
    let telling = |line: &&str| !line.is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start));
    let line = log.lines().map(str::trim).rfind(telling);
    line.map_or_else(String::new, |line| format!(" ({line})"))
}

#[cfg(test)]
mod tests {
    use super::objection;

    #[test]
    fn objection_is_the_line_before_the_statistics() {
        let log = "0: R1=ctx() R10=fp0\n; b.sock = sock;\n7: (79) r1 = *(u64 *)(r9 +80)\nR9 invalid mem access 'scalar'\n\
                   verification time 21 usec\nstack depth 4\nprocessed 8 insns (limit 1000000)\n";
        assert_eq!(objection(log), " (R9 invalid mem access 'scalar')");
        assert_eq!(objection(""), "");
    }
}
