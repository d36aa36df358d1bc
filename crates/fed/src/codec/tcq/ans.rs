//! The entropy coder: range asymmetric numeral systems (Duda 2013, "Asymmetric numeral systems"), interleaved.
//!
//! Four states take turns: element i belongs to state `i % 4`. A state is a u32; it gives away or takes 16 bits at a time.

use super::table::{BITS, TOTAL, Table};
use super::trellis::{LANES, next};

/// Elements that share a table.
pub const BLOCK: usize = 256;
/// Number of states.
const WAYS: usize = 4;
/// A state is at least this between two symbols.
const LOWEST: u32 = 1 << 16;
/// First word of an escaped index that does not fit into one word.
const LONG: u16 = 0x8000;
/// A quotient by a frequency is the upper part of a product: `x / f = (x * ceil(2^44 / f)) >> 44` is exact, because x is
/// below f × 2^20 after a state has given words away.
const QUOTIENT_SHIFT: u32 = 44;

/// A symbol as the encoder needs it.
#[derive(Debug, Clone, Copy, Default)]
struct Symbol {
    reciprocal: u64,
    /// The largest state that takes the symbol without giving a word away.
    most: u32,
    /// `TOTAL` minus the frequency.
    rest: u16,
    start: u16,
}

impl Symbol {
    fn new(start: u32, frequency: u32) -> Self {
        Self {
            reciprocal: (1u64 << QUOTIENT_SHIFT).div_ceil(u64::from(frequency)),
            most: ((u64::from(frequency) << (32 - BITS)) - 1) as u32,
            rest: (TOTAL - frequency) as u16,
            start: start as u16,
        }
    }
}

/// A table for coding.
#[derive(Debug)]
pub struct Coding {
    shift: u32,
    low: i32,
    symbols: u32,
    /// Symbols of even multiples, then from 256 on those of odd ones.
    entries: Box<[Symbol; 512]>,
}

impl Coding {
    /// Prepares a table.
    pub fn new(table: &Table) -> Self {
        let mut entries = Box::new([Symbol::default(); 512]);
        for (half, list) in entries.as_chunks_mut::<256>().0.iter_mut().zip(&table.frequencies) {
            let mut start = 0;
            for (entry, frequency) in half.iter_mut().zip(list) {
                *entry = Symbol::new(start, u32::from(*frequency));
                start += u32::from(*frequency);
            }
        }
        Self {
            shift: table.shift,
            low: table.low,
            symbols: table.symbols() as u32,
            entries,
        }
    }
}

/// Words that are written from the last to the first.
#[derive(Debug, Default)]
pub struct Words(Vec<u16>);

/// Words of one block, at most [`BLOCK`]. A power of two, so that writing needs no check.
type BlockWords = [u16; 2 * BLOCK];

/// Codes a symbol. The word is written in any case, and not in a branch: whether a state gives one away cannot be foretold.
#[inline(always)]
fn put(state: &mut u32, symbol: &Symbol, words: &mut BlockWords, at: &mut usize) {
    let mut x = *state;
    words[*at % (2 * BLOCK)] = x as u16;
    let full = x > symbol.most;
    *at += usize::from(full);
    x = std::hint::select_unpredictable(full, x >> 16, x);
    let quotient = ((u64::from(x) * symbol.reciprocal) >> QUOTIENT_SHIFT) as u32;
    *state = x + quotient * u32::from(symbol.rest) + u32::from(symbol.start);
}

impl Words {
    /// Codes a symbol.
    fn put(&mut self, state: &mut u32, symbol: &Symbol) {
        let (mut words, mut at) = ([0; 2 * BLOCK], 0);
        put(state, symbol, &mut words, &mut at);
        self.0.extend_from_slice(&words[..at]);
    }

    /// Adds the bytes of the words, in the order in which they are read.
    pub fn write(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.resize(at + 2 * self.0.len(), 0);
        for (bytes, word) in out[at..].as_chunks_mut().0.iter_mut().zip(self.0.iter().rev()) {
            *bytes = word.to_le_bytes();
        }
    }
}

