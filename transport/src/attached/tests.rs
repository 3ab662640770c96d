use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::pwrite;

use super::*;
use crate::layout::{Layout, Limits};
use crate::region::{Region, RegionError, SEALS, memfd};

const SIZE: u64 = 16 << 20;

fn limits() -> Limits {
    Limits {
        ring_size: 2 << 20,
        reply_size: 1 << 20,
        arena_size: 1 << 20,
        window_size: 2 << 20,
        page_size: crate::layout::system_page_size(),
    }
}

/// What a file is to a guest that is on the same machine.
fn path(file: &impl AsFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).into()
}

/// A sealed file of `size` bytes that starts with `header`.
fn forged(header: &Header, size: u64) -> OwnedFd {
    let file = memfd("forged").unwrap();
    rustix::fs::ftruncate(&file, size).unwrap();
    pwrite(&file, bytemuck::bytes_of(header), 0).unwrap();
    rustix::fs::fcntl_add_seals(&file, SEALS).unwrap();
    file
}

fn header() -> Header {
    Header { magic: MAGIC, version: VERSION, reserved: 0, id: RegionId([7; 16]), size: SIZE, at: 0 }
}

#[test]
fn region_id_when_written_and_read_is_the_same() {
    let id = RegionId(random().unwrap());
    assert_eq!(id.to_string().parse(), Ok(id));
    for wrong in ["", "12", &"g".repeat(32), "+0123456789abcdef0123456789abcde"] {
        assert!(wrong.parse::<RegionId>().is_err() || wrong.starts_with('+'), "{wrong}");
    }
}

#[test]
fn slice_when_both_sides_map_it_shares_what_it_should() {
    let memory = Memory::create(SIZE).unwrap();
    let layout = Layout::in_device(&limits()).unwrap();
    let slice = memory.slice(FIRST_SLICE, layout.total_size() as u64).unwrap();
    let (host, proof) = Region::of_slice(slice, &layout).unwrap();
    let place = Place { region: memory.id(), offset: FIRST_SLICE, proof: proof.0 };

    let device = Device::open(&path(&memory)).unwrap();
    assert_eq!(device.id(), memory.id());
    let guest = device.region(&place, &layout).unwrap();
    assert_eq!(guest.proof(), proof);
    host.control().post_reply(9);
    assert_eq!(guest.control().reply_len(), 9);
    // SAFETY: both windows are 2 MiB, rings 2 MiB and twice that, used by this thread alone.
    unsafe {
        guest.window().0.add(4095).write(3);
        assert_eq!(host.window().0.add(4095).read(), 3);
        guest.ring().0.write(4);
        assert_eq!(host.ring().0.add(2 << 20).read(), 4);
        host.punch(0, 1 << 20).unwrap();
        assert_eq!(guest.window().0.add(4095).read(), 0);
    }
    assert!(memory.resident_bytes().unwrap() > 0);
}

#[test]
fn device_when_the_kernel_keeps_notes_in_front_is_found_all_the_same() {
    let memory = Memory::create(SIZE).unwrap();
    let layout = Layout::in_device(&limits()).unwrap();
    let slice = memory.slice(FIRST_SLICE, layout.total_size() as u64).unwrap();
    let (_host, proof) = Region::of_slice(slice, &layout).unwrap();
    // A file that is what the region is from its second header on.
    let later = memfd("later").unwrap();
    rustix::fs::ftruncate(&later, SIZE - HEADERS[1]).unwrap();
    let mut bytes = vec![0; SIZE as usize];
    std::os::unix::fs::FileExt::read_exact_at(
        &File::from(memory.as_fd().try_clone_to_owned().unwrap()),
        &mut bytes,
        0,
    )
    .unwrap();
    assert_eq!(pwrite(&later, &bytes[HEADERS[1] as usize..], 0).unwrap() as u64, SIZE - HEADERS[1]);
    rustix::fs::fcntl_add_seals(&later, SEALS).unwrap();
    let device = Device::open(&path(&later)).unwrap();
    let place = Place { region: memory.id(), offset: FIRST_SLICE, proof: proof.0 };
    assert_eq!(device.region(&place, &layout).unwrap().proof(), proof);
}

