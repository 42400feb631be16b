//! Which cores serve, and why.
//!
//! `auto` leaves one core for the control thread and the recorder and, where sysfs shows a GPU,
//! prefers the cores of the GPU's NUMA node: prompts and tokens then stay in the memory that the
//! inference server's own threads use. The choice is a pure function of a [`Topology`], so that
//! machines we do not have can be tested.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use super::CoreChoice;

/// What sysfs says of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Cores that this process may run on.
    pub allowed: BTreeSet<usize>,
    /// Each NUMA node's cores.
    pub nodes: Vec<(usize, BTreeSet<usize>)>,
    /// PCI addresses of GPUs with their NUMA node, where the kernel knows it.
    pub gpus: Vec<(String, Option<usize>)>,
}

/// The cores that serve, the core that keeps house, and one reason a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorePlan {
    /// One pinned thread each.
    pub serve: Vec<usize>,
    /// Where the control thread runs; the recorder belongs there too.
    pub housekeeping: usize,
    /// Why, for `check` and the log.
    pub reasons: Vec<String>,
}

/// PCI class codes of display and processing accelerators (PCI Code and ID Assignment, 0x03, 0x12).
const GPU_CLASSES: [&str; 4] = ["0x0300", "0x0302", "0x0380", "0x1200"];

// === impl Topology ===

impl Topology {
    /// Reads `/sys` and this process's affinity.
    pub fn read() -> Self {
        Self::read_from(Path::new("/sys"), allowed_cores())
    }

    fn read_from(sys: &Path, allowed: BTreeSet<usize>) -> Self {
        let mut nodes = Vec::new();
        for entry in entries(&sys.join("devices/system/node")) {
            if let Some(number) = entry.strip_prefix("node").and_then(|n| n.parse().ok()) {
                let list = sys.join("devices/system/node").join(&entry).join("cpulist");
                let cores = fs::read_to_string(list).unwrap_or_default();
                nodes.push((number, parse_cpulist(&cores)));
            }
        }
        nodes.sort();
        let mut gpus = Vec::new();
        let pci = sys.join("bus/pci/devices");
        for address in entries(&pci) {
            let class = fs::read_to_string(pci.join(&address).join("class")).unwrap_or_default();
            if GPU_CLASSES.iter().any(|known| class.starts_with(known)) {
                let node = fs::read_to_string(pci.join(&address).join("numa_node"))
                    .ok()
                    .and_then(|text| text.trim().parse().ok());
                gpus.push((address, node));
            }
        }
        gpus.sort();
        Self {
            allowed,
            nodes,
            gpus,
        }
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let Ok(listing) = fs::read_dir(folder) else {
        return Vec::new();
    };
    listing
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn allowed_cores() -> BTreeSet<usize> {
    match rustix::thread::sched_getaffinity(None) {
        Ok(set) => (0..rustix::thread::CpuSet::MAX_CPU)
            .filter(|core| set.is_set(*core))
            .collect(),
        Err(_) => BTreeSet::from([0]),
    }
}

/// Reads the kernel's list format, `0-3,8`.
fn parse_cpulist(text: &str) -> BTreeSet<usize> {
    let mut cores = BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cores.extend(first..=last);
        }
    }
    cores
}

// === impl CorePlan ===

impl CorePlan {
    /// Chooses; the error names what is wrong with a listed core.
    pub fn choose(
        choice: &CoreChoice,
        exclude: &[usize],
        topology: &Topology,
    ) -> Result<Self, String> {
        match choice {
            CoreChoice::Listed(cores) => Self::listed(cores, topology),
            CoreChoice::Auto => Ok(Self::auto(exclude, topology)),
        }
    }

    fn listed(cores: &[usize], topology: &Topology) -> Result<Self, String> {
        let mut seen = BTreeSet::new();
        for core in cores {
            if !topology.allowed.contains(core) {
                return Err(format!(
                    "`cores` names core {core}, on which this process may not run (allowed: {})",
                    Ranges(&topology.allowed)
                ));
            }
            if !seen.insert(*core) {
                return Err(format!("`cores` names core {core} twice"));
            }
        }
        let housekeeping = topology
            .allowed
            .iter()
            .copied()
            .find(|core| !seen.contains(core));
        let reasons = vec![format!(
            "cores {}: listed in the configuration",
            Ranges(&seen)
        )];
        let fallback = cores.first().copied().unwrap_or(0);
        Ok(Self {
            serve: cores.to_vec(),
            housekeeping: housekeeping.unwrap_or(fallback),
            reasons,
        })
    }

