//! The figures that a worker's heartbeat carries.

use std::{
    future::Future,
    path::Path,
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;
use sysinfo::{Disks, Networks, System};

use crate::types::JsonObject;

/// Where the figures of a heartbeat come from.
pub trait StatisticsSource: Send + Sync + 'static {
    /// The figures as of now; `None` leaves those of the last heartbeat in place.
    fn collect(&self) -> Pin<Box<dyn Future<Output = Option<JsonObject>> + Send + '_>>;
}

/// The figures of this machine, under the names of `agentlightning==0.3.0`: `host`, `os`, `cpu_name`, `cpu_cores`,
/// `cpu_threads`, `cpu_usage_pct`, `mem_used_gb`, `mem_total_gb`, `mem_pct`, `disk_used_gb`, `disk_total_gb`,
/// `disk_pct`, `bytes_sent_mb`, `bytes_recv_mb`; a gigabyte has 2³⁰ bytes here, a megabyte 2²⁰.
///
/// All runners of a process share one reading, which is at most a second old.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemStatistics;

/// What was read off the machine last, and the system to read it off anew: shares of time are those since the reading
/// before.
#[derive(Default)]
struct Machine {
    system: Option<System>,
    last: Option<(Instant, JsonObject)>,
}

static MACHINE: Mutex<Machine> = Mutex::new(Machine {
    system: None,
    last: None,
});

const FRESH: Duration = Duration::from_secs(1);
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

impl StatisticsSource for SystemStatistics {
    fn collect(&self) -> Pin<Box<dyn Future<Output = Option<JsonObject>> + Send + '_>> {
        // Reading blocks on the operating system.
        Box::pin(async { tokio::task::spawn_blocking(read).await.ok() })
    }
}

fn read() -> JsonObject {
    let mut machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((when, figures)) = &machine.last
        && when.elapsed() < FRESH
    {
        return figures.clone();
    }
    let figures = measure(&mut machine.system);
    machine.last = Some((Instant::now(), figures.clone()));
    figures
}

/// What the machine tells; what it does not tell is left out.
fn measure(system: &mut Option<System>) -> JsonObject {
    let mut figures = JsonObject::new();
    let mut tell = |name: &str, value: Value| {
        figures.insert(name.to_owned(), value);
    };
    if let Ok(host) = System::host_name() {
        tell("host", host.into());
    }
    if let Ok(os) = System::long_os_version() {
        tell("os", os.into());
    }
    if system.is_none() {
        *system = System::new().ok();
    }
    if let Some(system) = system {
        processors(system, &mut tell);
        memory(system, &mut tell);
    }
    disk(&mut tell);
    network(&mut tell);
    figures
}

fn processors(system: &mut System, tell: &mut impl FnMut(&str, Value)) {
    system.refresh_cpu_usage();
    if let Some(cpu) = system.cpus().first() {
        tell("cpu_name", cpu.brand().into());
    }
    if let Ok(cores) = System::physical_core_count() {
        tell("cpu_cores", cores.into());
    }
    tell("cpu_threads", system.cpus().len().into());
    tell(
        "cpu_usage_pct",
        rounded(f64::from(system.global_cpu_usage())).into(),
    );
}

fn memory(system: &mut System, tell: &mut impl FnMut(&str, Value)) {
    system.refresh_memory();
    let (used, total) = (system.used_memory() as f64, system.total_memory() as f64);
    tell("mem_used_gb", rounded(used / GIB).into());
    tell("mem_total_gb", rounded(total / GIB).into());
    tell("mem_pct", percentage(used, total).into());
}

fn disk(tell: &mut impl FnMut(&str, Value)) {
    let Ok(disks) = Disks::new_with_refreshed_list() else {
        return;
    };
    let root = disks.iter().find(|disk| disk.mount_point() == Path::new("/"));
    if let Some(disk) = root.or(disks.first()) {
        let total = disk.total_space() as f64;
        let used = total - disk.available_space() as f64;
        tell("disk_used_gb", rounded(used / GIB).into());
        tell("disk_total_gb", rounded(total / GIB).into());
        tell("disk_pct", percentage(used, total).into());
    }
}

fn network(tell: &mut impl FnMut(&str, Value)) {
    let Ok(networks) = Networks::new_with_refreshed_list() else {
        return;
    };
    let sent: u64 = networks.values().map(|network| network.total_transmitted()).sum();
    let received: u64 = networks.values().map(|network| network.total_received()).sum();
    tell("bytes_sent_mb", rounded(sent as f64 / MIB).into());
    tell("bytes_recv_mb", rounded(received as f64 / MIB).into());
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn percentage(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        rounded(100.0 * part / whole)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_figures_are_those_of_a_machine() {
        let figures = SystemStatistics.collect().await.unwrap();
        let number = |name: &str| figures[name].as_f64().unwrap();
        assert!(number("cpu_threads") >= 1.0);
        assert!(number("mem_total_gb") > 0.1 && number("mem_used_gb") <= number("mem_total_gb"));
        assert!((0.0..=100.0).contains(&number("mem_pct")));
        assert!((0.0..=100.0).contains(&number("disk_pct")));
        assert!(figures["host"].is_string());
    }
}
