//! What a run gave, for people: a table and a chart.

mod chart;
mod markdown;

pub(crate) use chart::draw;
pub(crate) use markdown::{table, write_into};