    fn auto(exclude: &[usize], topology: &Topology) -> Self {
        let mut reasons = vec![format!(
            "this process may run on {}",
            Ranges(&topology.allowed)
        )];
        let excluded: BTreeSet<usize> = exclude.iter().copied().collect();
        let mut usable: BTreeSet<usize> = &topology.allowed - &excluded;
        if !excluded.is_empty() {
            reasons.push(format!("{} left alone: exclude_cores", Ranges(&excluded)));
        }
        if usable.is_empty() {
            reasons.push("exclude_cores leaves nothing, so it is not followed".to_owned());
            usable = topology.allowed.clone();
        }
        let near = Self::near_gpu(&usable, topology, &mut reasons);
        let mut serve: Vec<usize> = near.unwrap_or_else(|| usable.clone()).into_iter().collect();
        let housekeeping = match usable.iter().find(|core| !serve.contains(core)) {
            Some(spare) => *spare,
            // The lowest core takes the machine's interrupts more often than not.
            None if serve.len() > 1 => serve.remove(0),
            None => serve.first().copied().unwrap_or(0),
        };
        reasons.push(if serve.contains(&housekeeping) {
            format!("core {housekeeping} also keeps house: it is the only one")
        } else {
            format!("core {housekeeping} is left for the control thread and the recorder")
        });
        let chosen: BTreeSet<usize> = serve.iter().copied().collect();
        reasons.push(format!("cores {} serve", Ranges(&chosen)));
        Self {
            serve,
            housekeeping,
            reasons,
        }
    }

    /// The usable cores on the first GPU's node, where there are any.
    fn near_gpu(
        usable: &BTreeSet<usize>,
        topology: &Topology,
        reasons: &mut Vec<String>,
    ) -> Option<BTreeSet<usize>> {
        let Some((address, node)) = topology.gpus.first() else {
            reasons.push("no GPU in sysfs: no NUMA node is preferred".to_owned());
            return None;
        };
        let Some(node) = node else {
            reasons.push(format!(
                "GPU {address}: the kernel knows no NUMA node for it"
            ));
            return None;
        };
        let cores = &topology.nodes.iter().find(|(number, _)| number == node)?.1;
        let near: BTreeSet<usize> = cores & usable;
        if near.is_empty() {
            reasons.push(format!(
                "GPU {address} is on node {node}: none of its cores is usable"
            ));
            return None;
        }
        reasons.push(format!(
            "GPU {address} is on node {node}: its cores are preferred"
        ));
        Some(near)
    }
}

/// `0-3,8`, as the kernel writes it.
struct Ranges<'a>(&'a BTreeSet<usize>);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cores = self.0.iter().copied().peekable();
        let mut first = true;
        while let Some(start) = cores.next() {
            let mut end = start;
            while let Some(next) = cores.next_if(|next| *next == end + 1) {
                end = next;
            }
            let comma = if std::mem::take(&mut first) { "" } else { "," };
            if start == end {
                write!(f, "{comma}{start}")?;
            } else {
                write!(f, "{comma}{start}-{end}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(range: std::ops::Range<usize>) -> BTreeSet<usize> {
        range.collect()
    }

    #[test]
    fn one_core_is_left_for_housekeeping() {
        let topology = Topology {
            allowed: set(0..4),
            ..Topology::default()
        };
        let plan = CorePlan::choose(&CoreChoice::Auto, &[], &topology).unwrap();
        assert_eq!((plan.serve, plan.housekeeping), (vec![1, 2, 3], 0));
    }

    #[test]
    fn the_only_core_does_both() {
        let topology = Topology {
            allowed: set(2..3),
            ..Topology::default()
        };
        let plan = CorePlan::choose(&CoreChoice::Auto, &[], &topology).unwrap();
        assert_eq!((plan.serve, plan.housekeeping), (vec![2], 2));
    }

    #[test]
    fn cores_of_the_gpus_node_are_preferred_but_not_the_excluded_ones() {
        let topology = Topology {
            allowed: set(0..16),
            nodes: vec![(0, set(0..8)), (1, set(8..16))],
            gpus: vec![("0000:41:00.0".to_owned(), Some(1))],
        };
        let plan = CorePlan::choose(&CoreChoice::Auto, &[8, 9, 10, 11], &topology).unwrap();
        assert_eq!((plan.serve, plan.housekeeping), (vec![12, 13, 14, 15], 0));
        assert!(
            plan.reasons.iter().any(|line| line.contains("node 1")),
            "{:?}",
            plan.reasons
        );
    }

    #[test]
    fn a_listed_core_must_exist_and_be_named_once() {
        let topology = Topology {
            allowed: set(0..2),
            ..Topology::default()
        };
        let choose =
            |list: &[usize]| CorePlan::choose(&CoreChoice::Listed(list.to_vec()), &[], &topology);
        assert!(choose(&[5]).unwrap_err().contains("core 5"));
        assert!(choose(&[1, 1]).unwrap_err().contains("twice"));
        assert_eq!(choose(&[1]).unwrap().housekeeping, 0);
    }

    #[test]
    fn sysfs_is_read_as_the_kernel_writes_it() {
        let sys = tempfile::tempdir().unwrap();
        let node = sys.path().join("devices/system/node/node1");
        let gpu = sys.path().join("bus/pci/devices/0000:41:00.0");
        for folder in [&node, &gpu] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(node.join("cpulist"), "4-5,7\n").unwrap();
        fs::write(gpu.join("class"), "0x030200\n").unwrap();
        fs::write(gpu.join("numa_node"), "1\n").unwrap();
        let topology = Topology::read_from(sys.path(), set(0..8));
        assert_eq!(topology.nodes, [(1, BTreeSet::from([4, 5, 7]))]);
        assert_eq!(topology.gpus, [("0000:41:00.0".to_owned(), Some(1))]);
        assert_eq!(Ranges(&topology.nodes[0].1).to_string(), "4-5,7");
    }
}
