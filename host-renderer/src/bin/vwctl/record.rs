//! Frames to files.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use vw_host_renderer::control::Pictures;
use vw_host_renderer::frames::picture::{Format, Picture};

/// How long a session may take to present.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many frames may wait to be written while others come.
const BEHIND: usize = 64;

/// The last frame, or the first if there is none yet, as a PNG.
pub(crate) fn screenshot(pictures: &mut Pictures, file: &Path) -> io::Result<()> {
    let picture = next(pictures)?;
    write_png(&picture, file)?;
    let Picture { serial, width, height, surface, .. } = picture;
    println!("frame {serial}: {width} x {height}, surface {surface}");
    Ok(())
}

/// So many frames, or all until the session ends, each in a file that has its number and size in its name.
pub(crate) fn record(
    pictures: &mut Pictures,
    folder: &Path,
    frames: Option<u64>,
    raw: bool,
) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let (send, written) = sync_channel::<Picture>(BEHIND);
    thread::scope(|scope| {
        let writer = scope.spawn(move || written.iter().try_for_each(|picture| write(&picture, folder, raw)));
        let (mut recorded, mut first, mut last) = (0, 0, 0);
        let ended = loop {
            if frames.is_some_and(|frames| recorded >= frames) {
                break Ok(());
            }
            let picture = match next(pictures) {
                Ok(picture) => picture,
                Err(error) if recorded > 0 && is_over(&error) => break Ok(()),
                Err(error) => break Err(error),
            };
            if recorded == 0 {
                first = picture.serial;
            }
            (recorded, last) = (recorded + 1, picture.serial);
            // It has failed, and says why.
            if send.send(picture).is_err() {
                break Ok(());
            }
        };
        drop(send);
        writer.join().unwrap_or_else(|_| Err(io::Error::other("writing panicked")))?;
        ended?;
        let all = if recorded == 0 { 0 } else { last - first + 1 };
        let missed = all.saturating_sub(recorded);
        println!("{recorded} frames in {}; {missed} between them came too fast", folder.display());
        Ok(())
    })
}

fn write(picture: &Picture, folder: &Path, raw: bool) -> io::Result<()> {
    let name = format!("{:08}-{}x{}", picture.serial, picture.width, picture.height);
    match (raw, picture.format) {
        (false, _) => write_png(picture, &folder.join(name + ".png")),
        (true, Format::Bgra) => std::fs::write(folder.join(name + ".bgra"), &picture.texels),
        (true, Format::Rgba) => std::fs::write(folder.join(name + ".rgba"), &picture.texels),
    }
}

fn next(pictures: &mut Pictures) -> io::Result<Picture> {
    pictures.next(PATIENCE).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => io::Error::new(error.kind(), "the session presents nothing"),
        ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "the session is over"),
        _ => error,
    })
}

/// Whether it is an error that ends a recording well.
fn is_over(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::WouldBlock)
}

fn write_png(picture: &Picture, file: &Path) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(file)?);
    let mut encoder = png::Encoder::new(&mut out, picture.width, picture.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    encoder.write_header()?.write_image_data(&picture.rgb())?;
    out.flush()
}
