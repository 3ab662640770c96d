//! What a case prints: lines of `case/label: value`.

use std::cell::Cell;
use std::fmt::Display;
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

/// The lines of one case.
pub(crate) struct Report {
    case: &'static str,
    dump: Option<PathBuf>,
    images: Cell<u32>,
}

impl Report {
    pub(crate) fn new(case: &'static str, dump: Option<PathBuf>) -> Self {
        Self { case, dump, images: Cell::new(0) }
    }

    /// Prints a value.
    pub(crate) fn line(&self, label: &str, value: impl Display) {
        println!("{}/{label}: {value}", self.case);
    }

    /// Prints a return code, or whatever else shows best by `Debug`.
    pub(crate) fn debug(&self, label: &str, value: impl std::fmt::Debug) {
        println!("{}/{label}: {value:?}", self.case);
    }

    /// Prints a structure, a line for each of its fields.
    pub(crate) fn fields(&self, label: &str, value: impl std::fmt::Debug) {
        for line in format!("{value:#?}").lines() {
            println!("{}/{label}: {}", self.case, line.trim().trim_end_matches(','));
        }
    }

    /// Prints the length and the hash of bytes.
    pub(crate) fn bytes(&self, label: &str, bytes: &[u8]) {
        println!("{}/{label}: {} bytes {:016x}", self.case, bytes.len(), hash(bytes));
    }

    /// Prints words as they are.
    pub(crate) fn words(&self, label: &str, words: &[u32]) {
        println!("{}/{label}: {words:x?}", self.case);
    }

    /// Prints the hash of RGBA pixels of 8 bits and, if asked to, writes them as PNG.
    pub(crate) fn pixels(&self, label: &str, width: u32, height: u32, pixels: &[u8]) {
        self.bytes(label, pixels);
        let number = self.images.replace(self.images.get() + 1);
        let Some(folder) = &self.dump else { return };
        let path = folder.join(format!("{}-{number:02}-{}.png", self.case, label.replace(['/', ' '], "-")));
        let file = File::create(&path).expect("the dump folder can be written");
        let mut encoder = png::Encoder::new(BufWriter::new(file), width, height);
        encoder.set_color(png::ColorType::Rgba);
        encoder.write_header().expect("a PNG header").write_image_data(pixels).expect("PNG data");
    }
}

/// FNV-1a of 64 bits.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
