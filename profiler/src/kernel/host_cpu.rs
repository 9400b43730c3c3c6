//! Who used the host's CPUs: the cluster may be slow because somebody else is busy.
//!
//! /proc is read at the beginning and at the end of the profile (or interval); the differences are the report. So of
//! other processes that began and ended in between, and of the last stretch of those that ended, nothing is seen. The
//! cluster is complete: its postmaster waits for its children, and the kernel adds their time to its own account then
//! (`cutime` and `cstime`, proc(5)).
//!
//! The clock of /proc/PID/stat is a hundredth of a second, so each number is within 20 ms.

use std::{collections::HashMap, fs, io::Read as _};

use serde::{Deserialize, Serialize};

use super::features::monotonic_ns;

/// Other processes named, at most.
const NAMED: usize = 10;

/// The account is open since the last cut.
pub struct HostCpu {
    before: Snapshot,
}

/// A stretch of time, from one look at all processes to another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    before: Snapshot,
    now: Snapshot,
}

/// CPU time between two looks, in nanoseconds.
#[derive(Debug, Default, PartialEq)]
pub struct Usage {
    /// CPUs × time.
    pub total_ns: u64,
    /// Waiting for I/O is idle too.
    pub idle_ns: u64,
    pub steal_ns: u64,
    pub cluster_ns: u64,
    /// The largest first.
    pub others: Vec<Other>,
}

/// A process that is not of the cluster.
#[derive(Debug, Default, PartialEq)]
pub struct Other {
    pub pid: u32,
    pub name: String,
    /// Last component of its cgroup's path; empty for the root.
    pub cgroup: String,
    pub cpu_ns: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Snapshot {
    /// By `CLOCK_MONOTONIC`.
    at_ns: u64,
    cpus: u64,
    idle_ns: u64,
    steal_ns: u64,
    processes: HashMap<u32, Process>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Process {
    name: String,
    parent: u32,
    start_time: u64,
    cpu_ns: u64,
    /// Of its children that ended and were waited for.
    children_ns: u64,
}

impl HostCpu {
    pub fn open() -> Self {
        Self { before: Snapshot::take() }
    }

    /// What there was since the last cut.
    pub fn cut(&mut self) -> Stretch {
        let now = Snapshot::take();
        Stretch { before: std::mem::replace(&mut self.before, now.clone()), now }
    }
}

impl Stretch {
    /// Goes on to the end of the one that followed it: what was seen in between says nothing more.
    pub fn go_on(&mut self, later: Self) {
        if *self == Self::default() {
            *self = later;
        } else if later != Self::default() {
            self.now = later.now;
        }
    }

    /// What was used, with the processes of `postmaster` for themselves. Other servers are one each: `neighbours` are their
    /// postmasters and names.
    pub fn usage(&self, postmaster: u32, neighbours: &[(u32, String)]) -> Usage {
        let mut usage = used(&self.before, &self.now, postmaster, neighbours);
        for other in &mut usage.others {
            let text = fs::read(format!("/proc/{}/cgroup", other.pid)).unwrap_or_default();
            other.cgroup = last_component(&String::from_utf8_lossy(&text));
        }
        usage
    }
}

fn used(before: &Snapshot, now: &Snapshot, postmaster: u32, neighbours: &[(u32, String)]) -> Usage {
    let mut usage = Usage {
        total_ns: now.at_ns.saturating_sub(before.at_ns) * now.cpus,
        idle_ns: now.idle_ns.saturating_sub(before.idle_ns),
        steal_ns: now.steal_ns.saturating_sub(before.steal_ns),
        cluster_ns: of_cluster(before, now, postmaster),
        ..Usage::default()
    };
    let of_server = |pid: u32| pid == postmaster || neighbours.iter().any(|(neighbour, _)| *neighbour == pid);
    for (pid, process) in now.processes.iter().filter(|(pid, one)| !of_server(**pid) && !of_server(one.parent)) {
        let cpu_ns = process.cpu_ns.saturating_sub(known(before, *pid, process).map_or(0, |known| known.cpu_ns));
        if cpu_ns != 0 {
            usage.others.push(Other { pid: *pid, name: process.name.clone(), cpu_ns, ..Other::default() });
        }
    }
    for (pid, name) in neighbours {
        let cpu_ns = of_cluster(before, now, *pid);
        if cpu_ns != 0 {
            usage.others.push(Other { pid: *pid, name: name.clone(), cpu_ns, ..Other::default() });
        }
    }
    usage.others.sort_by_key(|other| (std::cmp::Reverse(other.cpu_ns), other.pid));
    usage.others.truncate(NAMED);
    usage
}

/// The same process at the first look: the number may be another one's by now, whose whole life is new.
fn known<'a>(before: &'a Snapshot, pid: u32, process: &Process) -> Option<&'a Process> {
    before.processes.get(&pid).filter(|known| known.start_time == process.start_time)
}

