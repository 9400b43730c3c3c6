//! `pgstrobe doctor`: what this host and its servers can show, what each missing thing costs, and the command that gets it.

use std::io::{self, Write};

use anyhow::Result;
use pgstrobe_common::fields::{KERNEL_FIELDS, PG_SYMBOLS};

use crate::{
    kernel::{
        btf::{Btf, VMLINUX},
        features::{self, Host},
        symbols,
    },
    postgres::{
        backend::Role,
        cluster::{self, Cluster},
        server::Server,
    },
    probes::{PROBES, Point},
    run::exit,
    words::clean,
};

/// Functions the uprobe boundary looks for.
const ENTRIES: [&str; 4] = ["exec_simple_query", "exec_parse_message", "exec_bind_message", "exec_execute_message"];

/// Prints the state of this machine. Exit code 4 when a profile cannot run at all, 3 when there is no server.
pub fn run(out: &mut dyn Write) -> Result<u8> {
    match examine(out) {
        Ok(code) => Ok(code),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(exit::DONE),
        Err(error) => Err(error.into()),
    }
}

fn examine(out: &mut dyn Write) -> io::Result<u8> {
    let mut code = exit::DONE;
    let host = Host::look();
    let kind = if host.virtualized { ", a virtual machine" } else { "" };
    writeln!(out, "host: Linux {}, {} CPUs{kind}", host.release, host.cpus)?;

    let missing = features::missing_capabilities();
    if missing.is_empty() {
        line(out, true, "privilege", "all capabilities needed are there")?;
    } else {
        code = exit::REFUSED;
        line(out, false, "privilege", &format!("{} missing; run: sudo pgstrobe …", missing.join(", ")))?;
    }
    if features::confidentiality_lockdown() {
        code = exit::REFUSED;
        line(
            out,
            false,
            "lockdown",
            "confidentiality: programs may not read memory; boot with lockdown=integrity or none",
        )?;
    } else {
        line(out, true, "lockdown", "does not forbid reading memory")?;
    }
    match features::tracefs() {
        Some(path) => line(out, true, "tracefs", path)?,
        None => line(
            out,
            true,
            "tracefs",
            "not mounted; a profile mounts it for itself alone (or: mount -t tracefs tracefs /sys/kernel/tracing)",
        )?,
    }
    match Btf::load(VMLINUX.as_ref()) {
        Ok(btf) => {
            let absent: Vec<_> =
                KERNEL_FIELDS.iter().filter(|field| btf.offset(field).is_none()).map(|f| f.name).collect();
            if absent.is_empty() {
                line(out, true, "kernel types", "every field in use is found")?;
            } else {
                line(out, false, "kernel types", &format!("not found: {}", absent.join(", ")))?;
            }
            hooks(out, &btf)?;
        }
        Err(error) => {
            code = exit::REFUSED;
            line(
                out,
                false,
                "kernel types",
                &format!(
                    "{error}; without them there is no profile: use a kernel with CONFIG_DEBUG_INFO_BTF, or --btf FILE"
                ),
            )?;
        }
    }
    if symbols::functions(&["schedule"]).is_ok_and(|found| !found.is_empty()) {
        line(out, true, "kernel symbols", "shown")?;
    } else {
        line(
            out,
            false,
            "kernel symbols",
            "hidden; causes that only the kernel's stack tells (a frozen cgroup, memory.high) are not named: give CAP_SYSLOG, \
             and run: sysctl kernel.kptr_restrict=1",
        )?;
    }
    writeln!(out)?;
    let discovery = cluster::discover();
    if discovery.clusters.is_empty() {
        writeln!(out, "no running PostgreSQL server found among {} processes", discovery.looked_at)?;
        if code == exit::DONE {
            code = exit::TARGET;
        }
    }
    for reason in &discovery.skipped {
        writeln!(out, "  passed over: {}", clean(reason))?;
    }
    for cluster in discovery.clusters {
        server(out, cluster)?;
    }
    Ok(code)
}

fn line(out: &mut dyn Write, good: bool, what: &str, text: &str) -> io::Result<()> {
    writeln!(out, "  {} {what}: {}", if good { "ok     " } else { "MISSING" }, clean(text))
}

/// Which way of each probe this kernel offers, as far as can be said without attaching.
fn hooks(out: &mut dyn Write, btf: &Btf) -> io::Result<()> {
    for probe in PROBES {
        let way = probe.ways.iter().find(|way| {
            way.hooks.iter().all(|hook| match hook.point {
                Point::TpBtf(name) => name.split('|').any(|name| btf.has_tracepoint(name)),
                Point::Fexit(names) => names.iter().any(|name| btf.has_function(name)),
                Point::Tracepoint(..) | Point::TpBtfAgain(_) | Point::CpuClock(_) | Point::Server(_) => true,
            })
        });
        let label = format!("probe {}", probe.name);
        match way {
            Some(way) if way.loses.is_empty() => line(out, true, &label, way.name)?,
            Some(way) => line(out, true, &label, &format!("{} (loses: {})", way.name, way.loses))?,
            None => line(out, false, &label, &format!("no hook on this kernel; without it: {}", probe.without))?,
        }
    }
    Ok(())
}

fn server(out: &mut dyn Write, cluster: Cluster) -> io::Result<()> {
    let port = cluster.port.map_or("unknown".into(), |port| port.to_string());
    writeln!(
        out,
        "server: PostgreSQL {}, pid {}, port {port}, data directory {}",
        cluster.version,
        cluster.postmaster_pid,
        cluster.data_directory.display().to_string().escape_debug()
    )?;
    let children = cluster::children(&cluster);
    let binary_path = cluster.binary.display().to_string();
    let server = match Server::open(cluster) {
        Ok(server) => server,
        Err(error) => return line(out, false, "executable", &error.to_string()),
    };
    let binary = &server.binary;
    let symbols = if binary.stripped { "stripped" } else { "with symbols" };
    line(out, true, "executable", &format!("{binary_path}, {symbols}, {} USDT probes", binary.usdts.len()))?;
    let absent: Vec<_> =
        PG_SYMBOLS.iter().filter(|(_, symbol)| binary.symbol(symbol).is_none()).map(|(_, symbol)| *symbol).collect();
    if absent.is_empty() {
        line(out, true, "variables", "all found")?;
    } else {
        line(out, true, "variables", &format!("this version has no {}", absent.join(", ")))?;
    }
    let entries = ENTRIES.iter().filter(|name| binary.symbol(name).is_some()).count();
    let boundary = if entries == ENTRIES.len() {
        "function entries".to_owned()
    } else if binary.usdt("postgresql", "query__start").next().is_some() {
        "USDT; for function entries install the debug symbols of the server's package (on Debian: postgresql-NN-dbgsym)"
            .to_owned()
    } else if binary.symbol("pgstat_report_activity").is_some() {
        "pgstat_report_activity only; pipelines are not split".to_owned()
    } else {
        "nothing to attach to; the socket boundary, the default, is not affected".to_owned()
    };
    line(out, true, "--boundary uprobe", &boundary)?;
    if server.notes.is_empty() {
        line(out, true, "memory layout", "verified on live processes")?;
    }
    for note in &server.notes {
        line(out, false, "memory layout", note)?;
    }
    if !server.tracks_activities() {
        line(
            out,
            false,
            "track_activities",
            "off: no statement texts; run: ALTER SYSTEM SET track_activities = on; SELECT pg_reload_conf()",
        )?;
    }
    let clients = children.iter().filter(|pid| server.identify(**pid).role == Role::ClientBackend).count();
    line(out, true, "processes", &format!("{} ({clients} client backends)", children.len() + 1))
}