/// Codes positions, with `classes[i]` as the table of the i-th block.
pub fn encode(positions: &[i32], classes: &[u8], tables: &[Coding], out: &mut Words) {
    out.0.clear();
    let mut states = [LOWEST; WAYS];
    for (block, class) in positions.chunks(BLOCK).zip(classes).rev() {
        let table = &tables[usize::from(*class)];
        let mut entries = [0; BLOCK];
        if table.shift == 0 && place(block, table.low, table.symbols, &mut entries) {
            encode_usual(&entries[..block.len()], &mut states, table, out);
        } else {
            for (i, position) in block.iter().enumerate().rev() {
                encode_one(*position, &mut states[i % WAYS], table, out);
            }
        }
    }
    for state in states.iter().rev() {
        out.0.extend([(state >> 16) as u16, *state as u16]);
    }
}

/// Computes the place of each symbol among a table's entries. Returns false if an index is not in the table.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn place(block: &[i32], low: i32, symbols: u32, entries: &mut [u16; BLOCK]) -> bool {
    let mut usual = true;
    for (entry, position) in entries.iter_mut().zip(block) {
        let symbol = ((position >> 1) - low) as u32;
        usual &= symbol < symbols;
        *entry = ((position & 1) << 8) as u16 | symbol as u16;
    }
    usual
}

/// Codes a block whose symbols are all in the table.
#[multiversion::multiversion(targets("x86_64+bmi1+bmi2"))]
fn encode_usual(entries: &[u16], states: &mut [u32; WAYS], table: &Coding, out: &mut Words) {
    let (mut x, mut words, mut at) = (*states, [0; 2 * BLOCK], 0);
    let (rows, rest) = entries.as_chunks::<WAYS>();
    let entry = |place: u16| &table.entries[usize::from(place) & 511];
    for way in (0..rest.len()).rev() {
        put(&mut x[way], entry(rest[way]), &mut words, &mut at);
    }
    for row in rows.iter().rev() {
        put(&mut x[3], entry(row[3]), &mut words, &mut at);
        put(&mut x[2], entry(row[2]), &mut words, &mut at);
        put(&mut x[1], entry(row[1]), &mut words, &mut at);
        put(&mut x[0], entry(row[0]), &mut words, &mut at);
    }
    out.0.extend_from_slice(&words[..at]);
    *states = x;
}

/// Codes any element.
fn encode_one(position: i32, state: &mut u32, table: &Coding, out: &mut Words) {
    let (odd, k) = ((position & 1) as usize, position >> 1);
    let mut symbol = ((k >> table.shift) - table.low) as u32;
    if symbol >= table.symbols {
        symbol = table.symbols;
        match i16::try_from(k) {
            Ok(short) if short as u16 != LONG => out.0.push(short as u16),
            _ => {
                out.0.extend([(k >> 16) as u16, k as u16, LONG]);
            }
        }
    } else if table.shift > 0 {
        let width = 1 << (BITS - table.shift);
        let bits = k as u32 & ((1 << table.shift) - 1);
        out.put(state, &Symbol::new(bits * width, width));
    }
    out.put(state, &table.entries[odd << 8 | symbol as usize]);
}

/// A table for decoding.
#[derive(Debug, Clone)]
pub struct Decoding {
    shift: u32,
    low: i32,
    symbols: u32,
    /// What each number below [`TOTAL`] stands for, for even multiples, then for odd ones: the symbol (8 bits), the number minus
    /// the symbol's start (12 bits), and the symbol's frequency (12 bits).
    slots: Box<[u32; 2 * TOTAL as usize]>,
}

