//! The likely meaning of a misspelt option or field.

use crate::error::Meant;

/// The known name that `name` probably misspells: most of its letters are right.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |other: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase());
    known
        .iter()
        .copied()
        .map(|known| (distance(known), known))
        .min()
        .filter(|(distance, _)| *distance <= 2 && 2 * distance < name.chars().count())
        .map(|(_, known)| known)
}

/// A name in small letters and without underscores.
fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "")
}

/// Other names that people use for options, in small letters and without underscores.
const OPTION_SYNONYMS: [(&str, &str); 27] = [
    ("args", "tasks"),
    ("func", "tasks"),
    ("fn", "tasks"),
    ("functions", "tasks"),
    ("jobs", "tasks"),
    ("callback", "onComplete"),
    ("done", "onComplete"),
    ("ondone", "onComplete"),
    ("onend", "onComplete"),
    ("onfinish", "onComplete"),
    ("onfinished", "onComplete"),
    ("cores", "workers"),
    ("maxthreads", "workers"),
    ("maxworkers", "workers"),
    ("numthreads", "workers"),
    ("numworkers", "workers"),
    ("threads", "workers"),
    ("workercount", "workers"),
    ("maxtime", "timeout"),
    ("timelimit", "timeout"),
    ("timeoutms", "timeout"),
    ("timeoutseconds", "timeout"),
    ("maxmemory", "memoryLimit"),
    ("memory", "memoryLimit"),
    ("batchsize", "chunk"),
    ("chunksize", "chunk"),
    ("title", "progress"),
];

/// The known option that an unknown name probably means: another name for it, or a misspelling.
pub fn option<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = plain(name);
    let synonym = OPTION_SYNONYMS.iter().find(|(synonym, _)| *synonym == plain);
    let meant = synonym.and_then(|(_, option)| known.iter().copied().find(|known| known == option));
    meant.or_else(|| nearest(name, known))
}

/// Other names that people use for a task's fields, in small letters and without underscores.
const SYNONYMS: [(&str, &str); 14] = [
    ("arg", "args"),
    ("argument", "args"),
    ("arguments", "args"),
    ("param", "args"),
    ("params", "args"),
    ("parameters", "args"),
    ("callback", "func"),
    ("fn", "func"),
    ("fun", "func"),
    ("function", "func"),
    ("maxtime", "timeout"),
    ("timelimit", "timeout"),
    ("timeoutms", "timeout"),
    ("timeoutseconds", "timeout"),
];

/// Words one letter away from a task's field that are probably the caller's own fields.
const ORDINARY_WORDS: [&str; 16] = [
    "arcs", "ares", "arms", "arts", "came", "dame", "fame", "fund", "funk", "game", "lame", "named", "names",
    "nave", "same", "tame",
];

/// The likely meaning of a field that a task should not have: a misspelling or a synonym of one of `fields`, or an option of the
/// job. None if the field is the caller's own.
pub fn misnamed(
    name: &str,
    fields: &[&'static str],
    mut options: impl Iterator<Item = &'static str>,
) -> Option<Meant> {
    // `_name` is the caller's own.
    if name.starts_with('_') || name.ends_with('_') {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let plain = plain(name);
    if let Some(field) = fields.iter().find(|field| **field == plain) {
        return Some(Meant::Field(field));
    }
    if let Some(option) = options.find(|option| option.to_ascii_lowercase() == plain) {
        return Some(Meant::Option(option));
    }
    let synonym = SYNONYMS.iter().find(|(synonym, _)| *synonym == plain).map(|(_, field)| *field);
    let is_slip = |field: &str| {
        lower.len().abs_diff(field.len()) <= 1
            && strsim::generic_damerau_levenshtein(lower.as_bytes(), field.as_bytes()) <= 1
    };
    let slip = || fields.iter().copied().find(|field| !ORDINARY_WORDS.contains(&name) && is_slip(field));
    synonym.or_else(slip).map(Meant::Field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_with_few_right_letters_is_no_misspelling() {
        assert_eq!(nearest("tsk", &["task", "os"]), Some("task"));
        assert_eq!(nearest("wrokesr", &["workers"]), Some("workers"));
        for (name, known) in [("", "A"), ("gma", "A"), ("host", "os"), ("io", "os"), ("fn", "func")] {
            assert_eq!(nearest(name, &[known]), None, "{name}");
        }
    }

    #[test]
    fn only_misspelt_fields_of_a_task_are_reported() {
        const FIELDS: [&str; 4] = ["func", "args", "name", "timeout"];
        const OPTIONS: [&str; 3] = ["tasks", "timeout", "stopOnError"];
        let misnamed = |name: &str| misnamed(name, &FIELDS, OPTIONS.into_iter());
        for own in [
            "id", "note", "label", "data", "date", "game", "names", "node", "tags", "size", "area", "unit",
            "kind", "type", "index", "value", "fixture", "x", "", "n", "chunk", "title", "arms", "fund",
            "time", "_name", "_timeout", "name_",
        ] {
            assert_eq!(misnamed(own), None, "{own}");
        }
        for (slip, meant) in [
            ("fucn", "func"),
            ("Func", "func"),
            ("fnc", "func"),
            ("funcc", "func"),
            ("fumc", "func"),
            ("fn", "func"),
            ("agrs", "args"),
            ("ARGS", "args"),
            ("arg", "args"),
            ("Arguments", "args"),
            ("params", "args"),
            ("nmae", "name"),
            ("Name", "name"),
            ("nam", "name"),
            ("nsme", "name"),
            ("callback", "func"),
            ("timeOut", "timeout"),
            ("timout", "timeout"),
            ("time_out", "timeout"),
            ("timeout_ms", "timeout"),
            ("timeLimit", "timeout"),
        ] {
            assert_eq!(misnamed(slip), Some(Meant::Field(meant)), "{slip}");
        }
        assert_eq!(misnamed("stop_on_error"), Some(Meant::Option("stopOnError")));
        for option in ["tasks", "stopOnError"] {
            assert_eq!(misnamed(option), Some(Meant::Option(option)));
            assert_eq!(misnamed(&option.to_ascii_uppercase()), Some(Meant::Option(option)));
        }
    }
}
