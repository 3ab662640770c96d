//! A picture into the pixels of a window.

use vw_host_renderer::frames::picture::{Format, Picture};

/// Paints all of a picture into `pixels`, `width` in a row, of which there are `height`: each pixel is the texel that is
/// nearest.
pub(crate) fn fit(picture: &Picture, pixels: &mut [u32], width: usize, height: usize) {
    let (across, down) = (picture.width as usize, picture.height as usize);
    let (texels, _) = picture.texels.as_chunks::<{ Format::TEXEL }>();
    let columns: Vec<usize> = (0..width).map(|x| x * across / width).collect();
    for (y, row) in pixels.chunks_exact_mut(width).take(height).enumerate() {
        let start = y * down / height * across;
        for (pixel, column) in row.iter_mut().zip(&columns) {
            let [red, green, blue] = picture.format.rgb(texels[start + column]);
            *pixel = u32::from_be_bytes([0, red, green, blue]);
        }
    }
}

#[cfg(test)]
mod tests {
    use vw_host_renderer::frames::surfaces::Number;

    use super::*;

    #[test]
    fn picture_when_the_window_has_another_size_fills_it() {
        let texels = [[1, 2, 3, 255], [4, 5, 6, 255]].concat();
        let picture = Picture {
            serial: 1,
            surface: Number::MIN,
            width: 2,
            height: 1,
            format: Format::Rgba,
            done: 0,
            shown: 0,
            texels,
        };
        let mut pixels = [0; 8];
        fit(&picture, &mut pixels, 4, 2);
        assert_eq!(pixels, [0x0001_0203, 0x0001_0203, 0x0004_0506, 0x0004_0506].repeat(2).as_slice());
        let mut pixels = [0; 1];
        fit(&picture, &mut pixels, 1, 1);
        assert_eq!(pixels, [0x0001_0203]);
    }
}
