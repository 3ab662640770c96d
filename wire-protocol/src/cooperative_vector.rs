//! `VkConvertCooperativeVectorMatrixInfoNV`, newer than the types of ash: for the form that the host's processor runs.

use core::ffi::c_void;

/// `VkConvertCooperativeVectorMatrixInfoNV`
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ConvertInfo {
    /// `VkStructureType`
    pub s_type: i32,
    /// Chain.
    pub p_next: *const c_void,
    /// Bytes of the source.
    pub src_size: usize,
    /// Address of the source; on the wire its offset in the window, or 0.
    pub src_data: u64,
    /// Bytes that there is room for; overwritten with those that were needed.
    pub p_dst_size: *mut usize,
    /// Address of the destination, or 0 to ask for its size; on the wire its offset in the window.
    pub dst_data: u64,
    /// `VkComponentTypeKHR`
    pub src_component_type: i32,
    /// `VkComponentTypeKHR`
    pub dst_component_type: i32,
    /// Rows of the matrix.
    pub num_rows: u32,
    /// Columns of the matrix.
    pub num_columns: u32,
    /// `VkCooperativeVectorMatrixLayoutNV`
    pub src_layout: i32,
    /// Bytes from row to row, or from column to column.
    pub src_stride: usize,
    /// `VkCooperativeVectorMatrixLayoutNV`
    pub dst_layout: i32,
    /// As `src_stride`.
    pub dst_stride: usize,
}

/// `VK_COOPERATIVE_VECTOR_MATRIX_LAYOUT_ROW_MAJOR_NV`
pub const ROW_MAJOR: i32 = 0;

/// `VK_COOPERATIVE_VECTOR_MATRIX_LAYOUT_COLUMN_MAJOR_NV`
pub const COLUMN_MAJOR: i32 = 1;

impl ConvertInfo {
    /// Bytes from the first component of the source to the end of the last one; `None` where the layout is the
    /// driver's own, the type unknown or the size too large to count.
    pub fn source_bytes(&self) -> Option<usize> {
        let component = component_size(self.src_component_type)?;
        let (lines, length) = match self.src_layout {
            ROW_MAJOR => (self.num_rows, self.num_columns),
            COLUMN_MAJOR => (self.num_columns, self.num_rows),
            _ => return None,
        };
        let Some(before) = (lines as usize).checked_sub(1) else { return Some(0) };
        before.checked_mul(self.src_stride)?.checked_add((length as usize).checked_mul(component)?)
    }
}

/// Bytes of a `VkComponentTypeKHR`.
pub fn component_size(ty: i32) -> Option<usize> {
    Some(match ty {
        // 8 bits, packed ones and floats among them.
        3 | 7 | 1_000_491_000..=1_000_491_003 => 1,
        0 | 4 | 8 => 2,
        1 | 5 | 9 => 4,
        2 | 6 | 10 => 8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::structs::VK_CONVERT_COOPERATIVE_VECTOR_MATRIX_INFO_NV;

    #[test]
    fn info_when_laid_out_is_the_tables() {
        assert_eq!(size_of::<ConvertInfo>(), VK_CONVERT_COOPERATIVE_VECTOR_MATRIX_INFO_NV.size as usize);
    }

    #[test]
    fn source_when_in_rows_or_columns_ends_with_its_last_component() {
        let mut info = ConvertInfo {
            s_type: 0,
            p_next: std::ptr::null(),
            src_size: 0,
            src_data: 0,
            p_dst_size: std::ptr::null_mut(),
            dst_data: 0,
            src_component_type: 1,
            dst_component_type: 0,
            num_rows: 3,
            num_columns: 5,
            src_layout: ROW_MAJOR,
            src_stride: 32,
            dst_layout: 2,
            dst_stride: 0,
        };
        assert_eq!(info.source_bytes(), Some(2 * 32 + 20));
        info.src_layout = COLUMN_MAJOR;
        assert_eq!(info.source_bytes(), Some(4 * 32 + 12));
        info.src_stride = usize::MAX / 2;
        assert_eq!(info.source_bytes(), None);
        (info.src_stride, info.src_layout) = (32, 2);
        assert_eq!(info.source_bytes(), None);
        (info.src_layout, info.src_component_type) = (ROW_MAJOR, 77);
        assert_eq!(info.source_bytes(), None);
    }
}
