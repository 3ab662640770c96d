//! Creation and destruction.

use std::time::Instant;

use ash::vk;

use super::{Bench, Measure};
use crate::row::Row;
use crate::vulkan::{image_info, image_view_info};

pub(super) const ALL: &[Measure] = &[
    Measure {
        name: "buffers",
        rows: &[Row::lower("vkCreateBuffer of a new size + requirements + vkDestroyBuffer", "µs")
            .scaled(0.25, 0.08)],
        run: buffers,
    },
    Measure {
        name: "images",
        rows: &[
            Row::lower("vkCreateImage of a new size + requirements + vkDestroyImage", "µs").scaled(2.0, 0.14)
        ],
        run: images,
    },
    Measure {
        name: "fences",
        rows: &[Row::lower("vkCreateFence + vkDestroyFence", "µs").absolute(0.25)],
        run: |bench| {
            let device = &bench.vulkan.device;
            // SAFETY: Vulkan calls; the new object is used by nothing.
            pairs(bench, || unsafe {
                let fence = device.create_fence(&vk::FenceCreateInfo::default(), None);
                device.destroy_fence(fence.expect("a fence"), None);
            })
        },
    },
    Measure {
        name: "semaphores",
        rows: &[Row::lower("vkCreateSemaphore + vkDestroySemaphore", "µs").absolute(0.25)],
        run: |bench| {
            let device = &bench.vulkan.device;
            // SAFETY: Vulkan calls; the new object is used by nothing.
            pairs(bench, || unsafe {
                let semaphore = device.create_semaphore(&vk::SemaphoreCreateInfo::default(), None);
                device.destroy_semaphore(semaphore.expect("a semaphore"), None);
            })
        },
    },
    Measure {
        name: "samplers",
        rows: &[Row::lower("vkCreateSampler + vkDestroySampler", "µs").absolute(0.25)],
        run: |bench| {
            let device = &bench.vulkan.device;
            // SAFETY: Vulkan calls; the new object is used by nothing.
            pairs(bench, || unsafe {
                let sampler = device.create_sampler(&vk::SamplerCreateInfo::default(), None);
                device.destroy_sampler(sampler.expect("a sampler"), None);
            })
        },
    },
    Measure {
        name: "image-views",
        rows: &[Row::lower("vkCreateImageView + vkDestroyImageView", "µs").absolute(0.25)],
        run: |bench| {
            let device = &bench.vulkan.device;
            let image = bench.vulkan.image(64, 64);
            let info = image_view_info(image.image);
            // SAFETY: Vulkan calls; the new object is used by nothing, its image lives.
            pairs(bench, || unsafe {
                let view = device.create_image_view(&info, None);
                device.destroy_image_view(view.expect("a view"), None);
            })
        },
    },
];

/// Median time of a pair of calls, from batches of them. What the driver has left to do after a batch is not in it.
fn pairs(bench: &Bench, mut pair: impl FnMut()) -> Vec<f64> {
    let batch = bench.effort.batch(2_000);
    let times = bench.effort.timed(50, || {
        let started = Instant::now();
        (0..batch).for_each(|_| pair());
        let elapsed = started.elapsed();
        bench.vulkan.ask();
        elapsed
    });
    vec![times.median() / f64::from(batch)]
}

/// No size is asked for twice, so that no answer can be remembered.
fn buffers(bench: &Bench) -> Vec<f64> {
    let device = &bench.vulkan.device;
    let mut size = 0;
    // SAFETY: Vulkan calls; the new object is used by nothing.
    pairs(bench, || unsafe {
        size += 16;
        let info = vk::BufferCreateInfo::default().size(size).usage(vk::BufferUsageFlags::STORAGE_BUFFER);
        let buffer = device.create_buffer(&info, None).expect("a buffer");
        assert!(device.get_buffer_memory_requirements(buffer).size >= size);
        device.destroy_buffer(buffer, None);
    })
}

/// As [`buffers`].
fn images(bench: &Bench) -> Vec<f64> {
    const WIDTHS: u32 = 4096;
    let device = &bench.vulkan.device;
    let mut number = 0;
    // SAFETY: Vulkan calls; the new object is used by nothing.
    pairs(bench, || unsafe {
        number += 1;
        let extent = vk::Extent2D { width: number % WIDTHS + 1, height: number / WIDTHS + 1 };
        let image = device.create_image(&image_info(extent), None).expect("an image");
        assert!(device.get_image_memory_requirements(image).size > 0);
        device.destroy_image(image, None);
    })
}
