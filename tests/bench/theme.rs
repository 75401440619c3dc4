//! What all pictures share: their colours on a light and on a dark page, their width and the size of their text. They are
//! narrow, so that a phone shows them without shrinking the text much.

use std::error::Error;
use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub type Drawn = Result<(), Box<dyn Error>>;

pub const WIDTH: i32 = 520;

pub struct Theme {
    /// The ending of the file's name, before `.svg`.
    ending: &'static str,
    pub background: RGBColor,
    pub ink: RGBColor,
}

const THEMES: [Theme; 2] = [
    Theme { ending: "", background: WHITE, ink: RGBColor(31, 35, 40) },
    Theme { ending: "-dark", background: RGBColor(13, 17, 23), ink: RGBColor(230, 237, 243) },
];

/// Draws a picture of that height into two files: `path`, and the one with `-dark` in its name.
pub fn draw_themes(path: &Path, height: i32, draw: impl Fn(&Area, &Theme) -> Drawn) -> Drawn {
    for theme in &THEMES {
        let path = theme.path(path);
        let size = (WIDTH.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::new(&path, size).into_drawing_area();
        area.fill(&theme.background)?;
        draw(&area, theme)?;
        area.present()?;
    }
    Ok(())
}

impl Theme {
    fn path(&self, path: &Path) -> PathBuf {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        path.with_file_name(format!("{name}{}.svg", self.ending))
    }

    /// Writes one line, its middle at the height of `at`. The size is in pixels.
    pub fn write(&self, area: &Area, words: &str, size: f64, at: (i32, i32), side: HPos) -> Drawn {
        self.write_in(&self.ink, area, words, size, at, side)
    }

    pub fn write_in(
        &self,
        ink: &RGBColor,
        area: &Area,
        words: &str,
        size: f64,
        at: (i32, i32),
        side: HPos,
    ) -> Drawn {
        // Plotters takes the height of a line, not that of the type.
        let style = ("sans-serif", size * 1.24).into_font().color(ink).pos(Pos::new(side, VPos::Center));
        Ok(area.draw(&Text::new(words.to_owned(), at, style))?)
    }
}
