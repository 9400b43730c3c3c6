//! Which of the servers of a host is meant.

use std::path::{Path, PathBuf};

use super::{BINARY_NAMES, Cluster, Discovery, file_id, proc};

/// What is asked of a server: all that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The postmaster or any process below it, counted by this host.
    pub pid: Option<u32>,
    pub port: Option<u16>,
    /// The server's path or one of this host.
    pub data_directory: Option<PathBuf>,
    /// The beginning of its container's identifier.
    pub container: Option<String>,
}

impl Choice {
    /// Nothing is asked: any server fits.
    pub fn is_any(&self) -> bool {
        *self == Self::default()
    }
}

/// Why no single server could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    #[error("{}", none(.wanted, *.looked_at, .skipped, .running))]
    None {
        /// What was asked for, empty when nothing was.
        wanted: String,
        looked_at: usize,
        skipped: Vec<String>,
        /// Servers that run but were not asked for.
        running: Vec<String>,
    },
    #[error("several PostgreSQL servers match; choose one:\n{}", .0.join("\n"))]
    Several(Vec<String>),
}

fn none(wanted: &str, looked_at: usize, skipped: &[String], running: &[String]) -> String {
    let mut text = if wanted.is_empty() {
        let names = BINARY_NAMES.join(", ");
        format!(
            "no running PostgreSQL server found: looked at {looked_at} processes for one whose executable is {names}"
        )
    } else {
        format!("no running PostgreSQL server with {wanted} found: looked at {looked_at} processes")
    };
    for (title, lines) in [("running:", running), ("passed over:", skipped)] {
        if !lines.is_empty() {
            text = format!("{text}\n{title}\n  {}", lines.join("\n  "));
        }
    }
    if skipped.iter().any(|line| line.contains("Permission denied")) {
        text += "\nservers' files may not be read: run it as root (sudo pgstrobe …), in a container with \
                 CAP_DAC_READ_SEARCH";
    }
    text
}

/// One line that shows a cluster and the option that chooses it.
fn line(cluster: &Cluster) -> String {
    let port = cluster.port.map_or("?".into(), |port| port.to_string());
    let container = cluster.container.as_deref().map_or(String::new(), |id| format!("  container {:.12}", id));
    format!(
        "--pid {}  PostgreSQL {}  port {port}  {}{container}",
        cluster.postmaster_pid,
        cluster.version,
        // A path may hold anything, and this goes to a terminal.
        cluster.data_directory.to_string_lossy().escape_debug(),
    )
}

/// The one cluster that fits the choice.
///
/// # Errors
/// None or several fit; the message shows what there is.
pub fn choose(discovery: &Discovery, choice: &Choice) -> Result<Cluster, ChooseError> {
    let mut fitting = choose_all(discovery, choice)?;
    match fitting.pop() {
        Some(only) if fitting.is_empty() => Ok(only),
        last => Err(ChooseError::Several(fitting.iter().chain(&last).map(|one| format!("  {}", line(one))).collect())),
    }
}

/// All clusters that fit the choice, one at least.
///
/// # Errors
/// None fits; the message shows what there is.
pub fn choose_all(discovery: &Discovery, choice: &Choice) -> Result<Vec<Cluster>, ChooseError> {
    let ancestors = choice.pid.map(ancestors).unwrap_or_default();
    // The nearest server: one may have been started from another.
    let nearest = ancestors.iter().find(|&&pid| discovery.clusters.iter().any(|cluster| cluster.postmaster_pid == pid));
    let fits = |cluster: &&Cluster| {
        (choice.pid.is_none() || nearest == Some(&cluster.postmaster_pid))
            && choice.port.is_none_or(|port| cluster.port == Some(port))
            && choice.data_directory.as_deref().is_none_or(|directory| is_directory_of(directory, cluster))
            && choice
                .container
                .as_deref()
                .is_none_or(|id| cluster.container.as_deref().is_some_and(|own| own.starts_with(id)))
    };
    let fitting: Vec<Cluster> = discovery.clusters.iter().filter(fits).cloned().collect();
    if fitting.is_empty() {
        return Err(ChooseError::None {
            wanted: wanted(choice),
            looked_at: discovery.looked_at,
            skipped: discovery.skipped.clone(),
            running: discovery.clusters.iter().map(line).collect(),
        });
    }
    Ok(fitting)
}

fn wanted(choice: &Choice) -> String {
    let pid = choice.pid.map(|pid| format!("process {pid}"));
    let port = choice.port.map(|port| format!("port {port}"));
    let directory = choice.data_directory.as_ref().map(|path| format!("data directory {}", path.display()));
    let container = choice.container.as_ref().map(|id| format!("container {id}"));
    [pid, port, directory, container].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn is_directory_of(directory: &Path, cluster: &Cluster) -> bool {
    let normal = |path: &Path| path.components().collect::<PathBuf>();
    normal(directory) == normal(&cluster.data_directory)
        || std::fs::metadata(directory).is_ok_and(|meta| file_id(&meta) == cluster.data_directory_id)
}

/// The process and those it descends from, nearest first.
fn ancestors(pid: u32) -> Vec<u32> {
    let mut list = vec![pid];
    // Bounded, as parents may change while they are read.
    while let Some(parent) = list.last().and_then(|&pid| proc::Stat::of(pid)).map(|stat| stat.parent) {
        if parent == 0 || list.len() == 64 {
            break;
        }
        list.push(parent);
    }
    list
}