/// What a postmaster and its children used, those that ended in between included.
fn of_cluster(before: &Snapshot, now: &Snapshot, postmaster: u32) -> u64 {
    let own = now.processes.iter().filter(|(pid, process)| **pid == postmaster || process.parent == postmaster);
    let mut sum: u64 = own
        .map(|(pid, process)| {
            process.cpu_ns.saturating_sub(known(before, *pid, process).map_or(0, |known| known.cpu_ns))
        })
        .sum();
    if let Some(parent) = now.processes.get(&postmaster) {
        let ended = before.processes.iter().filter(|(pid, process)| {
            let lives = now.processes.get(pid).is_some_and(|now| now.start_time == process.start_time);
            process.parent == postmaster && !lives
        });
        let earlier: u64 = ended.map(|(_, process)| process.cpu_ns).sum();
        let known_before = known(before, postmaster, parent).map_or(0, |known| known.children_ns);
        sum += parent.children_ns.saturating_sub(known_before).saturating_sub(earlier);
    }
    sum
}

impl Snapshot {
    fn take() -> Self {
        let tick_ns = tick_ns();
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let mut this = Self { at_ns: monotonic_ns(), ..Self::default() };
        (this.cpus, this.idle_ns, this.steal_ns) = cpus(&stat, tick_ns);
        let mut line = [0; 2048];
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(mut file) = fs::File::open(format!("/proc/{pid}/stat")) else { continue };
            if let Some(process) = file.read(&mut line).ok().and_then(|len| Process::parse(&line[..len], tick_ns)) {
                this.processes.insert(pid, process);
            }
        }
        this
    }
}

/// CPUs online, idle and stolen time of /proc/stat.
fn cpus(stat: &str, tick_ns: u64) -> (u64, u64, u64) {
    let mut lines = stat.lines().filter_map(|line| line.strip_prefix("cpu"));
    // user nice system idle iowait irq softirq steal (proc(5)); the first line is the sum.
    let all: Vec<u64> = lines.next().unwrap_or("").split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
    let ns = |at: usize| all.get(at).copied().unwrap_or(0) * tick_ns;
    (lines.count() as u64, ns(3) + ns(4), ns(7))
}

impl Process {
    /// `4711 (name) S 1 …`: the name may be any bytes, with parentheses in it.
    fn parse(stat: &[u8], tick_ns: u64) -> Option<Self> {
        let open = stat.iter().position(|&byte| byte == b'(')?;
        let close = stat.iter().rposition(|&byte| byte == b')')?;
        let name = String::from_utf8_lossy(stat.get(open + 1..close)?);
        let name = name.chars().map(|char| if char.is_control() { '?' } else { char }).collect();
        let rest = std::str::from_utf8(&stat[close + 1..]).ok()?;
        let words: Vec<&str> = rest.split_ascii_whitespace().take(20).collect();
        // By the numbers of proc(5); what follows the name is field 3.
        let field = |number: usize| words.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            name,
            parent: field(4)? as u32,
            cpu_ns: (field(14)? + field(15)?) * tick_ns,
            children_ns: (field(16)? + field(17)?) * tick_ns,
            start_time: field(22)?,
        })
    }
}

