//! What Linux tells about processes and sockets.

use std::fs;
use std::path::Path;

/// Whether a listening unix socket with this path exists (`/proc/net/unix`; connecting would start a session).
pub fn listens(socket: &Path) -> bool {
    const ACCEPTS_CONNECTIONS: u64 = 0x1_0000;
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    table.lines().skip(1).any(|line| {
        // Num RefCount Protocol Flags Type St Inode Path
        let mut fields = line.split_ascii_whitespace();
        let flags = fields.nth(3).and_then(|flags| u64::from_str_radix(flags, 16).ok()).unwrap_or(0);
        let path = fields.nth(3).unwrap_or_default();
        flags & ACCEPTS_CONNECTIONS != 0 && Path::new(path) == socket
    })
}

/// Direct children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .filter_map(Result::ok)
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| {
            text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}

/// Number of open file descriptors of a process; 0 when it is gone.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Resident memory of a process in KiB, shared pages included; 0 when it is gone.
pub fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|value| value.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// One line for each thread of a process: name, state, what it waits for in the kernel.
pub fn threads(pid: u32) -> String {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return "  (gone)\n".into() };
    let mut text = String::new();
    for task in tasks.filter_map(Result::ok) {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let stat = read("stat");
        let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).unwrap_or('?');
        text += &format!("  {} {state} {}\n", read("comm").trim(), read("wchan"));
    }
    text
}
