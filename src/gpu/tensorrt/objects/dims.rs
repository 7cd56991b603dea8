//! Dimensions, in the two layouts that there are.

use crate::error::Result;
use crate::gpu::tensorrt::objects::object::failed;

/// `Dims32`, up to 9.x.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NarrowDims {
    pub count: i32,
    pub d: [i32; 8],
}

/// `Dims64`, from 10.0 on.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WideDims {
    pub count: i32,
    pub d: [i64; 8],
}

impl NarrowDims {
    pub fn new(shape: &[i64]) -> Result<Self> {
        let mut dims = Self {
            count: shape.len() as i32,
            d: [0; 8],
        };
        let fits = shape.len() <= dims.d.len() && shape.iter().all(|v| i32::try_from(*v).is_ok());
        if !fits {
            return Err(failed(format!("{shape:?} is no shape that TensorRT 8 can take")));
        }
        for (to, from) in dims.d.iter_mut().zip(shape) {
            *to = *from as i32;
        }
        Ok(dims)
    }

    pub fn shape(&self) -> Result<Vec<i64>> {
        WideDims {
            count: self.count,
            d: self.d.map(i64::from),
        }
        .shape()
    }
}

impl WideDims {
    pub fn new(shape: &[i64]) -> Result<Self> {
        let mut dims = Self {
            count: shape.len() as i32,
            d: [0; 8],
        };
        let Some(to) = dims.d.get_mut(..shape.len()) else {
            return Err(failed(format!("{shape:?} has more sides than TensorRT takes")));
        };
        to.copy_from_slice(shape);
        Ok(dims)
    }

    /// A count of -1 says that the shape is not known.
    pub fn shape(&self) -> Result<Vec<i64>> {
        let known = usize::try_from(self.count).ok().and_then(|n| self.d.get(..n));
        known
            .map(<[i64]>::to_vec)
            .ok_or_else(|| failed("TensorRT knows no shape of this name"))
    }
}
