//! Pictures as files.

use std::fs::File;
use std::io::BufReader;
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

    /// How many pixels differ, and by how much at most.
    ///
    /// # Errors
    /// In words when they are not of one size.
    pub fn compare(&self, other: &Self) -> std::result::Result<(usize, u8), String> {
        if (self.width, self.height) != (other.width, other.height) {
            return Err(format!("{}x{} and {}x{}", self.width, self.height, other.width, other.height));
        }
        let apart = |(a, b): (&[u8], &[u8])| a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
        let distances = self.rgb.chunks_exact(3).zip(other.rgb.chunks_exact(3)).map(apart);
        Ok(distances.fold((0, 0), |(count, most), by| (count + usize::from(by > 0), most.max(by))))
    }
}
