//! The names of the functions that addresses lie in.

use std::collections::HashMap;

/// A function, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Function {
    pub name: String,
    pub file: String,
}

/// A function and the line that is executed in it.
#[derive(Debug, Clone)]
pub struct Place {
    pub function: Function,
    pub line: u32,
}

/// What is known of addresses. The tables behind it are made of the program's own file and take many times what a profile
/// does: `backtrace::clear_symbol_cache` drops them.
#[derive(Debug, Default)]
pub struct Names {
    known: HashMap<u64, Vec<Place>>,
}

impl Names {
    /// The function that an address lies in, after those that were inlined into it.
    pub fn of(&mut self, address: u64) -> &[Place] {
        self.known.entry(address).or_insert_with(|| places(address))
    }
}

fn places(address: u64) -> Vec<Place> {
    let mut places = Vec::new();
    // The library takes it for a return address, and looks one byte before it.
    let after = address.wrapping_add(1) as usize as *mut std::ffi::c_void;
    backtrace::resolve(after, |symbol| {
        let name = symbol.name().map(|name| format!("{name:#}"));
        let file = symbol.filename().map(|file| file.display().to_string());
        places.push(Place {
            function: Function {
                name: name.unwrap_or_else(|| format!("{address:#x}")),
                file: file.unwrap_or_default(),
            },
            line: symbol.lineno().unwrap_or_default(),
        });
    });
    if places.is_empty() {
        let function = Function {
            name: format!("{address:#x}"),
            file: String::new(),
        };
        places.push(Place { function, line: 0 });
    }
    places
}
