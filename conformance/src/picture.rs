//! Pictures as files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

use crate::{Result, doing};

/// A picture without alpha.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Red, green and blue of each pixel, row by row.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// Reads a PNG with 8 bits of three or four channels.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(path: &Path) -> Result<Self> {
        let about = || format!("reading {}", path.display());
        let file = BufReader::new(File::open(path).map_err(doing(about()))?);
        let wrong = |error: png::DecodingError| doing(about())(std::io::Error::other(error));
        let mut reader = png::Decoder::new(file).read_info().map_err(wrong)?;
        let mut bytes = vec![0; reader.output_buffer_size().unwrap_or_default()];
        let info = reader.next_frame(&mut bytes).map_err(wrong)?;
        let rgb = bytes.chunks_exact(info.color_type.samples()).flat_map(|pixel| pixel[..3].to_vec());
        Ok(Self { width: info.width, height: info.height, rgb: rgb.collect() })
    }

    /// Writes it as a PNG.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let about = || format!("writing {}", path.display());
        let wrong = |error: png::EncodingError| doing(about())(std::io::Error::other(error));
        let file = BufWriter::new(File::create(path).map_err(doing(about()))?);
        let mut encoder = png::Encoder::new(file, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header().and_then(|mut writer| writer.write_image_data(&self.rgb)).map_err(wrong)
    }

    /// Where the other picture lies in this one, if it does: left, top.
    pub fn find(&self, other: &Self) -> Option<(u32, u32)> {
        let row = |picture: &Self, x: u32, y: u32, width: u32| {
            let start = (y * picture.width + x) as usize * 3;
            start..start + width as usize * 3
        };
        let lies = |left: u32, top: u32| {
            (0..other.height).all(|y| {
                let here = &self.rgb[row(self, left, top + y, other.width)];
                here == &other.rgb[row(other, 0, y, other.width)]
            })
        };
        let (across, down) = (self.width.checked_sub(other.width)?, self.height.checked_sub(other.height)?);
        (0..=down).find_map(|top| (0..=across).find(|left| lies(*left, top)).map(|left| (left, top)))
    }

    /// So much of it from its top left corner.
    #[must_use]
    pub fn part(&self, width: u32, height: u32) -> Self {
        let (width, height) = (width.min(self.width), height.min(self.height));
        let row = |y: u32| {
            let start = (y * self.width) as usize * 3;
            &self.rgb[start..start + width as usize * 3]
        };
        Self { width, height, rgb: (0..height).flat_map(row).copied().collect() }
    }

    /// Its colours, and how many pixels have each.
    pub fn colours(&self) -> BTreeMap<[u8; 3], u32> {
        let mut colours = BTreeMap::new();
        for pixel in self.rgb.as_chunks::<3>().0 {
            *colours.entry(*pixel).or_default() += 1;
        }
        colours
    }

    /// How much alike the colours are of what is not the ground, the commonest colour, wherever they are: from 0 to 1. Colours
    /// are taken coarsely.
    pub fn likeness(&self, other: &Self) -> f64 {
        let coarse = |picture: &Self| {
            let mut coarse: BTreeMap<[u8; 3], u32> = BTreeMap::new();
            for (colour, count) in picture.colours() {
                *coarse.entry(colour.map(|channel| channel >> 6)).or_default() += count;
            }
            let ground = coarse.iter().max_by_key(|(_, count)| **count).map(|(colour, _)| *colour);
            coarse.retain(|colour, _| Some(*colour) != ground);
            coarse
        };
        let (ours, theirs) = (coarse(self), coarse(other));
        let common: u32 =
            ours.iter().filter_map(|(colour, count)| Some(*count.min(theirs.get(colour)?))).sum();
        let all: u32 = ours.values().sum::<u32>().max(theirs.values().sum());
        if all == 0 { 1.0 } else { f64::from(common) / f64::from(all) }
    }
}
