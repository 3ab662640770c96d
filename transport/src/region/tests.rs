use super::*;

fn limits() -> Limits {
    let page = system_page_size();
    Limits {
        ring_size: 16 * page,
        reply_size: page,
        arena_size: 2 * page,
        window_size: 8 * page,
        page_size: page,
    }
}

fn both() -> (Region, Region) {
    let (made, fd) = Region::create(&limits()).unwrap();
    let attached = Region::attach(fd, made.layout()).unwrap();
    (made, attached)
}

fn write(at: NonNull<u8>, offset: usize, byte: u8) {
    // SAFETY: the callers stay inside the part; only this thread writes.
    unsafe { at.add(offset).write_volatile(byte) }
}

fn read(at: NonNull<u8>, offset: usize) -> u8 {
    // SAFETY: as for `write`.
    unsafe { at.add(offset).read_volatile() }
}

#[test]
fn region_when_attached_shows_each_part_to_both_sides() {
    let (made, attached) = both();
    type Part = fn(&Region) -> (NonNull<u8>, usize);
    let parts: [Part; 4] = [Region::ring, Region::reply, Region::arena, Region::window];
    for (i, part) in parts.into_iter().enumerate() {
        let ((here, size), (there, size_there)) = (part(&made), part(&attached));
        assert_eq!(size, size_there);
        for offset in [0, size - 1] {
            assert_eq!(read(there, offset), 0, "part {i} overlaps another");
            write(here, offset, 0x40 + i as u8);
            assert_eq!(read(there, offset), 0x40 + i as u8);
        }
    }
    made.control().complete(3, 17);
    assert_eq!(attached.control().completed(3), 17);
}

#[test]
fn ring_when_written_behind_its_end_shows_at_its_start() {
    let (made, attached) = both();
    let (ring, size) = made.ring();
    write(ring, size + 5, 7);
    assert_eq!(read(ring, 5), 7);
    assert_eq!(read(attached.ring().0, size + 5), 7);
    write(ring, 2 * size - 1, 9);
    assert_eq!(read(ring, size - 1), 9);
}

#[test]
fn window_when_the_page_size_is_larger_than_the_machines_is_aligned_to_it() {
    let limits = limits().with_page_size(64 << 10);
    for _ in 0..4 {
        let (region, _fd) = Region::create(&limits).unwrap();
        assert_eq!(region.window().0.as_ptr() as usize % (64 << 10), 0);
    }
}

#[test]
fn file_when_the_peer_tries_to_resize_it_refuses() {
    let (_region, fd) = Region::create(&limits()).unwrap();
    assert_eq!(rustix::fs::ftruncate(&fd, 4096), Err(Errno::PERM));
    assert_eq!(rustix::fs::ftruncate(&fd, 1 << 30), Err(Errno::PERM));
    assert_eq!(rustix::fs::fcntl_add_seals(&fd, SealFlags::WRITE), Err(Errno::PERM));
}

#[test]
fn attach_when_the_file_is_not_sealed_is_refused() {
    let layout = Layout::new(&limits()).unwrap();
    let fd = memfd("test").unwrap();
    rustix::fs::ftruncate(&fd, layout.total_size() as u64).unwrap();
    assert!(matches!(Region::attach(fd, &layout), Err(RegionError::NotSealed { .. })));
    let fd = memfd("test").unwrap();
    rustix::fs::ftruncate(&fd, layout.total_size() as u64).unwrap();
    // Without SEAL the other side's seals are not final, but SHRINK alone cannot be taken back either; the rule is
    // all three.
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
    assert!(matches!(Region::attach(fd, &layout), Err(RegionError::NotSealed { .. })));
    let not_a_memfd = std::fs::File::open("/dev/zero").unwrap();
    assert!(matches!(Region::attach(not_a_memfd.into(), &layout), Err(RegionError::NotSealed { .. })));
}

#[test]
fn attach_when_the_size_differs_is_refused() {
    let (_region, fd) = Region::create(&limits()).unwrap();
    let larger = Layout::new(&Limits { window_size: 16 * system_page_size(), ..limits() }).unwrap();
    assert!(matches!(Region::attach(fd, &larger), Err(RegionError::Size { .. })));
}

#[test]
fn attach_when_the_file_is_not_a_region_is_refused() {
    let (made, fd) = Region::create(&limits()).unwrap();
    made.control().page().magic.store(1, Ordering::Release);
    assert!(matches!(Region::attach(fd, made.layout()), Err(RegionError::Magic(1))));
}

#[test]
fn punch_when_the_range_is_whole_pages_frees_them() {
    let (made, attached) = both();
    let page = made.layout().page_size();
    for i in 0..8 {
        write(attached.window().0, i * page, 1);
    }
    let before = made.resident_bytes().unwrap();
    made.punch(page, 2 * page).unwrap();
    let window = attached.window().0;
    let bytes: Vec<_> = (0..8).map(|i| read(window, i * page)).collect();
    assert_eq!(bytes, [1, 0, 0, 1, 1, 1, 1, 1]);
    // Reading a hole of a shared file maps the zero page in again or not, depending on the kernel; it never
    // holds more than before.
    assert!(made.resident_bytes().unwrap() <= before);
}

#[test]
fn punch_when_the_range_is_wrong_is_refused() {
    let (made, attached) = both();
    let page = made.layout().page_size();
    let kind = |r: io::Result<()>| r.unwrap_err().kind();
    assert_eq!(kind(made.punch(1, page)), io::ErrorKind::InvalidInput);
    assert_eq!(kind(made.punch(0, 9 * page)), io::ErrorKind::InvalidInput);
    assert_eq!(kind(made.punch(usize::MAX - page + 1, 2 * page)), io::ErrorKind::InvalidInput);
    assert_eq!(kind(attached.punch(0, page)), io::ErrorKind::Unsupported);
    assert!(made.punch(8 * page, 0).is_ok());
}

#[test]
fn create_when_sizes_are_wrong_says_which() {
    let error = Region::create(&Limits { ring_size: 5000, ..limits() }).unwrap_err();
    assert!(error.to_string().contains("ring size 5000"), "{error}");
}
