//! A picture of a frame, and how it travels from a session's process to who looks.

use std::io::{self, Read, Write};

use ash::vk;

use super::surfaces::Number;

/// The first bytes of a picture; an answer without them is an error in words.
const MAGIC: [u8; 8] = *b"vwframe\n";

/// Longest side of a picture, in texels.
pub const MAX_SIDE: u32 = 32768;

/// Most that is read of an error, in bytes.
const MAX_ERROR: u64 = 4096;

/// What the four bytes of a texel are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Blue, green, red, alpha.
    Bgra,
    /// Red, green, blue, alpha.
    Rgba,
}

impl Format {
    /// Bytes of a texel.
    pub const TEXEL: usize = 4;

    /// Of an image with this format; none for one that no swapchain has. What is shown of sRGB images are their bytes as
    /// they are.
    pub fn of(format: vk::Format) -> Option<Self> {
        match format {
            vk::Format::B8G8R8A8_SRGB | vk::Format::B8G8R8A8_UNORM => Some(Self::Bgra),
            vk::Format::R8G8B8A8_SRGB | vk::Format::R8G8B8A8_UNORM => Some(Self::Rgba),
            _ => None,
        }
    }

    /// Red, green and blue of a texel.
    pub fn rgb(self, texel: [u8; Self::TEXEL]) -> [u8; 3] {
        let [a, b, c, _] = texel;
        match self {
            Self::Bgra => [c, b, a],
            Self::Rgba => [a, b, c],
        }
    }
}

/// A frame as it was when it was complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The frame's number, counted from 1: at its surface if one was chosen, else in its session.
    pub serial: u64,
    /// The number of its surface in the session.
    pub surface: Number,
    /// Texels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// What its texels are.
    pub format: Format,
    /// Nanoseconds from its submission until it was complete.
    pub done: u64,
    /// Nanoseconds from the submission of a frame shortly before it until that was seen, as the guest says; 0 if nothing is
    /// known.
    pub shown: u64,
    /// Its texels, row by row.
    pub texels: Vec<u8>,
}

impl Picture {
    /// Writes it for [`read`](Self::read).
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut head = Vec::with_capacity(64);
        head.extend_from_slice(&MAGIC);
        for number in [self.serial, self.done, self.shown] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        let rgba = u32::from(self.format == Format::Rgba);
        for number in [self.surface.get(), self.width, self.height, rgba] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        to.write_all(&head)?;
        to.write_all(&self.texels)
    }

    /// Reads one. What a session's process says is not trusted.
    ///
    /// # Errors
    /// What the reader says; `UnexpectedEof` where there is none any more; `Other` with the error that came instead, in
    /// words.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic)?;
        if magic != MAGIC {
            let mut text = magic.to_vec();
            // However it ends: what has come is there.
            let _ = from.take(MAX_ERROR).read_to_end(&mut text);
            let text = String::from_utf8_lossy(&text);
            return Err(io::Error::other(text.trim_start_matches("error: ").trim_end().to_owned()));
        }
        let (mut long, mut short) = ([0; 8], [0; 4]);
        let mut longs = [0; 3];
        for number in &mut longs {
            from.read_exact(&mut long)?;
            *number = u64::from_le_bytes(long);
        }
        let mut shorts = [0; 4];
        for number in &mut shorts {
            from.read_exact(&mut short)?;
            *number = u32::from_le_bytes(short);
        }
        let ([serial, done, shown], [surface, width, height, rgba]) = (longs, shorts);
        let Some(surface) = Number::new(surface) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a picture of no surface"));
        };
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            let what = format!("a picture of {width} x {height} texels");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let format = if rgba == 0 { Format::Bgra } else { Format::Rgba };
        let mut texels = vec![0; width as usize * height as usize * Format::TEXEL];
        from.read_exact(&mut texels)?;
        Ok(Self { serial, surface, width, height, format, done, shown, texels })
    }

    /// Red, green and blue of its texels, row by row. What is shown of a frame is opaque.
    pub fn rgb(&self) -> Vec<u8> {
        let (texels, _) = self.texels.as_chunks::<{ Format::TEXEL }>();
        texels.iter().flat_map(|texel| self.format.rgb(*texel)).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn picture() -> Picture {
        Picture {
            serial: 1,
            surface: Number::MIN,
            width: 2,
            height: 1,
            format: Format::Bgra,
            done: 3,
            shown: 4,
            texels: vec![1, 2, 3, 4, 5, 6, 7, 8],
        }
    }

    #[test]
    fn picture_when_written_and_read_is_the_same() {
        let mut bytes = Vec::new();
        picture().write(&mut bytes).unwrap();
        assert_eq!(Picture::read(&mut bytes.as_slice()).unwrap(), picture());
        assert_eq!(picture().rgb(), [3, 2, 1, 7, 6, 5]);
        let cut = Picture::read(&mut &bytes[..bytes.len() - 1]).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        bytes[36] = 0;
        assert!(Picture::read(&mut bytes.as_slice()).unwrap_err().to_string().contains("0 x 1"));
    }

    #[test]
    fn answer_when_it_is_words_is_an_error_with_them() {
        let error = Picture::read(&mut b"error: there is no session 7\n".as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "there is no session 7");
    }
}
