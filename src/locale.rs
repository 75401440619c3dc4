//! `os.setlocale` in a task: the locale is the process's, so it is told and never changed.

use crate::ffi::{Exit, NativeResult, Protected, Type};

/// Asking is harmless; a change would be the host's, too. So what is there already can be set, and all else gives nil, which
/// is how Lua says that it was refused.
pub fn set(stack: &Protected) -> NativeResult {
    let category = match stack.kind(2) {
        Type::None | Type::Nil => Some("LC_ALL"),
        Type::String => {
            CATEGORIES.iter().find(|(name, _)| name.as_bytes() == stack.bytes(2)).map(|found| found.1)
        }
        _ => None,
    };
    let (Type::String | Type::Number, Some(category)) = (stack.kind(1), category) else {
        // Without a locale it is a question; with a wrong category, Lua says so before it sets anything.
        if category.is_none() && matches!(stack.kind(1), Type::String | Type::Number) {
            stack.push_nil();
            stack.replace(1);
        }
        return Err(Exit::TailCallOriginal);
    };
    stack.set_top(2);
    stack.push_upvalue(1);
    stack.push_nil();
    stack.push_value(2);
    stack.call(2, 1);
    let (wanted, there) = (stack.bytes(1), stack.bytes(3));
    let is_there = match wanted {
        // No locale is called like a number.
        _ if stack.kind(1) == Type::Number => false,
        b"" => is_native_locale(there, category),
        b"POSIX" => there == b"C",
        wanted => wanted == there,
    };
    if !is_there {
        stack.push_nil();
    }
    Ok(1)
}

/// The categories of a locale: as Lua names them, and their variables in the environment.
const CATEGORIES: [(&str, &str); 6] = [
    ("all", "LC_ALL"),
    ("collate", "LC_COLLATE"),
    ("ctype", "LC_CTYPE"),
    ("monetary", "LC_MONETARY"),
    ("numeric", "LC_NUMERIC"),
    ("time", "LC_TIME"),
];

/// Whether a locale is the one that the environment asks for in a category, as far as that is known: in all of them, where
/// they are not one and the same, nobody says which.
fn is_native_locale(name: &[u8], category: &str) -> bool {
    /// All that there are on a system of ours, beside those that Lua knows.
    const OTHERS: [&str; 7] = [
        "LC_MESSAGES",
        "LC_PAPER",
        "LC_NAME",
        "LC_ADDRESS",
        "LC_TELEPHONE",
        "LC_MEASUREMENT",
        "LC_IDENTIFICATION",
    ];
    if cfg!(windows) {
        // There the system's settings say it.
        return false;
    }
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let is_asked_for = |category: &str| {
        let asked = variable("LC_ALL").or_else(|| variable(category)).or_else(|| variable("LANG"));
        match asked.as_ref().map(|asked| asked.as_encoded_bytes()) {
            None | Some(b"POSIX") => name == b"C",
            Some(asked) => name == asked,
        }
    };
    match category {
        "LC_ALL" => CATEGORIES.iter().map(|(_, name)| *name).chain(OTHERS).all(is_asked_for),
        category => is_asked_for(category),
    }
}