/// The last component of the longest path of /proc/PID/cgroup: version 1 has a line for every controller, and the root
/// where it does not take part.
fn last_component(cgroup: &str) -> String {
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let longest = paths.max_by_key(|path| path.len()).unwrap_or("");
    let last = longest.rsplit('/').next().unwrap_or("");
    last.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

fn tick_ns() -> u64 {
    // SAFETY: a plain query.
    1_000_000_000 / unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(parent: u32, start_time: u64, cpu_ns: u64, children_ns: u64) -> Process {
        Process { name: "p".into(), parent, start_time, cpu_ns, children_ns }
    }

    fn snapshot<const N: usize>(at_ns: u64, processes: [(u32, Process); N]) -> Snapshot {
        Snapshot { at_ns, cpus: 2, idle_ns: 0, steal_ns: 0, processes: processes.into() }
    }

    #[test]
    fn what_ended_in_between_is_the_clusters_but_nobody_elses() {
        let before = snapshot(
            700,
            [
                (1, process(0, 1, 100, 0)),
                (10, process(1, 5, 1_000, 500)),
                (11, process(10, 6, 200, 0)),
                (12, process(10, 7, 70, 0)),
                (20, process(1, 8, 30, 0)),
                (21, process(1, 9, 40, 0)),
            ],
        );
        let now = snapshot(
            5_700,
            [
                (1, process(0, 1, 101, 0)),
                // 12 ended with 90, and one that nobody saw with 300.
                (10, process(1, 5, 1_003, 890)),
                (11, process(10, 6, 204, 0)),
                (13, process(10, 30, 8, 0)),
                // Another process of the same number.
                (20, process(1, 31, 2, 0)),
            ],
        );
        let usage = used(&before, &now, 10, &[]);
        assert_eq!((usage.total_ns, usage.cluster_ns), (10_000, 3 + 4 + 8 + 20 + 300));
        // Seen from elsewhere it is one neighbour, with all that its processes used.
        let other = used(&before, &now, 20, &[(10, "a server".into())]);
        assert_eq!((other.cluster_ns, &*other.others[0].name), (2, "a server"));
        assert_eq!(other.others.iter().map(|one| (one.pid, one.cpu_ns)).collect::<Vec<_>>(), [(10, 335), (1, 1)]);
        assert_eq!(usage.others.iter().map(|other| (other.pid, other.cpu_ns)).collect::<Vec<_>>(), [(20, 2), (1, 1)]);
    }

    #[test]
    fn two_parts_are_the_whole() {
        let looks = [
            snapshot(100, [(10, process(1, 5, 1_000, 500)), (20, process(1, 8, 30, 0))]),
            snapshot(900, [(10, process(1, 5, 1_200, 500)), (11, process(10, 9, 70, 0)), (20, process(1, 8, 31, 0))]),
            snapshot(2_100, [(10, process(1, 5, 1_300, 570)), (20, process(1, 8, 90, 0))]),
        ];
        let stretch = |from: usize, to: usize| Stretch { before: looks[from].clone(), now: looks[to].clone() };
        let mut merged = Stretch::default();
        [stretch(0, 1), Stretch::default(), stretch(1, 2)].into_iter().for_each(|part| merged.go_on(part));
        assert_eq!(merged, stretch(0, 2));
        let usage = used(&merged.before, &merged.now, 10, &[]);
        assert_eq!((usage.total_ns, usage.cluster_ns, usage.others[0].cpu_ns), (4_000, 370, 60));
        let kept = serde_json::to_string(&merged).expect("plain data");
        assert_eq!(serde_json::from_str::<Stretch>(&kept).expect("what was written"), merged);
    }

    #[test]
    fn files_of_proc() {
        let stat = "cpu  10 20 30 400 50 60 70 8 0 0\ncpu0 1 2 3\ncpu1 1 2 3\nintr 5\n";
        assert_eq!(cpus(stat, 10), (2, 4_500, 80));
        assert_eq!(cpus("", 10), (0, 0, 0));
        let line = b"7 (a) (\x1b\xff) S 3 7 7 0 -1 1 2 3 4 5 60 7 80 9 20 0 1 0 987 1 2";
        let parsed = Process::parse(line, 10).unwrap();
        assert_eq!(parsed, Process { name: "a) (?\u{fffd}".into(), ..process(3, 987, 670, 890) });
        for bad in ["", "7 (a", "7 (a) S 1 2", "7 )a( S"] {
            assert_eq!(Process::parse(bad.as_bytes(), 10), None, "{bad}");
        }
        assert_eq!(last_component("0::/system.slice/cron.service\n"), "cron.service");
        assert_eq!(last_component("9:cpu:/\n1:name=systemd:/a/b\n0::/\n"), "b");
        assert_eq!(last_component("0::/\n"), "");
    }
}
