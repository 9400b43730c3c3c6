//! What /sys says of block devices: name, scheduler, and how long they were busy.

use std::{collections::BTreeMap, fs, path::PathBuf};

use crate::time::Since;

/// Devices by number: major × 2²⁰ + minor.
#[derive(Default)]
pub struct Devices {
    known: BTreeMap<u32, Device>,
}

#[derive(Clone, Debug, Default)]
pub struct Device {
    pub name: String,
    pub scheduler: String,
    /// `io_ticks` so far, and at the last cut, in milliseconds (Documentation/ABI/stable/sysfs-block, `stat`).
    busy_ms: Option<u64>,
    counted: Option<Since<u64>>,
}

pub fn number(device: u32) -> String {
    format!("{}:{}", device >> 20, device & 0xf_ffff)
}

impl Devices {
    /// All that are there now, with what they did so far.
    pub fn open() -> Self {
        let names = fs::read_dir("/sys/block").into_iter().flatten().flatten();
        let numbers = names.filter_map(|entry| {
            let text = fs::read_to_string(entry.path().join("dev")).ok()?;
            let (major, minor) = text.trim().split_once(':')?;
            Some(major.parse::<u32>().ok()? << 20 | minor.parse::<u32>().ok()?)
        });
        let mut this = Self::default();
        this.learn(numbers.collect::<Vec<_>>().into_iter());
        this
    }

    pub fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        self.known.keys().copied().collect::<Vec<_>>().into_iter()
    }

    pub fn knows(&self, device: u32) -> bool {
        self.known.contains_key(&device)
    }

    /// Looks at these devices. What is gone keeps its name.
    pub fn learn(&mut self, devices: impl Iterator<Item = u32>) {
        let mut devices: Vec<u32> = devices.collect();
        devices.sort_unstable();
        devices.dedup();
        for device in devices {
            let link = PathBuf::from(format!("/sys/dev/block/{}", number(device)));
            let Ok(dir) = fs::canonicalize(&link) else { continue };
            let one = self.known.entry(device).or_default();
            one.name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Ok(text) = fs::read_to_string(dir.join("queue/scheduler")) {
                one.scheduler = scheduler(&text);
            }
            let stat = fs::read_to_string(dir.join("stat")).unwrap_or_default();
            one.busy_ms = stat.split_whitespace().nth(9).and_then(|word| word.parse().ok());
            one.counted = one.counted.or(one.busy_ms.map(Since::from));
        }
    }

    pub fn get(&self, device: u32) -> Device {
        let unknown = || Device { name: number(device), ..Device::default() };
        self.known.get(&device).cloned().unwrap_or_else(unknown)
    }

    /// How long each was busy since the last cut, in nanoseconds by its number; what does not say is left out.
    pub fn cut(&mut self) -> BTreeMap<u32, u64> {
        let busy = self.known.iter_mut().filter_map(|(number, one)| {
            let gained_ms = one.counted.as_mut()?.take(one.busy_ms?);
            Some((*number, gained_ms * 1_000_000))
        });
        busy.collect()
    }
}

/// `none [mq-deadline] kyber` names all there are, and in brackets the one in use.
fn scheduler(text: &str) -> String {
    let used = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(used, _)| used);
    used.unwrap_or(text.trim()).to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_scheduler_in_use_is_the_one_in_brackets() {
        assert_eq!(super::scheduler("none [mq-deadline] kyber bfq \n"), "mq-deadline");
        assert_eq!(super::scheduler("none\n"), "none");
    }
}
