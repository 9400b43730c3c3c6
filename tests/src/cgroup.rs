//! A control group of our own, version 1 or 2, that limits what is put into it; gone with the value.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const PREFIX: &str = "pgstrobe-test-";

pub struct Cgroup {
    dir: PathBuf,
    /// The group above: processes go back there.
    parent: PathBuf,
    v2: bool,
}

impl Cgroup {
    /// `controller` by its name in version 2, `cpu`, `io` or `memory`, or `cpuacct` or `freezer`, which every group of
    /// version 2 does.
    pub fn new(controller: &str) -> Result<Self, String> {
        let (parent, v2) = hierarchy(controller)?;
        remove_orphans(&parent);
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = parent.join(name);
        fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self { dir, parent, v2 })
    }

    /// A group in this one, to be dropped before it.
    pub fn inner(&self) -> Self {
        let dir = self.dir.join("inner");
        fs::create_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        Self { dir, parent: self.parent.clone(), v2: self.v2 }
    }

    pub fn add(&self, pids: &[u32]) {
        for pid in pids {
            // A process that is gone needs no group.
            let _ = fs::write(self.dir.join("cgroup.procs"), pid.to_string());
        }
    }

    pub fn is_v2(&self) -> bool {
        self.v2
    }

    pub fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// At most this share of one CPU, in percent, in periods of 100 ms.
    pub fn limit_cpu(&self, percent: u32) {
        let quota = percent * 1000;
        match self.v2 {
            true => self.set("cpu.max", &format!("{quota} 100000")),
            false => {
                self.set("cpu.cfs_period_us", "100000");
                self.set("cpu.cfs_quota_us", &quota.to_string());
            }
        }
    }

    /// At most so many writes a second to a device (`major:minor`).
    pub fn limit_writes(&self, device: &str, each_second: u32) {
        match self.v2 {
            true => self.set("io.max", &format!("{device} wiops={each_second}")),
            false => self.set("blkio.throttle.write_iops_device", &format!("{device} {each_second}")),
        }
    }

    /// At most so many bytes a second written to a device (`major:minor`).
    pub fn limit_written(&self, device: &str, each_second: u64) {
        match self.v2 {
            true => self.set("io.max", &format!("{device} wbps={each_second}")),
            false => self.set("blkio.throttle.write_bps_device", &format!("{device} {each_second}")),
        }
    }

    /// At most so many bytes of memory, the page cache included.
    pub fn limit_memory(&self, bytes: u64) {
        self.set(if self.v2 { "memory.max" } else { "memory.limit_in_bytes" }, &bytes.to_string());
    }

    /// No more than so many bytes of memory, and nobody is killed for what is above: from then on its processes are held up
    /// by pauses (version 2), or altogether (version 1).
    pub fn starve(&self, bytes: u64) {
        if self.v2 {
            return self.set("memory.high", &bytes.to_string());
        }
        self.set("memory.oom_control", "1");
        self.limit_memory(bytes);
    }

    /// An end to that.
    pub fn feed(&self) {
        let (file, all) = if self.v2 { ("memory.high", "max") } else { ("memory.limit_in_bytes", "-1") };
        self.set(file, all);
    }

    pub fn freeze(&self, frozen: bool) {
        match (self.v2, frozen) {
            (true, _) => self.set("cgroup.freeze", if frozen { "1" } else { "0" }),
            (false, true) => self.set("freezer.state", "FROZEN"),
            (false, false) => self.set("freezer.state", "THAWED"),
        }
    }

    /// All that is in it has come to a stop.
    pub fn is_frozen(&self) -> bool {
        match self.v2 {
            true => self.value("cgroup.events", "frozen") == 1,
            false => fs::read_to_string(self.dir.join("freezer.state")).is_ok_and(|state| state.trim() == "FROZEN"),
        }
    }

    /// Somebody in it was held up for want of memory since [`starve`](Self::starve).
    pub fn starves(&self) -> bool {
        match self.v2 {
            true => self.value("memory.events", "high ") > 0,
            false => self.value("memory.oom_control", "under_oom ") > 0,
        }
    }

    /// How often it was at that limit.
    pub fn memory_hits(&self) -> u64 {
        match self.v2 {
            true => self.value("memory.events", "max "),
            false => self.value("memory.failcnt", ""),
        }
    }

    /// CPU time of all that was in it, in nanoseconds.
    pub fn cpu_time(&self) -> u64 {
        match self.v2 {
            true => self.value("cpu.stat", "usage_usec") * 1000,
            false => self.value("cpuacct.usage", ""),
        }
    }

    /// Periods in which it was held back, and the time of that in nanoseconds.
    pub fn throttled(&self) -> (u64, u64) {
        // Version 1 counts nanoseconds, version 2 microseconds.
        let time = self.value("cpu.stat", "throttled_time") + self.value("cpu.stat", "throttled_usec") * 1000;
        (self.value("cpu.stat", "nr_throttled"), time)
    }

    /// The number on the line of a name; 0 where it is not there.
    fn value(&self, file: &str, name: &str) -> u64 {
        let path = self.dir.join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
    }

    fn set(&self, file: &str, value: &str) {
        let path = self.dir.join(file);
        fs::write(&path, value).unwrap_or_else(|error| panic!("{}: {value}: {error}", path.display()));
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove(&self.dir, &self.parent);
    }
}

/// Where the controller is, and whether that is version 2.
fn hierarchy(controller: &str) -> Result<(PathBuf, bool), String> {
    let mounts = fs::read_to_string("/proc/mounts").map_err(|error| error.to_string())?;
    let v1 = if controller == "io" { "blkio" } else { controller };
    for line in mounts.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, dir, kind, options, ..] = words[..] else { continue };
        if kind == "cgroup" && options.split(',').any(|option| option == v1) {
            return Ok((dir.into(), false));
        }
        let offers = |file: &str| {
            if ["cpuacct", "freezer"].contains(&controller) {
                return true;
            }
            let list = fs::read_to_string(Path::new(dir).join(file)).unwrap_or_default();
            list.split_whitespace().any(|of| of == controller)
        };
        if kind == "cgroup2" && offers("cgroup.controllers") {
            if !offers("cgroup.subtree_control") {
                let enable = fs::write(Path::new(dir).join("cgroup.subtree_control"), format!("+{controller}"));
                enable.map_err(|error| format!("{dir}: {controller} cannot be handed down: {error}"))?;
            }
            return Ok((dir.into(), true));
        }
    }
    Err(format!("no cgroup hierarchy has the controller {controller}"))
}

/// Groups of tests that were killed.
fn remove_orphans(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&entry.path(), parent);
        }
    }
}

fn remove(dir: &Path, parent: &Path) {
    for _ in 0..100 {
        let inside = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        for pid in inside.lines() {
            let _ = fs::write(parent.join("cgroup.procs"), pid);
        }
        // Refused while one that is exiting is still in there.
        if fs::remove_dir(dir).is_ok() || !dir.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    eprintln!("{} could not be removed", dir.display());
}
