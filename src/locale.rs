//! `os.setlocale` in a task: it tells the process's locale, and never changes it.

use crate::ffi::{Leave, Protected, Returns, Type};

/// Asking changes nothing, but a new locale would also be the host's. So the current locale can be set, and any other
/// gives nil, which is Lua's way to refuse it.
pub fn set(stack: &Protected) -> Returns {
    let category = match stack.kind(2) {
        Type::None | Type::Nil => Some("LC_ALL"),
        Type::String => {
            CATEGORIES.iter().find(|(name, _)| name.as_bytes() == stack.bytes(2)).map(|found| found.1)
        }
        _ => None,
    };
    let (Type::String | Type::Number, Some(category)) = (stack.kind(1), category) else {
        // Without a locale it is a question. With a wrong category, Lua raises before it sets anything.
        if category.is_none() && matches!(stack.kind(1), Type::String | Type::Number) {
            stack.push_nil();
            stack.replace(1);
        }
        return Err(Leave::Original);
    };
    stack.set_top(2);
    stack.push_upvalue(1);
    stack.push_nil();
    stack.push_value(2);
    stack.call(2, 1);
    let (wanted, there) = (stack.bytes(1), stack.bytes(3));
    let is_there = match wanted {
        // No locale has a number for a name.
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

/// The categories of a locale, by their names in Lua, and their environment variables.
const CATEGORIES: [(&str, &str); 6] = [
    ("all", "LC_ALL"),
    ("collate", "LC_COLLATE"),
    ("ctype", "LC_CTYPE"),
    ("monetary", "LC_MONETARY"),
    ("numeric", "LC_NUMERIC"),
    ("time", "LC_TIME"),
];

/// Whether a locale is the one that the environment asks for in a category. If the environment gives the categories
/// different locales, the answer for all of them is no.
fn is_native_locale(name: &[u8], category: &str) -> bool {
    /// The other categories that our systems have, beside those that Lua knows.
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
        // On Windows the system's settings decide.
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
