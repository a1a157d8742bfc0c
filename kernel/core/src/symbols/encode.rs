//! Makes a table: on the host, when the kernel was linked.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use super::{BLOCK, ENDS_BYTES, HEAD_BYTES, MAGIC, TOKENS};

/// A function that a table is to have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function<'a> {
    /// Where it begins, from the start of the text.
    pub start: u32,
    /// Its bytes.
    pub size: u32,
    /// What it is called.
    pub name: &'a str,
}

/// Functions overlap, or are too many for a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EncodeError;

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the functions overlap, or are too many for a table of names")
    }
}

impl Error for EncodeError {}

/// The table of these functions, which come in the order of their addresses and do not overlap.
/// The same functions make the same bytes.
///
/// # Errors
///
/// [`EncodeError`], also if they are in another order.
pub fn encode(functions: &[Function<'_>]) -> Result<Vec<u8>, EncodeError> {
    let mut names: Vec<Vec<u8>> = functions
        .iter()
        .map(|it| shown(it.name).into_bytes())
        .collect();
    let tokens = compress(&mut names);
    let mut index = Vec::new();
    let mut list = Vec::new();
    let mut end = 0;
    for (number, (function, name)) in functions.iter().zip(&names).enumerate() {
        if number.is_multiple_of(BLOCK) {
            end = function.start.max(end);
            index.extend(end.to_le_bytes());
            index.extend(number_of(list.len())?.to_le_bytes());
        }
        let gap = function.start.checked_sub(end).ok_or(EncodeError)?;
        append_number(&mut list, gap);
        append_number(&mut list, function.size);
        append_number(&mut list, number_of(name.len())?);
        list.extend(name);
        end = function
            .start
            .checked_add(function.size)
            .ok_or(EncodeError)?;
    }
    let mut ends = Vec::with_capacity(ENDS_BYTES);
    let mut text = Vec::new();
    for token in &tokens {
        text.extend(token);
        let end = u16::try_from(text.len()).map_err(|_| EncodeError)?;
        ends.extend(end.to_le_bytes());
    }
    let length = HEAD_BYTES + ends.len() + text.len() + index.len() + list.len();
    let mut table = MAGIC.to_vec();
    table.extend(number_of(length)?.to_le_bytes());
    table.extend(number_of(functions.len())?.to_le_bytes());
    for part in [ends, text, index, list] {
        table.extend(part);
    }
    Ok(table)
}

pub(super) fn number_of(count: usize) -> Result<u32, EncodeError> {
    u32::try_from(count).map_err(|_| EncodeError)
}

/// A name as a table has it: without what a terminal may not show.
#[must_use]
pub fn shown(name: &str) -> String {
    let mut shown = String::new();
    for letter in name.chars() {
        if letter == ' ' || letter.is_ascii_graphic() {
            shown.push(letter);
        } else {
            shown.extend(letter.escape_default());
        }
    }
    shown
}

pub(super) fn append_number(list: &mut Vec<u8>, mut number: u32) {
    while number > 0x7f {
        list.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    list.push(number.to_le_bytes()[0]);
}

/// Replaces the text of names by numbers of tokens, and returns these: the letters that occur,
/// then again and again the two tokens that follow each other most often, as one.
fn compress(names: &mut [Vec<u8>]) -> Vec<Vec<u8>> {
    let mut tokens: Vec<Vec<u8>> = Vec::with_capacity(TOKENS);
    let mut number_of_letter = [0; 256];
    for letter in 0..=u8::MAX {
        if names.iter().any(|name| name.contains(&letter)) {
            number_of_letter[usize::from(letter)] = token_number(tokens.len());
            tokens.push(vec![letter]);
        }
    }
    for letter in names.iter_mut().flatten() {
        *letter = number_of_letter[usize::from(*letter)];
    }
    while tokens.len() < TOKENS {
        let mut counts: BTreeMap<[u8; 2], u32> = BTreeMap::new();
        for pair in names.iter().flat_map(|name| name.array_windows()) {
            *counts.entry(*pair).or_default() += 1;
        }
        // Of those that are as many the first one.
        let most = counts.into_iter().rev().max_by_key(|(_, count)| *count);
        let Some((pair, 2..)) = most else {
            break;
        };
        let text = pair.map(|number| tokens[usize::from(number)].as_slice());
        let number = token_number(tokens.len());
        tokens.push(text.concat());
        for name in names.iter_mut() {
            replace(name, pair, number);
        }
    }
    tokens.resize(TOKENS, Vec::new());
    tokens
}

/// The number of a token, of which there are no more than a byte can number.
fn token_number(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// Replaces each such pair by one number.
fn replace(name: &mut Vec<u8>, pair: [u8; 2], by: u8) {
    let mut shorter = Vec::with_capacity(name.len());
    let mut rest = name.as_slice();
    while let Some((&first, behind)) = rest.split_first() {
        if rest.starts_with(&pair) {
            shorter.push(by);
            rest = &rest[2..];
        } else {
            shorter.push(first);
            rest = behind;
        }
    }
    *name = shorter;
}
