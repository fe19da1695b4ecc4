//! From where two runs of a case first told something else to the instructions between, and to
//! what became of those.

use std::ops::{Range, RangeInclusive};

use super::blame::{FunctionOf, Region};
use super::localise::Options;
use super::probe::{Difference, Site, SiteKind, Survey, Told};
use crate::case::Case;
use crate::engine::registry;

/// An instruction of a function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// Its offset in the module's binary.
    pub offset: u32,
    /// Its name, in the text format.
    pub name: String,
    /// Its line of text, indented as in a module.
    pub line: String,
}

/// The lines of a function, in the text format: those of instructions with their offset.
pub fn lines(case: &Case, function: FunctionOf) -> Vec<(Option<u32>, String)> {
    let Some(module) = case.modules.get(function.module) else {
        return Vec::new();
    };
    let Some(body) = body(case, function) else {
        return Vec::new();
    };
    let mut storage = String::new();
    let mut config = wasmprinter::Config::new();
    let Ok(all) = config
        .fold_instructions(false)
        .offsets_and_lines(&module.wasm, &mut storage)
    else {
        return Vec::new();
    };
    let all: Vec<(Option<u64>, &str)> = all.collect();
    let inside = |offset: Option<u64>| offset.is_some_and(|offset| body.contains(&(offset as u32)));
    let Some(first) = all.iter().position(|(offset, _)| inside(*offset)) else {
        return Vec::new();
    };
    let last = all
        .iter()
        .rposition(|(offset, _)| inside(*offset))
        .unwrap_or(first);
    let start = all[..first]
        .iter()
        .rposition(|(_, line)| line.trim_start().starts_with("(func"))
        .unwrap_or(first);
    let mut lines: Vec<(Option<u32>, String)> = Vec::new();
    for (offset, line) in &all[start..=last] {
        let header = !inside(*offset);
        let line = line
            .trim_end()
            .strip_prefix("  ")
            .unwrap_or(line.trim_end());
        lines.push((
            offset.filter(|_| !header).map(|it| it as u32),
            line.to_string(),
        ));
    }
    lines
}

/// Where the instructions of a function lie in its module's binary.
fn body(case: &Case, function: FunctionOf) -> Option<RangeInclusive<u32>> {
    let module = case.modules.get(function.module)?;
    let defined = function.function.checked_sub(module.imported_functions())?;
    let payloads = wasmparser::Parser::new(0).parse_all(&module.wasm);
    let mut bodies = payloads.filter_map(|payload| match payload {
        Ok(wasmparser::Payload::CodeSectionEntry(body)) => Some(body),
        _ => None,
    });
    let body = bodies.nth(defined as usize)?;
    let start = body.get_operators_reader().ok()?.original_position();
    Some(start as u32..=body.range().end as u32 - 1)
}

/// The instructions of a function.
pub fn instructions(case: &Case, function: FunctionOf) -> Vec<Instruction> {
    let lines = lines(case, function).into_iter();
    let instructions = lines.filter_map(|(offset, line)| {
        // The printer closes the function where its last instruction ends it.
        let name = match line.trim_start() {
            ")" => "end",
            line => line.split([' ', ')']).next()?,
        };
        let name = name.to_string();
        Some(Instruction {
            offset: offset?,
            name,
            line,
        })
    });
    instructions.collect()
}

/// Whether an instruction only names a value.
fn only_names(name: &str) -> bool {
    name == "local.get" || name.ends_with(".const") || name == "nop"
}

/// Whether an instruction decides where control goes.
fn decides(name: &str) -> bool {
    name.starts_with("br")
        || name.starts_with("call")
        || name.starts_with("return")
        || matches!(name, "if" | "end" | "unreachable" | "else")
}

/// The function and the instructions that a difference speaks of.
pub fn of(
    case: &Case,
    survey: &Survey,
    difference: &Difference,
    chosen: &dyn Fn(usize) -> bool,
) -> Option<(FunctionOf, Region)> {
    let site = |told: Option<Told>| told.and_then(|told| survey.sites.get(told.site).copied());
    let before = site(difference.before);
    let (reference, subject) = (site(difference.reference), site(difference.subject));
    let of_site = |site: Site| FunctionOf {
        module: site.module,
        function: site.function,
    };
    // The same place, another value: what computed it, back to what was still right.
    if let (Some(one), Some(other)) = (difference.reference, difference.subject)
        && one.site == other.site
        && let Some(at) = reference
    {
        let at_entry = matches!(at.kind, SiteKind::Entry | SiteKind::Parameter(_));
        if at_entry && let Some(caller) = before.filter(|it| of_site(*it) != of_site(at)) {
            return Some((
                of_site(caller),
                next_decision(case, of_site(caller), caller)?,
            ));
        }
        let function = of_site(at);
        let last = before.filter(|it| of_site(*it) == function && it.offset < at.offset);
        let last = last.map_or(0, |it| it.offset);
        let all = instructions(case, function);
        // What was not told since the last that was may be wrong already.
        let untold = untold(survey, function, last + 1..at.offset, chosen);
        let from = untold.map_or(at.offset, |(first, _)| first);
        return Some((function, region(&all, from, at.offset)?));
    }
    // Control went another way, or one of the two trapped: from what both told last to what
    // decides, or to what one of them told next.
    match before {
        Some(last) => {
            let function = of_site(last);
            let next = [reference, subject]
                .into_iter()
                .flatten()
                .filter(|it| of_site(*it) == function && it.offset > last.offset)
                .map(|it| it.offset)
                .min();
            let region = match next {
                Some(next) if difference.reference.is_none() || difference.subject.is_none() => {
                    region(&instructions(case, function), last.offset + 1, next)
                }
                None if let Some((first, end)) =
                    untold(survey, function, last.offset + 1..u32::MAX, chosen) =>
                {
                    region(&instructions(case, function), first, end)
                }
                _ => next_decision(case, function, last),
            };
            Some((function, region?))
        }
        None => {
            let at = reference.or(subject)?;
            let all = instructions(case, of_site(at));
            Some((of_site(at), region(&all, at.offset, at.offset)?))
        }
    }
}