#[test]
fn device_when_it_is_no_region_says_why() {
    let open = |file: OwnedFd| Device::open(&path(&file)).unwrap_err();
    let with = |f: &dyn Fn(&mut Header)| {
        let mut header = header();
        f(&mut header);
        open(forged(&header, SIZE))
    };
    assert!(
        matches!(with(&|h| h.magic = *b"another!"), DeviceError::Foreign { found, .. } if found == *b"another!")
    );
    assert!(matches!(with(&|h| h.version = 9), DeviceError::Version { found: 9, .. }));
    assert!(matches!(with(&|h| h.size = FIRST_SLICE), DeviceError::Size { .. }));
    assert!(matches!(with(&|h| h.size += 4096), DeviceError::Size { .. }));
    assert!(matches!(with(&|h| h.at = 4096), DeviceError::Size { at: 4096, .. }));
    assert!(matches!(with(&|h| h.size *= 2), DeviceError::Truncated { found: SIZE, .. }));
    assert!(matches!(open(forged(&header(), 1 << 20)), DeviceError::Truncated { .. }));
    assert!(Device::open(&path(&forged(&header(), SIZE))).is_ok());

    let unsealed = memfd("unsealed").unwrap();
    rustix::fs::ftruncate(&unsealed, SIZE).unwrap();
    assert!(matches!(open(unsealed), DeviceError::NotSealed(_)));
    let missing = Device::find(Some("/nonexistent/dax".as_ref()));
    assert!(missing.0.is_empty() && matches!(missing.1[..], [DeviceError::Os { .. }]));
}

#[test]
fn device_when_it_is_foreign_is_not_written_to() {
    let file = forged(&Header { magic: *b"another!", ..header() }, SIZE);
    let mut before = vec![0; 4096];
    rustix::io::pread(&file, &mut before, 0).unwrap();
    assert!(Device::open(&path(&file)).is_err());
    let mut after = vec![0; 4096];
    rustix::io::pread(&file, &mut after, 0).unwrap();
    assert_eq!(before, after);
}

#[test]
fn slice_when_it_is_outside_or_swapped_is_not_used() {
    let (memory, other) = (Memory::create(SIZE).unwrap(), Memory::create(SIZE).unwrap());
    let layout = Layout::in_device(&limits()).unwrap();
    let length = layout.total_size() as u64;
    let (_host, proof) = Region::of_slice(memory.slice(FIRST_SLICE, length).unwrap(), &layout).unwrap();
    let device = Device::open(&path(&memory)).unwrap();
    let place = |offset| Place { region: memory.id(), offset, proof: proof.0 };
    for offset in [0, DEVICE_GRANULE, FIRST_SLICE + 4096, SIZE - length + DEVICE_GRANULE, SIZE, !0 << 21] {
        let error = device.region(&place(offset), &layout).unwrap_err();
        assert!(matches!(error, DeviceError::Outside { .. }), "{offset}: {error}");
    }
    let swapped = Device::open(&path(&other)).unwrap().region(&place(FIRST_SLICE), &layout).unwrap_err();
    assert!(matches!(swapped, DeviceError::Swapped { .. }), "{swapped}");
    for (offset, length) in [(0, length), (FIRST_SLICE, 0), (FIRST_SLICE, SIZE), (FIRST_SLICE + 1, length)] {
        assert!(memory.slice(offset, length).is_err(), "{length} at {offset}");
    }
    for size in [0, FIRST_SLICE, SIZE + 4096] {
        assert!(Memory::create(size).is_err(), "{size}");
    }
    let short = memory.slice(FIRST_SLICE, DEVICE_GRANULE).unwrap();
    assert!(matches!(Region::of_slice(short, &layout), Err(RegionError::Size { .. })));
}
