use std::ptr;

use ash::vk;

use super::*;

fn properties() -> Chain {
    let layouts = [vk::ImageLayout::GENERAL, vk::ImageLayout::TRANSFER_SRC_OPTIMAL];
    let mut host_copy = vk::PhysicalDeviceHostImageCopyPropertiesEXT {
        copy_src_layout_count: 2,
        p_copy_src_layouts: layouts.as_ptr().cast_mut(),
        identical_memory_type_requirements: 1,
        ..Default::default()
    };
    let mut driver =
        vk::PhysicalDeviceDriverProperties { driver_id: vk::DriverId::MESA_LLVMPIPE, ..Default::default() };
    driver.p_next = ptr::from_mut(&mut host_copy).cast();
    let mut root =
        vk::PhysicalDeviceProperties2 { p_next: ptr::from_mut(&mut driver).cast(), ..Default::default() };
    root.properties.api_version = vk::API_VERSION_1_3;
    root.properties.limits.max_image_dimension2_d = 4096;
    // SAFETY: a valid chain.
    unsafe { Chain::capture(&structs::VK_PHYSICAL_DEVICE_PROPERTIES_2, ptr::from_ref(&root).cast()) }
}

fn facts() -> Facts {
    Facts {
        api_version: vk::API_VERSION_1_3,
        extensions: vec![
            ExtensionFact { name: "VK_EXT_a".into(), spec_version: 2 },
            ExtensionFact { name: "VK_KHR_b".into(), spec_version: 1 },
        ],
        properties: properties(),
        features: Chain::new(&structs::VK_PHYSICAL_DEVICE_FEATURES_2),
        memory: Chain::new(&structs::VK_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2),
        queue_families: vec![Chain::new(&structs::VK_QUEUE_FAMILY_PROPERTIES_2)],
        formats: vec![FormatFact { format: 37, features: [1, 2, 3], features2: [4, 5, 6] }],
    }
}

#[test]
fn facts_when_encoded_and_decoded_are_the_same() {
    let facts = facts();
    let decoded = Facts::decode(&facts.encode()).unwrap();
    assert_eq!(decoded, facts);
    assert!(decoded.has_extension("VK_KHR_b") && !decoded.has_extension("VK_KHR_c"));
    assert_eq!(decoded.format(37).unwrap().features2, [4, 5, 6]);
    assert!(decoded.format(38).is_none());
}

#[test]
fn decode_when_cut_anywhere_or_flipped_does_not_panic() {
    let bytes = facts().encode();
    for end in 0..bytes.len() {
        assert!(Facts::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x81;
        let _ = Facts::decode(&bytes);
    }
}

#[test]
fn fill_when_arrays_are_null_gives_counts_and_then_elements() {
    let chain = properties();
    let mut host_copy = vk::PhysicalDeviceHostImageCopyPropertiesEXT::default();
    let mut unknown =
        vk::BufferCreateInfo { size: 77, p_next: ptr::from_mut(&mut host_copy).cast(), ..Default::default() };
    let mut root =
        vk::PhysicalDeviceProperties2 { p_next: ptr::from_mut(&mut unknown).cast(), ..Default::default() };
    // SAFETY: a valid chain of writable structures.
    unsafe { chain.fill(ptr::from_mut(&mut root).cast()) };
    assert_eq!(root.properties.limits.max_image_dimension2_d, 4096);
    assert_eq!(root.p_next, ptr::from_mut(&mut unknown).cast());
    assert_eq!(unknown.size, 77);
    assert_eq!((host_copy.copy_src_layout_count, host_copy.copy_dst_layout_count), (2, 0));
    assert_eq!(host_copy.identical_memory_type_requirements, 1);

    let mut layouts = [vk::ImageLayout::UNDEFINED; 3];
    host_copy.copy_src_layout_count = 3;
    host_copy.p_copy_src_layouts = layouts.as_mut_ptr();
    // SAFETY: a valid chain of writable structures, the array of 3 elements.
    unsafe { chain.fill(ptr::from_mut(&mut root).cast()) };
    assert_eq!(host_copy.copy_src_layout_count, 2);
    assert!(layouts[1] == vk::ImageLayout::TRANSFER_SRC_OPTIMAL);

    host_copy.copy_src_layout_count = 1;
    // SAFETY: as above.
    unsafe { chain.fill(ptr::from_mut(&mut root).cast()) };
    assert_eq!(host_copy.copy_src_layout_count, 1);
}

#[test]
fn get_mut_when_patched_is_seen_by_fill() {
    let mut chain = properties();
    let driver = vk::StructureType::PHYSICAL_DEVICE_DRIVER_PROPERTIES.as_raw();
    // SAFETY: the body is of this structure type.
    unsafe { chain.body_mut(driver).unwrap().get_mut::<vk::PhysicalDeviceDriverProperties<'_>>() }
        .conformance_version
        .major = 9;
    let mut target = vk::PhysicalDeviceDriverProperties::default();
    let mut root =
        vk::PhysicalDeviceProperties2 { p_next: ptr::from_mut(&mut target).cast(), ..Default::default() };
    // SAFETY: a valid chain of writable structures.
    unsafe { chain.fill(ptr::from_mut(&mut root).cast()) };
    assert_eq!(target.conformance_version.major, 9);
    chain.remove(driver);
    assert!(chain.body(driver).is_none());
}
