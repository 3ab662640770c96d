//! Copies by the host's processor: what the guest says about sizes is checked against the image and the window.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use ash::vk;
use common::{Guest, Renderer, dispatchable, request, ret};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::schema::Command;

/// Bytes of the whole image: 64 x 32 texels of 4 bytes, two layers.
const WHOLE: u64 = 64 * 32 * 4 * 2;

/// Creates image 1.
fn create_image(guest: &mut Guest) {
    let info = vk::ImageCreateInfo::default()
        .image_type(vk::ImageType::TYPE_2D)
        .format(vk::Format::R8G8B8A8_UNORM)
        .extent(vk::Extent3D { width: 64, height: 32, depth: 1 })
        .mip_levels(1)
        .array_layers(2)
        .samples(vk::SampleCountFlags::TYPE_1)
        .usage(vk::ImageUsageFlags::HOST_TRANSFER_EXT);
    let id = 1_u64;
    let args = [dispatchable(1), std::ptr::from_ref(&info) as u64, 0, std::ptr::from_ref(&id) as u64];
    guest.command(&commands::VK_CREATE_IMAGE, &args).unwrap();
}

fn whole(offset: u64) -> vk::MemoryToImageCopyEXT<'static> {
    vk::MemoryToImageCopyEXT::default()
        .host_pointer(std::ptr::without_provenance(offset as usize))
        .image_subresource(vk::ImageSubresourceLayers {
            aspect_mask: vk::ImageAspectFlags::COLOR,
            mip_level: 0,
            base_array_layer: 0,
            layer_count: 2,
        })
        .image_extent(vk::Extent3D { width: 64, height: 32, depth: 1 })
}

/// Copies the region, and returns what the command returned.
fn copy(guest: &mut Guest, cmd: &Command, region: &vk::MemoryToImageCopyEXT<'_>) -> Result<i64, String> {
    let info = vk::CopyMemoryToImageInfoEXT::default()
        .dst_image(vk::Handle::from_raw(1))
        .dst_image_layout(vk::ImageLayout::GENERAL)
        .regions(std::slice::from_ref(region));
    let args = [dispatchable(1), std::ptr::from_ref(&info) as u64];
    Ok(ret(&guest.call(cmd.opcode, &request(cmd, &args))?))
}

const DIRECTIONS: [&Command; 2] = [&commands::VK_COPY_MEMORY_TO_IMAGE, &commands::VK_COPY_IMAGE_TO_MEMORY];

#[test]
fn copy_when_its_texels_are_in_the_window_is_done() {
    let renderer = Renderer::start(&[]);
    let mut guest = renderer.connect();
    let window = guest.connection.region.window().1 as u64;
    assert_eq!(guest.create_device(), Ok(0));
    create_image(&mut guest);
    for cmd in DIRECTIONS {
        for offset in [0, 100, window - WHOLE] {
            assert_eq!(copy(&mut guest, cmd, &whole(offset)), Ok(0), "{} at {offset}", cmd.name);
        }
    }
}

#[test]
fn copy_when_its_texels_are_not_in_the_window_or_image_ends_the_session() {
    type Change = fn(&mut vk::MemoryToImageCopyEXT<'_>);
    let cases: [(&str, Change); 9] = [
        ("bytes of texels", |copy| copy.p_host_pointer = std::ptr::without_provenance(usize::MAX)),
        ("bytes of texels", |copy| copy.p_host_pointer = std::ptr::without_provenance(usize::MAX - 4096)),
        ("Region", |copy| copy.memory_row_length = 65),
        ("Region", |copy| copy.memory_image_height = 1 << 30),
        ("Region", |copy| copy.image_extent.width = 65),
        ("Region", |copy| copy.image_offset.y = -1),
        ("Region", |copy| copy.image_subresource.mip_level = 1),
        ("Region", |copy| copy.image_subresource.layer_count = 3),
        ("Region", |copy| copy.image_subresource.aspect_mask = vk::ImageAspectFlags::DEPTH),
    ];
    let renderer = Renderer::start(&[]);
    for cmd in DIRECTIONS {
        for (reason, change) in cases {
            let mut guest = renderer.connect();
            assert_eq!(guest.create_device(), Ok(0));
            create_image(&mut guest);
            let mut region = whole(0);
            change(&mut region);
            let answer = copy(&mut guest, cmd, &region);
            assert!(answer.is_err(), "{}: {reason}", cmd.name);
            let words = guest.connection.peer.last_words().unwrap_or_default();
            assert!(words.contains(reason), "{words}");
        }
        let mut guest = renderer.connect();
        let beyond = guest.connection.region.window().1 as u64 - WHOLE + 1;
        assert_eq!(guest.create_device(), Ok(0));
        create_image(&mut guest);
        assert!(copy(&mut guest, cmd, &whole(beyond)).is_err());
    }
}

#[test]
fn copy_between_images_when_not_in_them_ends_the_session() {
    let renderer = Renderer::start(&[]);
    for (x, fits) in [(0, true), (1, false)] {
        let mut guest = renderer.connect();
        assert_eq!(guest.create_device(), Ok(0));
        create_image(&mut guest);
        let region = vk::ImageCopy2::default()
            .src_subresource(whole(0).image_subresource)
            .dst_subresource(whole(0).image_subresource)
            .dst_offset(vk::Offset3D { x, y: 0, z: 0 })
            .extent(whole(0).image_extent);
        let info = vk::CopyImageToImageInfoEXT::default()
            .src_image(vk::Handle::from_raw(1))
            .dst_image(vk::Handle::from_raw(1))
            .regions(std::slice::from_ref(&region));
        let cmd = &commands::VK_COPY_IMAGE_TO_IMAGE;
        let args = [dispatchable(1), std::ptr::from_ref(&info) as u64];
        let answer = guest.call(cmd.opcode, &request(cmd, &args)).map(|reply| ret(&reply));
        assert_eq!(answer.is_ok(), fits, "{answer:?}");
    }
}
