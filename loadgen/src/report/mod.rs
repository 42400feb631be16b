//! What people and programs get to see of an [`Outcome`](crate::outcome::Outcome).
//!
//! | module | makes of it |
//! | --- | --- |
//! | [`live`] | a line in a terminal while the run goes on |
//! | [`table`] | the text at the end |
//! | [`reading`] | what the figures mean, in sentences |
//! | [`hdr`] | HdrHistogram's `.hgrm` and `.hlog` |
//! | [`html`], [`pictures`] | one page with pictures |
//! | [`assertion`] | thresholds that hold or do not |
//! | [`compare`], [`compared`], [`quantile`] | two runs side by side, and how sure that is |
//! | [`publish`] | all of the above where they were asked for, and the exit code |

pub mod assertion;
pub mod compare;
pub mod compared;
pub mod hdr;
pub mod html;
pub mod live;
pub mod pictures;
pub mod publish;
pub mod quantile;
pub mod reading;
pub mod table;
