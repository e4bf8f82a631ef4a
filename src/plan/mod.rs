//! Plans: what a batch asks for, as indices within chunks and byte offsets within the caller's array.
//!
//! [`selection`] holds index arithmetic (which elements of a chunk), [`regions`] byte arithmetic (where
//! in the array) and the proof that no two chunks write the same byte, [`split`] cuts both along the
//! inner chunks of a shard. No I/O, no codecs, no Python.

pub mod numpy_index;
pub mod regions;
pub mod selection;
pub mod split;

pub use regions::{DisjointRegions, Region, RegionAxis};
pub use selection::{Indices, Selection};

/// Why a selection cannot be planned. The texts follow numpy's, which callers know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// An index lies outside its axis.
    #[error("index {index} is out of bounds for axis {axis} with size {len}")]
    OutOfBounds {
        /// The index as given.
        index: isize,
        /// Axis of the chunk or the array.
        axis: usize,
        /// Length of that axis.
        len: usize,
    },
    /// More indices than axes.
    #[error("too many indices for array: array is {ndim}-dimensional, but {given} were indexed")]
    TooManyIndices {
        /// Axes that there are.
        ndim: usize,
        /// Indices given.
        given: usize,
    },
    /// Index arrays that do not fit together.
    #[error("index arrays of shapes {0:?} cannot be broadcast together")]
    IndexShapes(Vec<Vec<usize>>),
    /// A mask whose shape differs from the axes it covers.
    #[error("boolean index has shape {mask_shape:?} where the array has {axes_shape:?}")]
    MaskShape {
        /// Shape of the mask.
        mask_shape: Vec<usize>,
        /// Lengths of the axes it would cover.
        axes_shape: Vec<usize>,
    },
    /// Source and destination have different shapes.
    #[error("could not broadcast input array from shape {source_shape:?} into shape {target_shape:?}")]
    Broadcast {
        /// Shape of what is assigned.
        source_shape: Vec<usize>,
        /// Shape of the place it goes to.
        target_shape: Vec<usize>,
    },
    /// A form of selection that this engine does not take.
    #[error("{0}")]
    Unsupported(&'static str),
    /// Sizes beyond what memory can hold.
    #[error("the selection is too large")]
    TooLarge,
}
