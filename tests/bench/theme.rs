//! The colours of the plots: each is drawn for a light and for a dark page.

use plotters::prelude::*;

pub struct Theme {
    /// The ending of the file's name, before `.svg`.
    pub ending: &'static str,
    pub background: RGBColor,
    pub ink: RGBColor,
}

pub const THEMES: [Theme; 2] = [
    Theme { ending: "", background: WHITE, ink: RGBColor(31, 35, 40) },
    Theme { ending: "-dark", background: RGBColor(13, 17, 23), ink: RGBColor(230, 237, 243) },
];

impl Theme {
    pub fn text(&self, size: i32) -> TextStyle<'static> {
        ("sans-serif", size).into_font().color(&self.ink)
    }
}
