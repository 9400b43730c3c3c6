//! Traps in a server's code and the semaphores of its static probes, as the server's own memory holds them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

/// What a uprobe puts in the place of an instruction (x86-64: `int3`).
const TRAP: u8 = 0xCC;

/// One place in the executable of a live process.
pub struct Place {
    pub name: String,
    code: u64,
    semaphore: Option<u64>,
    /// Places that share the semaphore: one static probe in several functions, or inlined.
    sharing: u16,
    memory: File,
}

impl Place {
    pub fn is_trapped(&self) -> bool {
        let mut code = [0];
        self.memory.read_exact_at(&mut code, self.code).expect("the server's code");
        code[0] == TRAP
    }

    /// Whether the word that tells the server to make the arguments of a static probe is raised once for each place;
    /// lowered is zero. A place without such a word is as it should be.
    pub fn semaphore_is(&self, raised: bool) -> bool {
        let Some(address) = self.semaphore else { return true };
        let mut word = [0; 2];
        self.memory.read_exact_at(&mut word, address).expect("the server's data");
        u16::from_le_bytes(word) == if raised { self.sharing } else { 0 }
    }
}

/// The places that hooks such as `uprobe/exec_simple_query` and `uprobe/usdt:query__start` name, in process `pid`; all
/// places of a static probe. Needs readelf.
pub fn places(pid: u32, hooks: &[String]) -> Vec<Place> {
    let exe = format!("/proc/{pid}/exe");
    let base = load_base(pid);
    let readelf = |args: &[&str]| {
        let output = Command::new("readelf").args(args).arg(&exe).output().expect("readelf runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let place = |name: &str, code: u64, semaphore: Option<u64>| {
        let memory = File::open(format!("/proc/{pid}/mem")).expect("the server's memory");
        let semaphore = semaphore.filter(|address| *address != 0).map(|address| base + address);
        Place { name: name.into(), code: base + code, semaphore, sharing: 0, memory }
    };
    let (symbols, notes) = (readelf(&["-sW"]), readelf(&["-nW"]));
    let mut places = Vec::new();
    for name in hooks.iter().filter_map(|hook| hook.strip_prefix("uprobe/")) {
        let before = places.len();
        match name.strip_prefix("usdt:") {
            Some(usdt) => {
                // "Name: query__start" and then "Location: 0x…, Base: 0x…, Semaphore: 0x…".
                let mut current = "";
                for line in notes.lines().map(str::trim) {
                    if let Some(name) = line.strip_prefix("Name: ") {
                        current = name;
                    } else if current == usdt && line.starts_with("Location: ") {
                        let value = |at: usize| hex(line.split(", ").nth(at)?.split(": ").nth(1)?);
                        places.push(place(name, value(0).expect("an address"), value(2)));
                    }
                }
            }
            None => {
                // "   Num:    Value          Size Type    Bind   Vis      Ndx Name"
                let found = symbols.lines().find_map(|line| {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    (words.get(7) == Some(&name)).then(|| hex(words[1])).flatten()
                });
                places.extend(found.map(|address| place(name, address, None)));
            }
        }
        let found = places.len() - before;
        assert!(found > 0, "readelf does not show {name}");
        places[before..].iter_mut().for_each(|place| place.sharing = found as u16);
    }
    places
}

/// Whether the executable of a process has static probes.
pub fn has_static_probes(pid: u32) -> bool {
    let output = Command::new("readelf").args(["-nW", &format!("/proc/{pid}/exe")]).output().expect("readelf runs");
    String::from_utf8_lossy(&output.stdout).contains("Name: query__start")
}

/// Whether the executable of a process names all of these functions: a compiler may have inlined some.
pub fn names_functions(pid: u32, names: &[&str]) -> bool {
    let output = Command::new("readelf").args(["-sW", &format!("/proc/{pid}/exe")]).output().expect("readelf runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let known: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().nth(7)).collect();
    names.iter().all(|name| known.contains(name))
}

/// Where a position-independent executable begins in a process.
fn load_base(pid: u32) -> u64 {
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).expect("the server's executable");
    let exe = exe.to_string_lossy();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the server's mappings");
    let first = maps.lines().find(|line| line.ends_with(&*exe)).expect("the executable is mapped");
    hex(first.split('-').next().unwrap_or_default()).expect("an address")
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}
