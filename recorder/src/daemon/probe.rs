//! Asks the kernel for io_uring before glommio does, because glommio ends the process when the
//! answer is no.

use io_uring::{IoUring, Probe, opcode};
use rustix::process::{Resource, getrlimit};

/// glommio refuses to start below this.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

const REMEDY: &str = "The recorder needs io_uring (Linux 5.8 or newer). In a container, allow the \
    system calls io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile; on a \
    host, see the sysctl kernel.io_uring_disabled";

pub(super) fn uring() -> Result<(), String> {
    let ring =
        IoUring::new(4).map_err(|error| format!("io_uring is refused: {error}. {REMEDY}"))?;
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| format!("io_uring cannot be asked what it can do: {error}. {REMEDY}"))?;
    let needed = [
        ("READ", opcode::Read::CODE),
        ("WRITE", opcode::Write::CODE),
        ("READ_FIXED", opcode::ReadFixed::CODE),
        ("WRITE_FIXED", opcode::WriteFixed::CODE),
        ("FSYNC", opcode::Fsync::CODE),
        ("FALLOCATE", opcode::Fallocate::CODE),
        ("OPENAT", opcode::OpenAt::CODE),
        ("CLOSE", opcode::Close::CODE),
        ("STATX", opcode::Statx::CODE),
        ("POLL_ADD", opcode::PollAdd::CODE),
        ("TIMEOUT", opcode::Timeout::CODE),
        ("CONNECT", opcode::Connect::CODE),
        ("ACCEPT", opcode::Accept::CODE),
        ("LINK_TIMEOUT", opcode::LinkTimeout::CODE),
        ("SEND", opcode::Send::CODE),
        ("RECV", opcode::Recv::CODE),
    ];
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(_, code)| !probe.is_supported(*code))
        .map(|(name, _)| *name)
        .collect();
    if !missing.is_empty() {
        return Err(format!(
            "this kernel's io_uring lacks {}. {REMEDY}",
            missing.join(", ")
        ));
    }
    match getrlimit(Resource::Memlock).current {
        Some(bytes) if bytes < MEMLOCK_BYTES_MIN => Err(format!(
            "only {bytes} bytes of memory may be locked, {MEMLOCK_BYTES_MIN} are needed: raise \
             LimitMEMLOCK of the unit, or `ulimit -l`"
        )),
        _ => Ok(()),
    }
}