impl Decoding {
    /// Prepares a table.
    pub fn new(table: &Table) -> Self {
        let mut slots = Box::new([0; 2 * TOTAL as usize]);
        for (half, list) in slots
            .as_chunks_mut::<{ TOTAL as usize }>()
            .0
            .iter_mut()
            .zip(&table.frequencies)
        {
            let mut slots = half.iter_mut();
            for (symbol, frequency) in (0u32..).zip(list) {
                for (from_start, slot) in (0..u32::from(*frequency)).zip(&mut slots) {
                    *slot = symbol | from_start << 8 | u32::from(*frequency) << 20;
                }
            }
        }
        Self {
            shift: table.shift,
            low: table.low,
            symbols: table.symbols() as u32,
            slots,
        }
    }
}

/// Words of the longest chunk, as a power of two.
const WORDS: usize = 1 << 15;

/// The words of a chunk, read from the first to the last.
#[derive(Debug)]
pub struct Reader {
    /// The words, then zeros or the words of an earlier chunk. A fixed length, so that reading needs no check.
    words: Box<[u16; WORDS]>,
    length: usize,
    at: usize,
    states: [u32; WAYS],
    /// States of the trellis, as in [`NEXT`].
    trellis: [u32; LANES],
    block: Box<Block>,
}

/// Buffers for one block: its symbols, and the states of the trellis before each row.
#[derive(Debug)]
struct Block {
    symbols: [[u32; LANES]; ROWS],
    trellis: [[u32; LANES]; ROWS + 1],
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            words: Box::new([0; WORDS]),
            length: 0,
            at: 0,
            states: [0; WAYS],
            trellis: [0; LANES],
            block: Box::new(Block {
                symbols: [[0; LANES]; ROWS],
                trellis: [[0; LANES]; ROWS + 1],
            }),
        }
    }
}

/// The trellis for a state and the lowest bit of an index: at 2 × state + bit stands 2 × the next state + 4096 × its lowest bit.
const NEXT: [u32; 16] = {
    let (mut all, mut i) = ([0; 16], 0);
    while i < 16 {
        let state = next(i >> 1, i as i32 & 1);
        all[i as usize] = (2 * state) | ((state & 1) << BITS);
        i += 1;
    }
    all
};

impl Reader {
    /// Begins to read a chunk. Returns false if it is longer than any.
    fn begin(&mut self, bytes: &[u8]) -> bool {
        let (words, odd_byte) = bytes.as_chunks::<2>();
        let Some(own) = self.words.get_mut(..words.len()) else {
            return false;
        };
        for (own, word) in own.iter_mut().zip(words) {
            *own = u16::from_le_bytes(*word);
        }
        (self.length, self.at, self.trellis) = (words.len(), 0, [0; LANES]);
        for way in 0..WAYS {
            self.states[way] = self.word() | self.word() << 16;
        }
        odd_byte.is_empty()
    }

    /// Returns the next word. After the last one it is of no use; [`Reader::at`] is then beyond the length.
    fn word(&mut self) -> u32 {
        let word = self.words[self.at % WORDS];
        self.at += 1;
        u32::from(word)
    }

    fn refill(&mut self, state: u32) -> u32 {
        refill(&self.words, &mut self.at, u64::from(state)) as u32
    }
}

/// Fills a state up. The word is read in any case, and not in a branch: whether a state needs it cannot be foretold.
#[inline(always)]
fn refill(words: &[u16; WORDS], at: &mut usize, state: u64) -> u64 {
    let filled = state << 16 | u64::from(words[*at % WORDS]);
    let low = state < u64::from(LOWEST);
    *at += usize::from(low);
    std::hint::select_unpredictable(low, filled, state)
}

/// Decodes positions, with `classes[i]` as the table of the i-th block. Returns false if the bytes are not exactly those that
/// an encoder makes for these tables; the positions are then of no use.
#[must_use]
pub fn decode(bytes: &[u8], classes: &[u8], tables: &[Decoding], reader: &mut Reader, positions: &mut [i32]) -> bool {
    if !reader.begin(bytes) {
        return false;
    }
    for (block, class) in positions.chunks_mut(BLOCK).zip(classes) {
        let Some(table) = tables.get(usize::from(*class)) else {
            return false;
        };
        // Nearly all blocks have no escape; those that have one are decoded with care.
        let whole: Result<&mut [[i32; LANES]; ROWS], _> = block.as_chunks_mut().0.try_into();
        let usual = match whole {
            Ok(whole) if table.shift == 0 => decode_usual(whole, table, reader),
            _ => false,
        };
        if !usual {
            decode_any(block, table, reader);
        }
    }
    reader.at == reader.length && reader.states == [LOWEST; WAYS]
}

