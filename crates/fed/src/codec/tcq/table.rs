//! Tables of frequencies: how often each index occurs.

/// Frequencies of a table add up to 2^12.
pub const BITS: u32 = 12;
pub const TOTAL: u32 = 1 << BITS;
/// Most indices that a table lists; one more symbol stands for all others.
pub const SYMBOLS_MAX: usize = 255;
/// Most low bits that an index sends as they are.
pub const SHIFT_MAX: u32 = 12;

/// The frequencies of the indices in one class of blocks. An index k is the symbol `(k >> shift) - low` and, if the shift is
/// not 0, its `shift` low bits, which are sent as they are. An index outside is the escape, the last symbol, and follows whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub shift: u32,
    pub low: i32,
    /// Frequencies of the symbols for even and for odd multiples of the step, the escape's last; each list adds up to
    /// [`TOTAL`], and none is 0.
    pub frequencies: [Vec<u16>; 2],
}

impl Table {
    /// Returns the number of symbols without the escape.
    pub fn symbols(&self) -> usize {
        self.frequencies[0].len() - 1
    }

    /// Returns the table in its coded form: the shift (u8), low (i16), the number of symbols (u8), and the frequencies of both
    /// lists (without the escape's, which is what is left), each in one byte if it is below 128, else in two.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(self.shift as u8);
        out.extend_from_slice(&(self.low as i16).to_le_bytes());
        out.push(self.symbols() as u8);
        for list in &self.frequencies {
            for frequency in &list[..self.symbols()] {
                match u8::try_from(*frequency) {
                    Ok(small) if small < 128 => out.push(small),
                    _ => out.extend_from_slice(&[*frequency as u8 | 128, (*frequency >> 7) as u8]),
                }
            }
        }
    }

    /// Reads what [`Self::write`] wrote and moves `bytes` on. Returns `None` if the bytes are cut off or no table.
    pub fn read(bytes: &mut &[u8]) -> Option<Self> {
        let ([shift, low_0, low_1, symbols], rest) = bytes.split_first_chunk::<4>()?;
        *bytes = rest;
        let (shift, low) = (u32::from(*shift), i32::from(i16::from_le_bytes([*low_0, *low_1])));
        // With a symbol beside the escape every frequency is below 4096.
        if shift > SHIFT_MAX || *symbols == 0 {
            return None;
        }
        let mut list = || {
            let (mut list, mut left) = (Vec::with_capacity(usize::from(*symbols) + 1), TOTAL);
            for _ in 0..*symbols {
                let frequency = read_frequency(bytes)?;
                left = left.checked_sub(u32::from(frequency))?;
                list.push(frequency);
            }
            list.push(left as u16);
            (!list.contains(&0)).then_some(list)
        };
        let frequencies = [list()?, list()?];
        Some(Self {
            shift,
            low,
            frequencies,
        })
    }
}

fn read_frequency(bytes: &mut &[u8]) -> Option<u16> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    if *first < 128 {
        return Some(u16::from(*first));
    }
    let (second, rest) = bytes.split_first()?;
    *bytes = rest;
    // A small number in two bytes would be a second form of the same table.
    (*second > 0).then(|| u16::from(*first & 127) | u16::from(*second) << 7)
}

/// Scales counts to frequencies that add up to [`TOTAL`], none of them 0. There are at most 256 counts.
pub fn frequencies(counts: &[u64]) -> Vec<u16> {
    let total = counts.iter().sum::<u64>().max(1);
    let scaled = |count: u64| ((count * u64::from(TOTAL) + total / 2) / total).clamp(1, u64::from(TOTAL)) as u32;
    let mut list: Vec<u32> = counts.iter().map(|count| scaled(*count)).collect();
    loop {
        let sum: u32 = list.iter().sum();
        // What one more or one less costs is about count / frequency bits.
        let cost = |i: usize, list: &[u32]| counts[i] as f64 / f64::from(list[i]);
        let places = 0..list.len();
        let place = match sum.cmp(&TOTAL) {
            std::cmp::Ordering::Equal => return list.iter().map(|frequency| *frequency as u16).collect(),
            std::cmp::Ordering::Less => places.max_by(|i, j| cost(*i, &list).total_cmp(&cost(*j, &list))),
            std::cmp::Ordering::Greater => {
                let large = places.filter(|i| list[*i] > 1);
                large.min_by(|i, j| cost(*i, &list).total_cmp(&cost(*j, &list)))
            }
        };
        let Some(place) = place else { return vec![] };
        list[place] = if sum < TOTAL { list[place] + 1 } else { list[place] - 1 };
    }
}
