//! A wgpu program like any other: it knows nothing of vw. It renders a scene for some frames, lets a compute shader
//! animate it and another one measure it, reads everything back, and prints what it got.
//!
//! Lines of the output: `device`, `driver`, `size`, `frames`, `frames per second`, `image`, `histogram`, `motion`
//! (hashes of what was read back). On one machine all but the first two and the rate are the same in every run.

mod geometry;
mod gpu;
mod matrix;
mod scene;
mod textures;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use crate::gpu::Gpu;
use crate::scene::Scene;

/// Anything that goes wrong ends the program with its text.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(about = "Render a scene with wgpu and say how it went")]
struct Arguments {
    /// Frames to render; the picture is the last one.
    #[arg(long, default_value_t = 30)]
    frames: u32,
    /// Width in pixels.
    #[arg(long, default_value_t = 960)]
    width: u32,
    /// Height in pixels.
    #[arg(long, default_value_t = 540)]
    height: u32,
    /// Where the picture goes, as PNG.
    #[arg(long)]
    output: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vw-wgpu-scene: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let gpu = Gpu::open()?;
    println!("device: {}", gpu.info.name);
    println!("driver: {} {}", gpu.info.driver, gpu.info.driver_info);
    println!("size: {} x {}", arguments.width, arguments.height);

    let scene = Scene::new(&gpu, arguments.width, arguments.height);
    // Pipelines are compiled by their first use on some drivers; that is not what the rate is about.
    scene.frame(&gpu, 0);
    gpu.wait()?;
    let started = Instant::now();
    let mut previous = None;
    for number in 0..arguments.frames {
        let frame = scene.frame(&gpu, number);
        // Two frames are on their way at a time, as with a swapchain.
        if let Some(previous) = previous.replace(frame) {
            gpu.wait_for(previous)?;
        }
    }
    gpu.wait()?;
    let seconds = started.elapsed().as_secs_f64();
    println!("frames: {}", arguments.frames);
    println!("frames per second: {:.1}", f64::from(arguments.frames) / seconds);

    let pixels = gpu.read_texture(&scene.picture)?;
    println!("image: {:016x}", hash(&pixels));
    println!("histogram: {:016x}", hash(&gpu.read_buffer(&scene.histogram)?));
    println!("motion: {:016x}", hash(&gpu.read_buffer(&scene.instances)?));
    if let Some(path) = &arguments.output {
        write_png(path, arguments.width, arguments.height, &pixels)?;
        println!("picture: {}", path.display());
    }
    Ok(())
}

/// FNV-1a: enough to tell two results apart, the same everywhere.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn write_png(path: &Path, width: u32, height: u32, pixels: &[u8]) -> Result<()> {
    let file = File::create(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), width, height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_source_srgb(png::SrgbRenderingIntent::Perceptual);
    encoder.write_header()?.write_image_data(pixels)?;
    Ok(())
}