/// Rows of a block.
const ROWS: usize = BLOCK / LANES;

/// Decodes a block. Returns false and stays where it is if the block has an escape.
#[multiversion::multiversion(targets("x86_64+bmi1+bmi2"))]
fn decode_usual(block: &mut [[i32; LANES]; ROWS], table: &Decoding, reader: &mut Reader) -> bool {
    let Block { symbols, trellis } = &mut *reader.block;
    let words = &*reader.words;
    let slots = &*table.slots;
    // 64 bits keep the compiler from work on several states in one instruction, which is slower here.
    let (mut at, mut x) = (reader.at, reader.states.map(u64::from));
    trellis[0] = reader.trellis;
    // Only whether an index is odd matters to the trellis.
    let odd_low = table.low as u32 & 1;
    for row in 0..ROWS {
        for lane in 0..LANES {
            let (state, t) = (x[lane % WAYS], trellis[row][lane]);
            let slot = slots[(state as u32 & (TOTAL - 1) | t & TOTAL) as usize];
            let (frequency, from_start) = (u64::from(slot >> 20), u64::from(slot >> 8 & (TOTAL - 1)));
            x[lane % WAYS] = refill(words, &mut at, frequency * (state >> BITS) + from_start);
            symbols[row][lane] = slot & 255;
            trellis[row + 1][lane] = NEXT[(t & 14 | (slot ^ odd_low) & 1) as usize];
        }
    }
    let mut usual = true;
    for ((positions, symbols), trellis) in block.iter_mut().zip(&*symbols).zip(&*trellis) {
        for lane in 0..LANES {
            usual &= symbols[lane] != table.symbols;
            positions[lane] = 2 * (table.low + symbols[lane] as i32) + (trellis[lane] >> BITS) as i32;
        }
    }
    if usual {
        (reader.at, reader.states, reader.trellis) = (at, x.map(|x| x as u32), trellis[ROWS]);
    }
    usual
}

/// Decodes any block.
fn decode_any(block: &mut [i32], table: &Decoding, reader: &mut Reader) {
    for (i, position) in block.iter_mut().enumerate() {
        let (x, t) = (reader.states[i % WAYS], reader.trellis[i % LANES]);
        let slot = table.slots[(x & (TOTAL - 1) | t & TOTAL) as usize];
        let symbol = slot & 255;
        let mut x = reader.refill((slot >> 20) * (x >> BITS) + (slot >> 8 & (TOTAL - 1)));
        let k = if symbol == table.symbols {
            escaped(reader)
        } else {
            let bits = low_bits(table.shift, reader, &mut x);
            (table.low + symbol as i32) << table.shift | bits as i32
        };
        reader.states[i % WAYS] = x;
        reader.trellis[i % LANES] = NEXT[(t & 14 | k as u32 & 1) as usize];
        *position = 2 * k + (t >> BITS) as i32;
    }
}

/// Reads an index that is in no table.
fn escaped(reader: &mut Reader) -> i32 {
    match reader.word() as u16 {
        LONG => {
            let low = reader.word();
            // An honest index is below 2^22. The limit keeps a hostile one from an overflow.
            ((reader.word() << 16 | low) as i32).clamp(-(1 << 24), 1 << 24)
        }
        short => i32::from(short as i16),
    }
}

/// Decodes the low bits of an index.
fn low_bits(shift: u32, reader: &mut Reader, x: &mut u32) -> u32 {
    if shift == 0 {
        return 0;
    }
    let (slot, width) = (*x & (TOTAL - 1), BITS - shift);
    *x = reader.refill((*x >> BITS << width) + (slot & ((1 << width) - 1)));
    slot >> width
}
