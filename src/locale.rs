//! `os.setlocale` in a task: it reports the process's locale and never changes it.

use crate::ffi::{Exit, NativeResult, Protected, Type};

/// A new locale would also be the host's. So a task may ask for the locale and set the current one again; any other
/// locale is refused in Lua's way, with nil.
pub fn set(stack: &Protected) -> NativeResult {
    let category = match stack.kind(2) {
        Type::None | Type::Nil => Some("LC_ALL"),
        Type::String => {
            CATEGORIES.iter().find(|(name, _)| stack.has_bytes(2, name.as_bytes())).map(|found| found.1)
        }
        _ => None,
    };
    let (Type::String | Type::Number, Some(category)) = (stack.kind(1), category) else {
        // Without a locale, the call only asks. With a wrong category, Lua raises an error before it sets anything.
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
    let (wanted, current) = (stack.bytes(1), stack.bytes(3));
    let is_current = match &*wanted {
        // No locale's name is a number.
        _ if stack.kind(1) == Type::Number => false,
        b"" => is_native_locale(&current, category),
        b"POSIX" => current == b"C",
        wanted => wanted == current,
    };
    if !is_current {
        stack.push_nil();
    }
    Ok(1)
}

/// The categories of a locale: the name in Lua, and the environment variable.
const CATEGORIES: [(&str, &str); 6] = [
    ("all", "LC_ALL"),
    ("collate", "LC_COLLATE"),
    ("ctype", "LC_CTYPE"),
    ("monetary", "LC_MONETARY"),
    ("numeric", "LC_NUMERIC"),
    ("time", "LC_TIME"),
];

/// Whether a locale is the one that the environment sets for a category. If the environment sets different locales, no
/// locale is the one for all categories.
fn is_native_locale(name: &[u8], category: &str) -> bool {
    /// The categories that supported systems have and Lua lacks.
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
        // On Windows, the system's settings decide instead.
        return false;
    }
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let is_asked_for = |category: &str| {
        let asked = variable("LC_ALL").or_else(|| variable(category)).or_else(|| variable("LANG"));
        match asked.as_ref().map(|asked| asked.as_encoded_bytes()) {
            // In musl, UTF-8 is the default, and concerns only characters.
            None if cfg!(target_env = "musl") && category == "LC_CTYPE" => name == b"C.UTF-8",
            Some(b"C.UTF-8") if cfg!(target_env = "musl") && category != "LC_CTYPE" => name == b"C",
            None | Some(b"POSIX") => name == b"C",
            Some(asked) => name == asked,
        }
    };
    match category {
        "LC_ALL" => CATEGORIES.iter().map(|(_, name)| *name).chain(OTHERS).all(is_asked_for),
        category => is_asked_for(category),
    }
}