/// From where to where in a function values are computed and not told.
fn untold(
    survey: &Survey,
    function: FunctionOf,
    within: Range<u32>,
    chosen: &dyn Fn(usize) -> bool,
) -> Option<(u32, u32)> {
    let sites = survey.sites.iter().enumerate();
    let untold = sites.filter(|(number, site)| {
        site.module == function.module
            && site.function == function.function
            && site.kind == SiteKind::Value
            && within.contains(&site.offset)
            && !chosen(*number)
    });
    let offsets: Vec<u32> = untold.map(|(_, site)| site.offset).collect();
    Some((*offsets.first()?, *offsets.last()?))
}

/// From an instruction to the next one that decides where control goes.
fn next_decision(case: &Case, function: FunctionOf, from: Site) -> Option<Region> {
    let all = instructions(case, function);
    let last = all
        .iter()
        .find(|it| it.offset >= from.offset && decides(&it.name))
        .map_or(from.offset, |it| it.offset);
    region(&all, from.offset, last)
}

/// The instructions from one offset to another that do more than name a value; all of them if none
/// does.
fn region(all: &[Instruction], from: u32, last: u32) -> Option<Region> {
    let within = all.iter().filter(|it| (from..=last).contains(&it.offset));
    let within: Vec<&Instruction> = within.collect();
    let working: Vec<&&Instruction> = within.iter().filter(|it| !only_names(&it.name)).collect();
    let (first, end) = match (working.first(), working.last()) {
        (Some(first), Some(end)) => (first.offset, end.offset),
        _ => (within.first()?.offset, within.last()?.offset),
    };
    let names = within
        .iter()
        .filter(|it| (first..=end).contains(&it.offset))
        .map(|it| it.name.clone());
    Some(Region {
        start: first,
        last: end,
        instructions: names.collect(),
    })
}

/// The offset that a line of CLIF came from.
pub fn source_of_clif(line: &str) -> Option<u32> {
    let mark = line.trim_start().strip_prefix('@')?;
    u32::from_str_radix(mark.split(' ').next()?, 16).ok()
}

/// The name of the instruction on a line of CLIF.
fn opcode_of_clif(line: &str) -> Option<&str> {
    let mut rest = line.split(';').next()?.trim();
    if rest.starts_with('@') {
        rest = rest.split_once(' ')?.1.trim_start();
    }
    if let Some((_, behind)) = rest.split_once(" = ") {
        rest = behind;
    }
    rest.split([' ', '.'])
        .next()
        .filter(|name| !name.is_empty())
}

/// The CLIF instructions, by name, that came of a region, as an engine that compiles has them.
pub fn clif(
    case: &Case,
    function: FunctionOf,
    region: &Region,
    accused: &str,
    options: &Options,
) -> Vec<String> {
    let compiled = registry::make_compiled(accused, options.fault)
        .or_else(|| registry::make_compiled("x86_64", options.fault));
    let listing = compiled.and_then(|mut engine| {
        engine
            .listing(case, function.module, function.function)
            .ok()
    });
    let Some(listing) = listing else {
        return Vec::new();
    };
    let mut names: Vec<String> = Vec::new();
    for line in listing.clif.lines() {
        let within = source_of_clif(line)
            .is_some_and(|offset| (region.start..=region.last).contains(&offset));
        if let Some(name) = opcode_of_clif(line).filter(|_| within)
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_string());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::wast::case_from_file;

    #[test]
    fn lines_of_clif_say_where_they_came_from() {
        let line = "@0034                               v5 = iadd.i32 v2, v3";
        assert_eq!(source_of_clif(line), Some(0x34));
        assert_eq!(opcode_of_clif(line), Some("iadd"));
        assert_eq!(opcode_of_clif("@0040      jump block1(v5)"), Some("jump"));
        assert_eq!(source_of_clif("block0(v0: i64, v1: i64):"), None);
    }

    #[test]
    fn instructions_have_offsets_and_names() {
        let text = "(module (func) (func (param i32) (result i32)
            (if (result i32) (local.get 0) (then (i32.const 7)) (else (local.get 0)))))";
        let case = case_from_file(text.as_bytes(), "test.wat").expect("valid");
        let all = instructions(
            &case,
            FunctionOf {
                module: 0,
                function: 1,
            },
        );
        let names: Vec<&str> = all.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "local.get",
                "if",
                "i32.const",
                "else",
                "local.get",
                "end",
                "end"
            ]
        );
        assert!(all.windows(2).all(|pair| pair[0].offset < pair[1].offset));
        let found = region(&all, all[0].offset, all[2].offset).expect("a region");
        assert_eq!(found.instructions, ["if"]);
    }
}
