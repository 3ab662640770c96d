//! The chart: how every row compares with the native driver, as SVG.

use std::error::Error;

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    BLACK, IntoDrawingArea, IntoLogRange, LogCoord, PathElement, RGBColor, Rectangle, SVGBackend, Text, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoTextStyle};

use crate::collect::{NATIVE, VW};
use crate::results::{Results, RowResult};

/// Pixels: a row, the names at the left, the whole width, head and foot.
const ROW: u32 = 20;
const NAMES: u32 = 460;
const WIDTH: u32 = 1100;
const MARGIN: u32 = 50;

const VW_COLOUR: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const PEER_COLOUR: RGBColor = RGBColor(0xb0, 0xb0, 0xb0);

/// Least and largest factor that the chart shows.
const LEAST: f64 = 0.001;
const MOST: f64 = 100.0;

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<LogCoord<f64>, RangedCoordf64>>;

/// Draws it.
///
/// # Errors
/// What the drawing library says.
pub(crate) fn draw(results: &Results) -> Result<String, Box<dyn Error>> {
    let rows: Vec<&RowResult> = results.rows.iter().filter(|row| row.ratio(VW, NATIVE).is_some()).collect();
    let mut svg = String::new();
    {
        let height = MARGIN * 2 + ROW * rows.len().max(1) as u32;
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE)?;
        let peer = if results.has_peer() { "; grey: Venus, the better mode" } else { "" };
        let title = format!("times better (right) or worse (left) than the native driver. Blue: vw{peer}");
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 15))
            .margin(8)
            .set_left_and_bottom_label_area_size(0)
            .x_label_area_size(24)
            .y_label_area_size(NAMES)
            .build_cartesian_2d((LEAST..MOST).log_scale(), (rows.len() as f64)..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_labels(6)
            .x_label_formatter(&|factor| format!("{factor}"))
            .draw()?;
        for (place, row) in rows.iter().enumerate() {
            draw_row(&mut chart, place as f64, row)?;
        }
        chart.draw_series([PathElement::new([(1.0, 0.0), (1.0, rows.len() as f64)], BLACK)])?;
        area.present()?;
    }
    Ok(svg)
}

fn draw_row(chart: &mut Chart<'_, '_>, place: f64, row: &RowResult) -> Result<(), Box<dyn Error>> {
    let advantage = |side: &str| {
        let ratio = row.ratio(side, NATIVE)?;
        Some(row.better.advantage(ratio, 1.0).clamp(LEAST, MOST))
    };
    let bars = [
        (row.best_peer().and_then(advantage), PEER_COLOUR, 0.10, 0.90),
        (advantage(VW), VW_COLOUR, 0.28, 0.72),
    ];
    for (factor, colour, top, bottom) in bars {
        if let Some(factor) = factor {
            let corners = [(1.0, place + top), (factor, place + bottom)];
            chart.draw_series([Rectangle::new(corners, colour.filled())])?;
        }
    }
    let style = ("sans-serif", 12).into_text_style(chart.plotting_area());
    let style = style.pos(Pos::new(HPos::Right, VPos::Center));
    chart.draw_series([Text::new(row.name.clone(), (LEAST * 0.95, place + 0.5), style)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Machine;
    use crate::row::Row;

    #[test]
    fn chart_when_drawn_names_every_row() {
        let mut results = Results::new(Machine::look());
        for (name, value) in [("a call", 2.0), ("another", 0.5)] {
            let row = results.row(&Row::lower(name, "µs"));
            row.values.insert(NATIVE.into(), vec![Some(1.0)]);
            row.values.insert(VW.into(), vec![Some(value)]);
        }
        let svg = draw(&results).expect("a chart");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("a call") && svg.contains("another"));
    }
}
