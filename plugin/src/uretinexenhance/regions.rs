//! The rectangles of a frame that are left alone, or are enhanced alone: from a property, and from metas of buffers.

use std::sync::Arc;

use gst::glib;
use uretinex::{Error, ErrorKind, Region};

use super::choices::RegionsMode;

/// The regions of the property, and what is done with them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Regions {
    pub list: Arc<[Region]>,
    pub mode: RegionsMode,
    /// Regions of interest of this type, which come with buffers, are regions too.
    pub meta: Option<glib::GString>,
}

impl Regions {
    /// The regions of a frame: those of the property, and those that came with it.
    pub fn of(&self, buffer: &gst::BufferRef) -> Arc<[Region]> {
        let Some(wanted) = &self.meta else {
            return self.list.clone();
        };
        let mut list: Vec<_> = self.list.to_vec();
        for meta in buffer.iter_meta::<gst_video::VideoRegionOfInterestMeta>() {
            if meta.roi_type() == wanted.as_str() {
                let (x, y, width, height) = meta.rect();
                let [x, y, width, height] = [x, y, width, height].map(|side| side as usize);
                list.push(Region { x, y, width, height });
            }
        }
        list.into()
    }
}

/// Reads `X,Y,WIDTH,HEIGHT`, several with `;` between them; nothing is no region.
///
/// # Errors
/// [`ErrorKind::InvalidOption`] naming what cannot be read.
pub(super) fn parse_regions(text: &str) -> Result<Arc<[Region]>, Error> {
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let numbers: Option<Vec<usize>> = part.split(',').map(|n| n.trim().parse().ok()).collect();
            match numbers.as_deref() {
                Some(&[x, y, width, height])
                    if width > 0 && height > 0 && [x, y, width, height].iter().all(|n| *n <= uretinex::MAX_SIDE) =>
                {
                    Ok(Region { x, y, width, height })
                }
                _ => Err(Error::new(
                    ErrorKind::InvalidOption,
                    format!(
                        "`{part}` is no region: give X,Y,WIDTH,HEIGHT in pixels, whole numbers up to {}, with `;` between \
                         regions",
                        uretinex::MAX_SIDE
                    ),
                )),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_read_or_refused_with_a_reason() {
        let region = |x, y, width, height| Region { x, y, width, height };
        for (text, expected) in [
            ("", vec![]),
            (" ; ", vec![]),
            ("1,2,3,4", vec![region(1, 2, 3, 4)]),
            (" 1, 2,3,4 ;5,6,7,8;", vec![region(1, 2, 3, 4), region(5, 6, 7, 8)]),
        ] {
            assert_eq!(parse_regions(text).unwrap().to_vec(), expected, "{text}");
        }
        for text in [
            "1,2,3",
            "1,2,3,4,5",
            "a,b,c,d",
            "-1,2,3,4",
            "1,2,0,4",
            "1,2,3,9999",
            "1.5,2,3,4",
            "1,2,3,4;x",
        ] {
            let error = parse_regions(text).unwrap_err();
            assert!(error.to_string().contains("X,Y,WIDTH,HEIGHT"), "{error}");
        }
    }
}
