//! What is loaded into this process: the program, its libraries and the kernel's own page, each with the sections by which
//! a stack is walked.

use std::fs::File;
use std::io::{Cursor, Read, Seek};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::{fs, io};

use framehop::{ExplicitModuleSectionInfo, Module};
use object::read::elf::ElfFile;
use object::{NativeEndian, Object, ObjectSection, ObjectSegment, ReadCache};

/// What this machine loads, and no other kind of file: there is code for one kind then.
#[cfg(target_pointer_width = "64")]
type Header = object::elf::FileHeader64<NativeEndian>;
#[cfg(not(target_pointer_width = "64"))]
type Header = object::elf::FileHeader32<NativeEndian>;

/// A file, or what was read of one.
trait Image: Read + Seek {}
impl<T: Read + Seek> Image for T {}

/// The kernel's own page, with the functions that read the clock.
const VDSO: &str = "[vdso]";

/// All modules of which the sections can be read. Where one is missing, stacks end there.
pub fn loaded() -> io::Result<Vec<Module<Vec<u8>>>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let own = fs::read_link("/proc/self/exe").ok();
    let mut modules = Vec::new();
    for (name, range) in ranges(&maps) {
        let sections = if name == VDSO {
            let mut image = vec![0; (range.end - range.start) as usize];
            let memory = File::open("/proc/self/mem")?;
            match memory.read_exact_at(&mut image, range.start) {
                Ok(()) => sections(Box::new(Cursor::new(image))),
                Err(_) => None,
            }
        } else {
            // The program's file may have been replaced since; it can still be had by this name.
            let is_own = own.as_deref().and_then(|own| own.to_str()) == Some(name);
            let path = if is_own { "/proc/self/exe" } else { name };
            let file = File::open(path).ok();
            file.and_then(|file| sections(Box::new(file)))
        };
        if let Some(sections) = sections {
            let start = range.start;
            modules.push(Module::new(name.to_string(), range, start, sections));
        }
    }
    Ok(modules)
}

/// Where each file with code lies, from its first byte to its last, as `/proc/self/maps` tells.
fn ranges(maps: &str) -> Vec<(&str, Range<u64>)> {
    let mut all: Vec<(&str, Range<u64>, bool)> = Vec::new();
    for line in maps.lines() {
        let mut words = line.splitn(6, ' ');
        let (Some(range), Some(rights), Some(name)) = (words.next(), words.next(), words.nth(3))
        else {
            continue;
        };
        let name = name.trim_start();
        let bound = |text| u64::from_str_radix(text, 16).ok();
        let Some((Some(start), Some(end))) =
            (range.split_once('-')).map(|(start, end)| (bound(start), bound(end)))
        else {
            continue;
        };
        if !name.starts_with('/') && name != VDSO {
            continue;
        }
        let has_code = rights.contains('x');
        match all.last_mut().filter(|(last, ..)| *last == name) {
            Some((_, whole, code)) => {
                whole.end = end;
                *code |= has_code;
            }
            None => all.push((name, start..end, has_code)),
        }
    }
    let with_code = all.into_iter().filter(|(.., has_code)| *has_code);
    with_code.map(|(name, range, _)| (name, range)).collect()
}

/// The sections of one file.
fn sections(image: Box<dyn Image>) -> Option<ExplicitModuleSectionInfo<Vec<u8>>> {
    let cache = ReadCache::new(image);
    let file = ElfFile::<Header, _>::parse(&cache).ok()?;
    let range = |name| {
        let section = file.section_by_name(name)?;
        Some(section.address()..section.address() + section.size())
    };
    let bytes = |name| Some(file.section_by_name(name)?.data().ok()?.to_vec());
    Some(ExplicitModuleSectionInfo {
        // Where the first segment would lie; the page that it begins in is what is mapped.
        base_svma: file.segments().map(|segment| segment.address()).min()? & !0xfff,
        text_svma: range(".text"),
        got_svma: range(".got"),
        eh_frame_svma: range(".eh_frame"),
        eh_frame: bytes(".eh_frame"),
        eh_frame_hdr_svma: range(".eh_frame_hdr"),
        eh_frame_hdr: bytes(".eh_frame_hdr"),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_code_is_found_in_the_maps() {
        let maps = "\
            1000-2000 r--p 00000000 08:01 77      /usr/bin/my program\n\
            2000-4000 r-xp 00001000 08:01 77      /usr/bin/my program\n\
            4000-5000 rw-p 00003000 08:01 77      /usr/bin/my program\n\
            5000-6000 rw-p 00000000 00:00 0       [heap]\n\
            6000-7000 r-xp 00000000 00:00 0 \n\
            7000-8000 r--p 00000000 08:01 78      /usr/share/locale\n\
            8000-9000 r-xp 00000000 00:00 0       [vdso]\n\
            a line that is none\n";
        let found = ranges(maps);
        assert_eq!(
            found,
            [
                ("/usr/bin/my program", 0x1000..0x5000),
                (VDSO, 0x8000..0x9000)
            ]
        );
    }

    #[test]
    fn this_program_is_loaded_with_its_sections() {
        let own = what_this_function_lies_in();
        let modules = loaded().expect("they can be read");
        assert!(
            modules
                .iter()
                .any(|module| module.avma_range().contains(&own))
        );
    }

    fn what_this_function_lies_in() -> u64 {
        what_this_function_lies_in as *const () as u64
    }
}
